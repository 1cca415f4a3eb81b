//! The loads that every peer runs, and how they are timed. Knows no peer.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// A load, by the name of the bench whose line it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bench {
    Jobs,
    Workflows,
    Latency,
}

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Store {
    Sqlite,
    Postgres,
    Redis,
}

/// A load that a peer can run.
#[derive(Debug, Serialize)]
pub(crate) struct Offer {
    pub(crate) peer: &'static str,
    pub(crate) bench: Bench,
    pub(crate) backend: Store,
    pub(crate) n_max: Option<u32>,
    /// Whether its commits can wait for the disk.
    pub(crate) full: bool,
}

/// One measurement.
#[derive(Debug, Deserialize)]
pub(crate) struct Spec {
    pub(crate) peer: String,
    pub(crate) bench: Bench,
    pub(crate) backend: Store,
    /// Whether a commit waits for the disk.
    pub(crate) full: bool,
    pub(crate) n: u32,
    /// An empty database, a file that does not exist yet, or a server on which the namespace is unused.
    pub(crate) url: String,
    pub(crate) namespace: String,
}

/// The result, from which `stent-bench` makes its line.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dispatch_seconds: Option<f64>,
    /// In seconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) latencies: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak_rss_mb: Option<f64>,
}

/// The peak resident memory of this process, if the system reports it.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}

/// How a load is timed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Everything is enqueued first, and then worked on.
    Bulk { n: u32 },
    /// One at a time.
    OneByOne { n: u32 },
}

impl Load {
    pub(crate) const fn of(spec: &Spec) -> Self {
        match spec.bench {
            Bench::Jobs | Bench::Workflows => Self::Bulk { n: spec.n },
            Bench::Latency => Self::OneByOne { n: spec.n },
        }
    }
}

/// Handlers that ran to their end, counted for the whole process: it makes one measurement.
static ENDED: AtomicU32 = AtomicU32::new(0);
static CHANGED: Notify = Notify::const_new();

/// A handler ran to its end.
pub(crate) fn one_more() {
    ENDED.fetch_add(1, Ordering::AcqRel);
    CHANGED.notify_one();
}

/// Waits until this many handlers have ended. For one waiter.
pub(crate) async fn reached(n: u32) {
    while ENDED.load(Ordering::Acquire) < n {
        CHANGED.notified().await;
    }
}

/// Jobs before the measured ones, so that these do not pay for one-time setup.
pub(crate) const WARM_UP: u32 = 20;

/// Times one job at a time, from before it is enqueued until its handler has ended; the worker runs already.
pub(crate) async fn one_by_one<F>(n: u32, mut enqueue: impl FnMut(u32) -> F) -> Result<Answer>
where
    F: Future<Output = Result<()>>,
{
    let mut latencies = Vec::new();
    let mut working = Instant::now();
    for number in 0..WARM_UP + n {
        if number == WARM_UP {
            begin()?;
            working = Instant::now();
        }
        let enqueuing = Instant::now();
        enqueue(number).await?;
        reached(number + 1).await;
        latencies.push(enqueuing.elapsed().as_secs_f64());
    }
    let seconds = working.elapsed().as_secs_f64();
    end()?;
    Ok(Answer { seconds, latencies: latencies.split_off(WARM_UP as usize), ..Answer::default() })
}

/// Waits until the store counts this many as ended. Handlers have ended before, so this is a short wait.
pub(crate) async fn until<F>(n: u32, mut count: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<i64>>,
{
    /// Far longer than any peer holds back what it has to write.
    const PATIENCE: Duration = Duration::from_secs(30);
    let since = Instant::now();
    loop {
        let ended = count().await?;
        if ended == i64::from(n) {
            return Ok(());
        }
        ensure!(since.elapsed() < PATIENCE, "{ended} of {n} have ended in the store");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// The measured part begins: `stent-bench` reads the counters of the server, and answers.
pub(crate) fn begin() -> Result<()> {
    mark("begin")
}

/// The measured part has ended.
pub(crate) fn end() -> Result<()> {
    mark("end")
}

fn mark(mark: &str) -> Result<()> {
    println!("{mark}");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    ensure!(std::io::stdin().lock().read_line(&mut answer)? > 0, "nobody answered to {mark}");
    Ok(())
}
