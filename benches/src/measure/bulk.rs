//! Many executions, dispatched before the worker starts.

use std::time::Instant;

use anyhow::Result;
use stent::{Call, Function, Handle};

use crate::functions::{Ended, Notes};
use crate::plan::Spec;
use crate::process;
use crate::report::Measurement;
use crate::scene::Scene;

/// Dispatches the function with every number below `n`, then starts a worker and waits until all have ended.
///
/// The functions count their own ends, and draining the worker commits what was counted, so nothing else asks the store for
/// anything. With `--wait`, the bench waits for each result, as a client does. Either way, it finally asks the store whether
/// every execution has completed.
pub(crate) async fn measure<F>(
    spec: &Spec,
    scene: &Scene,
    call: fn(u32) -> Call<F>,
    steps_each: u64,
) -> Result<Measurement>
where
    F: Function,
{
    process::begin()?;
    let before = scene.meter.read();
    let dispatching = Instant::now();
    let handles = scene.stent.dispatch_all((0..spec.n).map(call)).await?;
    let dispatched_in = dispatching.elapsed().as_secs_f64();

    let ended = Ended::default();
    let working = Instant::now();
    let worker = scene.worker().state(ended.clone()).state(Notes::default()).start().await?;
    if spec.wait {
        wait_for_each(&handles).await?;
    } else {
        ended.reached(spec.n).await;
    }
    worker.drain().await?;
    let worked_for = working.elapsed().as_secs_f64();
    let cost = scene.meter.since(before);
    process::end()?;

    let ids: Vec<_> = handles.iter().map(Handle::id).collect();
    scene.check_completed(&ids).await?;
    let steps = u64::from(spec.n) * steps_each;
    Ok(Measurement::new(spec, worked_for, steps).dispatched_in(dispatched_in).costing(cost))
}

async fn wait_for_each<T>(handles: &[Handle<T>]) -> Result<()>
where
    T: serde::de::DeserializeOwned + Send + 'static,
{
    let mut waits = tokio::task::JoinSet::new();
    for handle in handles {
        waits.spawn(handle.result().into_future());
    }
    while let Some(result) = waits.join_next().await {
        result??;
    }
    Ok(())
}
