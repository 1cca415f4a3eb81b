//! How soon another process takes the work of one that was killed.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::start::until_started;
use crate::functions::{Ended, Held, Notes, held};
use crate::plan::Spec;
use crate::process::Running;
use crate::report::{Latency, Measurement};
use crate::scene::{self, Scene};

/// The lease of both workers. Stent's default is 30 s, which would only make the bench longer: the work is free when the last
/// renewal has expired.
const LEASE: Duration = Duration::from_secs(5);

/// The input of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeeperSpec {
    url: String,
    notes: PathBuf,
    /// As many turns as there are jobs: each keeps its own.
    concurrency: usize,
    /// Whether its jobs never end.
    keeps: bool,
}

/// Has one process start `n` jobs that do not end, kills it while another process waits for work, and reads when that one started
/// them again.
pub(crate) async fn measure(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    scene.stent.dispatch_all((0..spec.n).map(held)).await?;
    let n = spec.n as usize;
    let (first, mut keeper) = start(spec, scene, true)?;
    ensure!(keeper.hear()? == "ready", "the first process was not ready");
    until_started(&first, n - 1).await?;
    let (second, mut taker) = start(spec, scene, false)?;
    ensure!(taker.hear()? == "ready", "the second process was not ready");

    let killing = SystemTime::now();
    let working = Instant::now();
    keeper.kill()?;
    let mut times = Vec::new();
    for number in 0..n {
        let started = until_started(&second, number).await?;
        times.push(started.duration_since(killing).unwrap_or_default().as_secs_f64());
    }
    let seconds = working.elapsed().as_secs_f64();
    taker.end()?;

    let mut measurement = Measurement::new(spec, seconds, u64::from(spec.n));
    measurement.latency = Some(Latency::of(times));
    measurement.lease_seconds = Some(LEASE.as_secs_f64());
    Ok(measurement)
}

fn start(spec: &Spec, scene: &Scene, keeps: bool) -> Result<(PathBuf, Running)> {
    let notes = scene.folder.path().join(format!("held-{keeps}"));
    File::create(&notes)?;
    let keeper =
        KeeperSpec { url: scene.url.clone(), notes: notes.clone(), concurrency: spec.n as usize, keeps };
    Ok((notes, Running::start("keep", &keeper)?))
}

/// A worker: says when it is ready, and drains when its input ends.
pub(crate) fn keep(spec: &KeeperSpec) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let notes = append(&spec.notes)?;
    let (stent, _meter) = runtime.block_on(scene::open(&spec.url))?;
    let _entered = runtime.enter();
    let worker = scene::worker(&stent, Some(spec.concurrency))
        .lease(LEASE)
        .state(Ended::default())
        .state(Notes(Some(Arc::new(notes))))
        .state(Held(spec.keeps));
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

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().append(true).open(path).context("the notes of a worker")
}
