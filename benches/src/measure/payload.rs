//! Executions with payloads of some size.

use std::time::Instant;

use anyhow::Result;
use stent::Handle;

use crate::functions::{Ended, Notes, echo};
use crate::plan::Spec;
use crate::process;
use crate::report::Measurement;
use crate::scene::Scene;

/// The most executions, and the most bytes that they have together as arguments.
const EXECUTIONS: u32 = 2_000;
const BYTES: u32 = 64 << 20;

/// Dispatches executions whose argument and result are texts of `n` bytes, and runs them.
pub(crate) async fn measure(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    let executions = (BYTES / spec.n).clamp(1, EXECUTIONS);
    let texts: Vec<_> = (0..executions).map(|seed| text(spec.n as usize, seed)).collect();

    process::begin()?;
    let before = scene.meter.read();
    let dispatching = Instant::now();
    let handles = scene.stent.dispatch_all(texts.into_iter().map(echo)).await?;
    let dispatched_in = dispatching.elapsed().as_secs_f64();
    let ended = Ended::default();
    let working = Instant::now();
    let worker = scene.worker().state(ended.clone()).state(Notes::default()).start().await?;
    ended.reached(executions).await;
    worker.drain().await?;
    let worked_for = working.elapsed().as_secs_f64();
    let cost = scene.meter.since(before);
    process::end()?;

    let ids: Vec<_> = handles.iter().map(Handle::id).collect();
    scene.check_completed(&ids).await?;
    let measurement = Measurement::new(spec, worked_for, u64::from(executions)).of_executions(executions);
    Ok(measurement.dispatched_in(dispatched_in).costing(cost))
}

/// A text that no store can compress: Postgres compresses long values.
fn text(length: usize, seed: u32) -> String {
    let mut state = u64::from(seed) + 1;
    let letters = std::iter::repeat_with(|| {
        // xorshift64, which repeats itself far later.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[(state % 64) as usize])
    });
    letters.take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_length_and_differ() {
        assert_eq!(text(1_000, 1).len(), 1_000);
        assert_ne!(text(16, 1), text(16, 2));
    }
}
