//! One execution over many items.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::functions::{Ended, Notes, fan_out};
use crate::plan::Spec;
use crate::process;
use crate::report::Measurement;
use crate::scene::Scene;

/// Dispatches an execution that maps over `n` items and waits for its result, which is the number of items whose results came
/// in order.
pub(crate) async fn measure(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    process::begin()?;
    let before = scene.meter.read();
    let worker = scene.worker().state(Ended::default()).state(Notes::default()).start().await?;
    let working = Instant::now();
    let in_order = scene.stent.run(fan_out(spec.n)).await?;
    let worked_for = working.elapsed().as_secs_f64();
    worker.drain().await?;
    let cost = scene.meter.since(before);
    process::end()?;

    ensure!(in_order == spec.n, "{in_order} of {} results came in order", spec.n);
    Ok(Measurement::new(spec, worked_for, u64::from(spec.n)).costing(cost))
}
