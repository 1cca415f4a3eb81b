//! One execution at a time.

use std::time::Instant;

use anyhow::Result;

use crate::functions::{Ended, Notes, one_step};
use crate::plan::Spec;
use crate::report::{Latency, Measurement};
use crate::scene::Scene;

/// Executions before the measurement, so that the first measured ones do not pay for one-time setup.
const WARM_UP: u32 = 20;

/// Dispatches an execution with one step and waits for its result, then the next.
pub(crate) async fn measure(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    let worker = scene.worker().state(Ended::default()).state(Notes::default()).start().await?;
    for number in 0..WARM_UP {
        scene.stent.run(one_step(number)).await?;
    }

    let before = scene.meter.read();
    let mut times = Vec::new();
    let working = Instant::now();
    for number in 0..spec.n {
        let dispatching = Instant::now();
        scene.stent.run(one_step(number)).await?;
        times.push(dispatching.elapsed().as_secs_f64());
    }
    let worked_for = working.elapsed().as_secs_f64();
    let cost = scene.meter.since(before);
    worker.drain().await?;

    let mut measurement = Measurement::new(spec, worked_for, u64::from(spec.n)).costing(cost);
    measurement.latency = Some(Latency::of(times));
    Ok(measurement)
}
