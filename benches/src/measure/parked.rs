//! Functions that wait, in the memory of their worker.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::functions::{Ended, Notes, parked};
use crate::plan::Spec;
use crate::process::rss;
use crate::report::{self, Measurement};
use crate::scene::Scene;

/// How long nothing happens, while the queries of the process are counted.
const IDLE: Duration = Duration::from_secs(10);

/// How long the last functions may take from their code until they are parked.
const SETTLE: Duration = Duration::from_secs(2);

/// Starts `n` functions that wait for a signal, and reads the memory of this process before and after, and its queries while they
/// wait.
pub(crate) async fn measure(spec: &Spec, scene: &mut Scene) -> Result<Measurement> {
    let ended = Ended::default();
    // A worker that could not keep them all would measure something else.
    let worker =
        scene.worker().cache(spec.n as usize).state(ended.clone()).state(Notes::default()).start().await?;
    let before = rss().context("this system does not say how much memory a process uses")?;

    let working = Instant::now();
    let handles = scene.stent.dispatch_all((0..spec.n).map(parked)).await?;
    drop(handles);
    ended.reached(spec.n).await;
    tokio::time::sleep(SETTLE).await;
    let seconds = working.elapsed().as_secs_f64();
    let bytes = rss().context("this system said it before")?.saturating_sub(before);

    let queries = scene.queries()?;
    tokio::time::sleep(IDLE).await;
    let idle =
        scene.queries()?.zip(queries).map(|(after, before)| (after - before) as f64 / IDLE.as_secs_f64());
    worker.stop().await?;

    let mut measurement = Measurement::new(spec, seconds, u64::from(spec.n));
    measurement.parked = Some(report::Parked {
        bytes_parked: bytes as f64 / f64::from(spec.n),
        idle_queries_per_second: idle,
    });
    Ok(measurement)
}
