//! One measurement, in the process that was started for it.

mod beside;
mod bulk;
mod claim;
mod history;
mod latency;
mod map;
mod memory;
mod parked;
mod payload;
pub(crate) mod recovery;
pub(crate) mod start;
mod upkeep;
pub(crate) mod workers;

use anyhow::Result;

use self::beside::Fill;
use crate::functions::{job, one_step, three_steps};
use crate::plan::{Bench, Spec};
use crate::process::peak_rss_mb;
use crate::report::Measurement;
use crate::scene::Scene;

/// Measures, and prints the result.
pub(crate) fn run(spec: &Spec) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut measurement = runtime.block_on(async {
        let mut scene = Scene::set(spec).await?;
        let measurement = measure(spec, &mut scene).await;
        let appendfsync = scene.appendfsync();
        scene.strike().await?;
        measurement.map(|measurement| Measurement { appendfsync, ..measurement })
    })?;
    measurement.peak_rss_mb = measurement.peak_rss_mb.or_else(peak_rss_mb);
    println!("{}", serde_json::to_string(&measurement)?);
    Ok(())
}

async fn measure(spec: &Spec, scene: &mut Scene) -> Result<Measurement> {
    match spec.bench {
        Bench::Jobs => bulk::measure(spec, scene, job, 1).await,
        Bench::JobsStep => bulk::measure(spec, scene, one_step, 1).await,
        Bench::Workflows => bulk::measure(spec, scene, three_steps, 3).await,
        Bench::Latency => latency::measure(spec, scene).await,
        Bench::Map => map::measure(spec, scene).await,
        Bench::Start => start::measure(spec, scene).await,
        Bench::TwoWorkers => workers::two(spec, scene).await,
        Bench::Workers => workers::several(spec, scene).await,
        Bench::History => history::measure(spec, scene).await,
        Bench::Payload => payload::measure(spec, scene).await,
        Bench::Claim => claim::measure(spec, scene).await,
        Bench::Lanes => beside::measure(spec, scene, Fill::Lanes).await,
        Bench::Finished => beside::measure(spec, scene, Fill::Finished).await,
        Bench::Waiting => beside::measure(spec, scene, Fill::Waiting).await,
        Bench::Parked => parked::measure(spec, scene).await,
        Bench::Recovery => recovery::measure(spec, scene).await,
        Bench::Memory => memory::measure(spec, scene).await,
        Bench::Upkeep => upkeep::measure(spec, scene).await,
    }
}
