//! One execution with many steps.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::functions::{Ended, Notes, many_steps};
use crate::plan::Spec;
use crate::process;
use crate::report::Measurement;
use crate::scene::Scene;

/// Dispatches an execution that calls `n` steps one after the other, and waits for its result.
pub(crate) async fn measure(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    let worker = scene.worker().state(Ended::default()).state(Notes::default()).start().await?;
    scene.stent.run(many_steps(1)).await?;

    process::begin()?;
    let before = scene.meter.read();
    let working = Instant::now();
    let steps = scene.stent.run(many_steps(spec.n)).await?;
    let worked_for = working.elapsed().as_secs_f64();
    let cost = scene.meter.since(before);
    process::end()?;
    worker.drain().await?;

    ensure!(steps == spec.n, "{steps} of {} steps ran", spec.n);
    Ok(Measurement::new(spec, worked_for, u64::from(spec.n)).costing(cost))
}
