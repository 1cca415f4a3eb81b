//! The size of a store under a retention.

use std::time::{Duration, Instant};

use anyhow::Result;
use stent::Retention;

use crate::functions::{Ended, Notes, one_step};
use crate::plan::Spec;
use crate::process;
use crate::report::{Measurement, Size};
use crate::scene::Scene;

/// Executions that are dispatched at once.
const WAVE: u32 = 1_000;

/// How long ended executions are kept.
const AGE: Duration = Duration::from_secs(1);

/// The pause between two applications of the retention.
const EVERY: Duration = Duration::from_millis(200);

/// Dispatches executions in waves, and waits for the end of each, while the retention deletes what is older than a second. Reads the
/// size of the store after each wave, and once everything was old.
pub(crate) async fn measure(spec: &Spec, scene: &mut Scene) -> Result<Measurement> {
    let (ended, mut size) = (Ended::default(), Size::default());
    let worker = scene.worker().state(ended.clone()).state(Notes::default()).start().await?;
    let cleaning = scene.stent.start_retention(Retention::default().executions(AGE), EVERY)?;
    process::begin()?;
    let before = scene.meter.read();

    let working = Instant::now();
    let mut done = 0;
    while done < spec.n {
        let wave = WAVE.min(spec.n - done);
        scene.stent.dispatch_all((done..done + wave).map(one_step)).await?;
        done += wave;
        ended.reached(done).await;
        let mib = look(scene, &mut size).await?;
        let half = match done <= spec.n / 2 {
            true => &mut size.mib_max_first_half,
            false => &mut size.mib_max_second_half,
        };
        *half = half.max(mib);
    }
    let seconds = working.elapsed().as_secs_f64();

    let all_is_old = Instant::now() + 30 * AGE;
    while executions(scene).await? > 0 && Instant::now() < all_is_old {
        tokio::time::sleep(EVERY).await;
    }
    size.executions_end = executions(scene).await?;
    size.mib_end = look(scene, &mut size).await?;
    drop(cleaning);
    worker.drain().await?;
    process::end()?;
    let mut measurement =
        Measurement::new(spec, seconds, u64::from(spec.n)).costing(scene.meter.since(before));
    measurement.size = Some(size);
    Ok(measurement)
}

/// Returns the size in MiB.
async fn look(scene: &mut Scene, size: &mut Size) -> Result<f64> {
    let (bytes, dead_rows) = scene.size().await?;
    size.executions_max = size.executions_max.max(executions(scene).await?);
    size.dead_rows_max = size.dead_rows_max.max(dead_rows);
    Ok(bytes as f64 / f64::from(1 << 20))
}

async fn executions(scene: &Scene) -> Result<u64> {
    Ok(scene.stent.inspect().count().await?.values().sum())
}
