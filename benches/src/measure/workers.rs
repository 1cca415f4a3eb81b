//! Several processes that work on one store.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use stent::Handle;

use crate::functions::{Ended, NOTE_LEN, Notes, noted_job};
use crate::plan::Spec;
use crate::process::{self, Running, peak_rss_mb};
use crate::report::{Fleet, Measurement};
use crate::scene::{self, Counters, Scene};

/// How often the notes are checked.
const LOOK: Duration = Duration::from_millis(2);
/// How long the notes may stay unchanged before the measurement is given up.
const STUCK: Duration = Duration::from_secs(60);

/// The input of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerSpec {
    url: String,
    notes: PathBuf,
    concurrency: Option<usize>,
}

/// The output of a worker at its end.
#[derive(Debug, Serialize, Deserialize)]
struct Worked {
    peak_rss_mb: Option<f64>,
    counters: Option<Counters>,
}

/// `n` jobs for two processes.
pub(crate) async fn two(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    measure(spec, scene, 2, spec.n).await
}

/// As many jobs for `n` processes, whatever `n` is.
pub(crate) async fn several(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    const JOBS: u32 = 20_000;
    measure(spec, scene, spec.n, JOBS).await
}

/// Dispatches jobs, has the processes work on them, and counts their notes.
async fn measure(spec: &Spec, scene: &Scene, processes: u32, jobs: u32) -> Result<Measurement> {
    process::begin()?;
    let before = scene.meter.read();
    let dispatching = Instant::now();
    let handles = scene.stent.dispatch_all((0..jobs).map(noted_job)).await?;
    let dispatched_in = dispatching.elapsed().as_secs_f64();
    let own = scene.meter.since(before);

    let notes: Vec<_> = (0..processes).map(|of| scene.folder.path().join(format!("notes-{of}"))).collect();
    let start = |notes: &PathBuf| {
        File::create(notes)?;
        let spec = WorkerSpec { url: scene.url.clone(), notes: notes.clone(), concurrency: spec.concurrency };
        Running::start("work", &spec)
    };
    let mut workers = notes.iter().map(start).collect::<Result<Vec<_>>>()?;
    for worker in &mut workers {
        ensure!(worker.hear()? == "ready", "a worker was not ready");
    }

    let working = Instant::now();
    workers.iter_mut().try_for_each(|worker| worker.say("go"))?;
    until_noted(&notes, jobs as usize).await?;
    workers.iter_mut().for_each(Running::hang_up);
    let worked = workers.iter_mut().map(Running::hear_json).collect::<Result<Vec<Worked>>>()?;
    let worked_for = working.elapsed().as_secs_f64();
    process::end()?;
    workers.into_iter().try_for_each(Running::end)?;

    let ids: Vec<_> = handles.iter().map(Handle::id).collect();
    scene.check_completed(&ids).await?;
    let fleet = read(&notes, jobs)?;
    ensure!(fleet.ran_twice == 0, "{} jobs ran twice", fleet.ran_twice);
    let cost = own.and_then(|own| worked.iter().try_fold(own, |sum, worked| Some(sum + worked.counters?)));
    let mut measurement = Measurement::new(spec, worked_for, u64::from(jobs));
    if jobs != spec.n {
        measurement = measurement.of_executions(jobs);
    }
    let mut measurement = measurement.dispatched_in(dispatched_in).costing(cost);
    measurement.peak_rss_mb = worked.iter().filter_map(|worked| worked.peak_rss_mb).max_by(f64::total_cmp);
    measurement.fleet = Some(fleet);
    Ok(measurement)
}

/// A worker: reports that it is ready, starts when told to, and drains when its input ends.
pub(crate) fn work(spec: &WorkerSpec) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let notes = OpenOptions::new().append(true).open(&spec.notes).context("the notes of a worker")?;
    let (stent, meter) = runtime.block_on(scene::open(&spec.url))?;
    let before = meter.read();
    println!("ready");
    let mut heard = std::io::stdin().lock().lines();
    ensure!(heard.next().transpose()?.as_deref() == Some("go"), "a worker was not told to start");

    let _entered = runtime.enter();
    let worker =
        scene::worker(&stent, spec.concurrency).state(Ended::default()).state(Notes(Some(Arc::new(notes))));
    let worker = runtime.block_on(worker.start())?;
    // This thread is not a runtime thread, so it may block until the input ends.
    heard.for_each(drop);
    runtime.block_on(worker.drain())?;
    let counters = meter.since(before);
    println!("{}", serde_json::to_string(&Worked { peak_rss_mb: peak_rss_mb(), counters })?);
    Ok(())
}

/// Waits until this many notes are written.
async fn until_noted(notes: &[PathBuf], n: usize) -> Result<()> {
    let count = || -> Result<usize> {
        let sizes = notes.iter().map(|notes| Ok(std::fs::metadata(notes)?.len() as usize));
        Ok(sizes.sum::<Result<usize>>()? / NOTE_LEN)
    };
    let mut noted = 0;
    let mut since = Instant::now();
    while noted < n {
        tokio::time::sleep(LOOK).await;
        let now = count()?;
        if now > noted {
            (noted, since) = (now, Instant::now());
        } else if since.elapsed() > STUCK {
            bail!("only {noted} of {n} jobs have run, and no more for {STUCK:?}");
        }
    }
    Ok(())
}

fn read(notes: &[impl AsRef<Path>], n: u32) -> Result<Fleet> {
    let mut runs: HashMap<u32, u32> = HashMap::new();
    let mut per_worker = Vec::new();
    for notes in notes {
        let text = std::fs::read_to_string(notes)?;
        for line in text.lines() {
            *runs.entry(line.parse()?).or_default() += 1;
        }
        per_worker.push(text.lines().count());
    }
    ensure!(runs.len() == n as usize, "{} jobs have run, but {n} were dispatched", runs.len());
    Ok(Fleet { per_worker, ran_twice: runs.values().filter(|runs| **runs > 1).count() })
}
