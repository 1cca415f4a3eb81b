//! The stage of a test: a fresh store and ledger, and worker processes that do not outlive it.
//!
//! A worker process is this test program, started again for the one test that turns it into a worker.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stent::ClockSource;
use stent::prelude::*;
use tempfile::TempDir;

use crate::LONG_LEASE;
use crate::ledger::{self, Ledger, Line, Told};
#[cfg(feature = "redis")]
use crate::namespace::Namespace;
#[cfg(feature = "postgres")]
use crate::schema::Schema;

/// The environment variable that makes a process of this program a worker.
const TOLD: &str = "STENT_CRASH_LIFE";
/// The line that a worker prints once it runs.
const READY: &str = "ready";

/// A new store and a new ledger, deleted when this value is dropped.
pub(crate) struct Stage {
    folder: TempDir,
    /// The location of the store, if it is not in the folder.
    #[cfg(feature = "postgres")]
    schema: Option<Schema>,
    #[cfg(feature = "redis")]
    namespace: Option<Namespace>,
    /// The URL of a store whose server the test itself starts.
    #[cfg(feature = "redis")]
    given: Option<String>,
}

impl Stage {
    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite() -> Self {
        Self::set()
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres() -> Self {
        let mut stage = Self::set();
        stage.schema = Some(Schema::new());
        stage
    }

    #[cfg(feature = "redis")]
    pub(crate) fn redis() -> Self {
        let mut stage = Self::set();
        stage.namespace = Some(Namespace::new());
        stage
    }

    /// A new ledger for a store that is elsewhere.
    #[cfg(feature = "redis")]
    pub(crate) fn at(url: String) -> Self {
        let mut stage = Self::set();
        stage.given = Some(url);
        stage
    }

    fn set() -> Self {
        let folder = tempfile::Builder::new().prefix("stent-crash-").tempdir().unwrap();
        let stage = Self {
            folder,
            #[cfg(feature = "postgres")]
            schema: None,
            #[cfg(feature = "redis")]
            namespace: None,
            #[cfg(feature = "redis")]
            given: None,
        };
        std::fs::write(stage.ledger(), "").unwrap();
        stage
    }

    pub(crate) fn url(&self) -> String {
        #[cfg(feature = "postgres")]
        if let Some(schema) = &self.schema {
            return schema.url();
        }
        #[cfg(feature = "redis")]
        if let Some(namespace) = &self.namespace {
            return namespace.url();
        }
        #[cfg(feature = "redis")]
        if let Some(url) = &self.given {
            return url.clone();
        }
        format!("sqlite://{}", self.folder.path().join("store.db").display())
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The ledger so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        ledger::read(&self.ledger())
    }

    /// Waits until the ledger satisfies a condition.
    pub(crate) async fn until(&self, patience: Duration, said: impl Fn(&[Line]) -> bool) {
        let start = Instant::now();
        while !said(&self.lines()) {
            assert!(
                start.elapsed() < patience,
                "the ledger does not come so far: it has {} lines",
                self.lines().len()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The reports of steps beside the ledger.
    pub(crate) fn told(&self) -> Vec<Told> {
        ledger::read_told(self.folder.path())
    }

    /// Waits until this many steps have reported.
    pub(crate) async fn until_told(&self, patience: Duration, steps: usize) {
        let start = Instant::now();
        let places = |told: Vec<Told>| told.into_iter().map(|told| told.place).collect::<BTreeSet<_>>();
        while places(self.told()).len() < steps {
            assert!(start.elapsed() < patience, "not so many steps run: {:#?}", self.told());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts a worker and waits until it runs.
    pub(crate) fn start(&self, life: Life) -> WorkerProcess {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let life = Life { url: self.url(), ledger: self.ledger(), ..life };
        let start = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker_process", "--exact", "--nocapture"])
            .env(TOLD, serde_json::to_string(&life).unwrap())
            .envs(life.zone.iter().flat_map(|zone| [("TZ", zone), ("PGTZ", zone)]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut worker = WorkerProcess { stdin: child.stdin.take(), said, child, start };
        // The test runner prints text, too, and does not always end its line.
        let ready = worker.said.by_ref().map_while(Result::ok).any(|line| line.ends_with(READY));
        assert!(ready, "worker {} did not start", life.number);
        worker
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("what the workers said last:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// One life of a worker process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) number: usize,
    pub(crate) lease: Duration,
    /// The grace for its steps when the test closes its input; `None` waits for as long as they take.
    pub(crate) grace: Option<Duration>,
    pub(crate) turns: usize,
    /// Its time zone, as in `TZ`, and whether it uses its host's clock.
    pub(crate) zone: Option<String>,
    pub(crate) by_host: bool,
    pub(crate) url: String,
    pub(crate) ledger: PathBuf,
}

impl Life {
    /// A life that is not to be cut short.
    pub(crate) fn number(number: usize) -> Self {
        Self { number, lease: LONG_LEASE, turns: 16, ..Self::default() }
    }

    /// The options of this process, if it is a worker.
    pub(crate) fn told() -> Option<Self> {
        let told = std::env::var(TOLD).ok()?;
        Some(serde_json::from_str(&told).unwrap())
    }

    /// Works until the test closes the input, at the latest when the test ends.
    pub(crate) fn live(self) {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new("warn"))
            .with_writer(std::io::stderr)
            .try_init();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let ledger = Ledger::open(&self.ledger, self.number).unwrap();
        let worker = runtime.block_on(async {
            let clock = if self.by_host { ClockSource::Host } else { ClockSource::Store };
            let stent = Stent::builder().clock(clock).connect(&self.url).await.unwrap();
            let worker = stent.worker().concurrency(self.turns).lease(self.lease).state(ledger);
            let worker = match self.grace {
                Some(grace) => worker.grace(grace),
                None => worker,
            };
            worker.start().await.unwrap()
        });
        println!("{READY}");
        // This thread is not the runtime's, so it may wait here.
        std::io::stdin().lock().lines().for_each(drop);
        runtime.block_on(worker.drain()).unwrap();
    }
}

/// A worker process. Killed when dropped.
pub(crate) struct WorkerProcess {
    child: Child,
    /// Closing it makes the worker drain, so a killed test leaves no worker behind.
    stdin: Option<ChildStdin>,
    /// Kept open, because the test runner in the worker fails if it cannot print its result.
    said: Lines<BufReader<ChildStdout>>,
    start: Instant,
}

impl WorkerProcess {
    /// Kills it with SIGKILL, and returns how long it lived at most.
    pub(crate) fn kill(mut self) -> Duration {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.start.elapsed()
    }

    /// Lets it drain and end.
    pub(crate) fn finish(mut self) {
        self.stdin = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a worker ended with {status}");
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Has no effect on a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
