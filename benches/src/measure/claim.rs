//! Claims, without a worker.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stent::backend::model::Nonce;
use stent::backend::{ClaimRequest, NoStickyCache};
use stent::{Function, WorkerId};

use crate::functions::job;
use crate::plan::Spec;
use crate::report::{Latency, Measurement};
use crate::scene::Scene;

/// Claims before the measurement, so that the first measured ones do not pay for one-time setup.
const WARM_UP: u32 = 10;

/// Claims that are measured, of one task each.
const CLAIMS: u32 = 50;

/// Jobs that [`claims`] takes.
pub(super) const WAITING: u32 = WARM_UP + CLAIMS;

/// Dispatches `n` jobs, and claims some of them, one at a time. The jobs are due, so every claim has all of them to choose from.
pub(crate) async fn measure(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    ensure!(spec.n >= WAITING, "claim needs a size of at least {WAITING}");
    let dispatching = Instant::now();
    scene.stent.dispatch_all((0..spec.n).map(job)).await?;
    let dispatched_in = dispatching.elapsed().as_secs_f64();

    let working = Instant::now();
    let times = claims(scene, None).await?;
    let worked_for = working.elapsed().as_secs_f64();

    let mut measurement = Measurement::new(spec, worked_for, u64::from(CLAIMS)).dispatched_in(dispatched_in);
    measurement.rate = f64::from(CLAIMS) / times.iter().sum::<f64>();
    measurement.latency = Some(Latency::of(times));
    Ok(measurement)
}

/// Claims jobs from some queues, one at a time, as many as [`WAITING`] of which must be there. Returns how long each took.
pub(super) async fn claims(scene: &Scene, queues: Option<&[String]>) -> Result<Vec<f64>> {
    let store = scene.stent.store();
    let functions = [job::NAME.to_owned()];
    let mut times = Vec::new();
    for number in 0..WAITING {
        let now = store.clock().await?;
        let request = ClaimRequest {
            worker: WorkerId::from_uuid(stent::uuid()),
            nonce: Nonce::new(number),
            now,
            until: now + Duration::from_secs(3_600),
            max: 1,
            functions: &functions,
            queues,
            tags: &[],
            limits: &[],
            cache: &NoStickyCache,
        };
        let claiming = Instant::now();
        let exchanged = store.exchange(&[], Some(&request)).await?;
        times.push(claiming.elapsed().as_secs_f64());
        ensure!(exchanged.claimed.len() == 1, "a claim found nothing");
    }
    Ok(times.split_off(WARM_UP as usize))
}
