//! The memory of a server.

use std::time::Instant;

use anyhow::Result;
use stent::{Call, Function, Handle};

use crate::functions::{Ended, Notes, job, three_steps};
use crate::plan::Spec;
use crate::report::{Measurement, ServerMemory};
use crate::scene::Scene;

/// Dispatches jobs, runs them, and then runs as many executions of three steps. Reads the memory of the server before and after
/// each of these, while nothing else happens on the server.
pub(crate) async fn measure(spec: &Spec, scene: &mut Scene) -> Result<Measurement> {
    let working = Instant::now();
    // Connections, scripts and the lane are there before the first reading.
    run(scene, dispatch(scene, 1, job).await?).await?;
    run(scene, dispatch(scene, 1, three_steps).await?).await?;

    let before = scene.used_memory()?;
    let jobs = dispatch(scene, spec.n, job).await?;
    let waiting = scene.used_memory()?;
    run(scene, jobs).await?;
    let ended = scene.used_memory()?;
    let executions = dispatch(scene, spec.n, three_steps).await?;
    run(scene, executions).await?;
    let with_steps = scene.used_memory()?;

    let each = |from: u64, to: u64| (to as f64 - from as f64) / f64::from(spec.n);
    let mut measurement =
        Measurement::new(spec, working.elapsed().as_secs_f64(), u64::from(spec.n) * (1 + 3));
    measurement.memory = Some(ServerMemory {
        bytes_waiting: each(before, waiting),
        bytes_ended: each(before, ended),
        bytes_ended_with_three_steps: each(ended, with_steps),
    });
    Ok(measurement)
}

async fn dispatch<F: Function>(
    scene: &Scene,
    n: u32,
    call: fn(u32) -> Call<F>,
) -> Result<Vec<Handle<F::Output>>> {
    Ok(scene.stent.dispatch_all((0..n).map(call)).await?)
}

/// Has a worker run everything that waits.
async fn run<T>(scene: &Scene, handles: Vec<Handle<T>>) -> Result<()> {
    let ended = Ended::default();
    let worker = scene.worker().state(ended.clone()).state(Notes::default()).start().await?;
    ended.reached(u32::try_from(handles.len())?).await;
    worker.drain().await?;
    let ids: Vec<_> = handles.iter().map(Handle::id).collect();
    scene.check_completed(&ids).await
}
