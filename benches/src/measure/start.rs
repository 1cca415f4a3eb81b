//! How soon another process starts an execution that was dispatched here.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::functions::{Ended, Notes, STAMP_LEN, stamped};
use crate::plan::Spec;
use crate::process::{self, Running};
use crate::report::{Latency, Measurement};
use crate::scene::{self, Scene};

/// Executions before the measurement, so that the first measured ones do not pay for one-time setup.
const WARM_UP: usize = 20;
/// How often the notes are checked.
const LOOK: Duration = Duration::from_millis(1);
/// How long one start may take before the measurement is given up.
const STUCK: Duration = Duration::from_secs(30);

/// The input of the other process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StarterSpec {
    url: String,
    notes: PathBuf,
    concurrency: Option<usize>,
}

/// Dispatches one execution at a time, which another process starts. Each execution notes when it started, and has long ended
/// when the next one is dispatched: the worker is idle and needs a hint.
pub(crate) async fn measure(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    let notes = scene.folder.path().join("starts");
    File::create(&notes)?;
    let starter = StarterSpec { url: scene.url.clone(), notes: notes.clone(), concurrency: spec.concurrency };
    let mut other = Running::start("start", &starter)?;
    ensure!(other.hear()? == "ready", "the other process was not ready");

    let mut times = Vec::new();
    process::begin()?;
    let working = Instant::now();
    for number in 0..WARM_UP + spec.n as usize {
        let dispatching = SystemTime::now();
        scene.stent.dispatch(stamped()).await?;
        let started = until_started(&notes, number).await?;
        // Two processes on one machine read the same clock.
        times.push(started.duration_since(dispatching).unwrap_or_default().as_secs_f64());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let worked_for = working.elapsed().as_secs_f64();
    process::end()?;
    other.end()?;

    let mut measurement = Measurement::new(spec, worked_for, u64::from(spec.n));
    measurement.latency = Some(Latency::of(times.split_off(WARM_UP)));
    Ok(measurement)
}

/// The other process: starts executions until its input ends.
pub(crate) fn start(spec: &StarterSpec) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let notes = OpenOptions::new().append(true).open(&spec.notes).context("the notes of a worker")?;
    let (stent, _meter) = runtime.block_on(scene::open(&spec.url))?;
    let _entered = runtime.enter();
    let worker =
        scene::worker(&stent, spec.concurrency).state(Ended::default()).state(Notes(Some(Arc::new(notes))));
    let worker = runtime.block_on(async {
        let worker = worker.start().await?;
        worker.wait_until_ready().await.map(|()| worker)
    })?;
    println!("ready");
    // This thread is not a runtime thread, so it may block until the input ends.
    std::io::stdin().lines().for_each(drop);
    runtime.block_on(worker.drain())?;
    Ok(())
}

/// Waits for the note with this number, and reads it.
pub(super) async fn until_started(notes: &Path, number: usize) -> Result<SystemTime> {
    let since = Instant::now();
    loop {
        let text = tokio::fs::read_to_string(notes).await?;
        if let Some(note) = text.get(number * STAMP_LEN..(number + 1) * STAMP_LEN) {
            let micros = note.trim_end().parse().with_context(|| format!("a worker noted {note:?}"))?;
            return Ok(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
        }
        if since.elapsed() > STUCK {
            bail!("execution {number} has not started for {STUCK:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
