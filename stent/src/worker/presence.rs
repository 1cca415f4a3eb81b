//! Tells the store that a worker lives: when it starts, when its state changes, and at most every 30 s otherwise. It runs beside
//! the worker's loop, which never waits for it while it works. Nothing depends on what the store knows.

use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Error as StoreError, ErrorKind};
use stent_core::limits::{WORKER_NAMES_MAX, WORKER_REPORT};
use stent_core::model::{WorkerRecord, WorkerState};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::config::Config;
use super::status::Vitals;
use crate::engine::Engine;

/// How long a stopping worker waits until the store knows that it has stopped.
const LAST_REPORT_MAX: Duration = Duration::from_secs(1);

/// The reports of a worker, until they are [ended](Self::end).
#[derive(Debug)]
pub(super) struct Presence {
    ends: oneshot::Sender<()>,
    reports: JoinHandle<()>,
}

impl Presence {
    /// Begins to report.
    pub(super) fn begin(engine: &Arc<Engine>, vitals: &Arc<Vitals>, config: &Config) -> Self {
        let record = record(engine, vitals, config);
        let (ends, ended) = oneshot::channel();
        let (engine, vitals, every) = (engine.clone(), vitals.clone(), config.report);
        let reports = Reports { engine, vitals, record, every, is_failing: false };
        Self { ends, reports: tokio::spawn(reports.run(ended)) }
    }

    /// Reports that the worker has stopped. If the store does not answer in time, the record stays as it is, and its readers take
    /// the worker for dead.
    pub(super) async fn end(self) {
        let Self { ends, mut reports } = self;
        // An error means that the reports have ended, because they panicked.
        let _ = ends.send(());
        if tokio::time::timeout(LAST_REPORT_MAX, &mut reports).await.is_err() {
            reports.abort();
        }
    }
}

struct Reports {
    engine: Arc<Engine>,
    vitals: Arc<Vitals>,
    record: WorkerRecord,
    every: Duration,
    /// Whether the last report failed.
    is_failing: bool,
}

impl Reports {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        let mut life = self.vitals.life();
        loop {
            let state = life.borrow_and_update().state;
            self.report(state).await;
            tokio::select! {
                biased;
                end = &mut ended => {
                    // An error means that the worker's loop panicked.
                    let state = if end.is_ok() { WorkerState::Stopped } else { WorkerState::Crashed };
                    return self.report(state).await;
                }
                _ = life.changed() => {}
                () = tokio::time::sleep(self.every) => {}
            }
        }
    }

    async fn report(&mut self, state: WorkerState) {
        let status = self.vitals.status();
        self.record.state = state;
        self.record.used = u32::try_from(status.running).unwrap_or(u32::MAX);
        self.record.drift_us = status.clock_drift_us;
        self.record.seen_at = self.engine.clock.now();
        let report = self.engine.store.report(&self.record);
        let error = match tokio::time::timeout(WORKER_REPORT, report).await {
            Ok(Ok(())) => return self.is_failing = false,
            Ok(Err(error)) => error,
            Err(_) => StoreError::new(ErrorKind::Unavailable, "report")
                .with_message(format!("no answer within {WORKER_REPORT:?}")),
        };
        let worker = self.record.id;
        // Once per outage. A closed store has no readers.
        match self.is_failing || error.kind() == ErrorKind::Closed {
            true => tracing::debug!(%worker, %error, "cannot write the worker's record"),
            false => tracing::warn!(
                %worker,
                %error,
                "cannot write the worker's record, so readers of `stent.inspect().workers(…)` may take the worker for \
                 dead; it goes on working, and tries again in {:?}",
                self.every
            ),
        }
        self.is_failing = true;
    }
}

/// What does not change during a worker's life.
fn record(engine: &Engine, vitals: &Vitals, config: &Config) -> WorkerRecord {
    let mut record = WorkerRecord::new(vitals.id(), vitals.name().to_owned(), engine.clock.now());
    record.host = gethostname::gethostname().to_string_lossy().into_owned();
    record.pid = std::process::id();
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_name());
    record.program = program.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    record.version.clone_from(&config.version);
    record.stent = env!("CARGO_PKG_VERSION").to_owned();
    record.queues = config.queues.as_ref().map(|queues| first(queues.iter().map(String::as_str)));
    record.tags = first(config.tags.iter().map(String::as_str));
    record.functions = first(engine.registry.names());
    record.slots = u32::try_from(config.concurrency).unwrap_or(u32::MAX);
    record
}

fn first<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.take(WORKER_NAMES_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use stent_core::backend::{Backend as _, Forward, Inspect as _, Result, Store};
    use stent_memory::MemoryStore;
    use tokio::sync::mpsc;

    use super::*;
    use crate::Stent;

    /// A store that tells of each report, and fails the first ones.
    #[derive(Debug)]
    struct Told {
        inner: MemoryStore,
        told: mpsc::UnboundedSender<WorkerState>,
        failing: AtomicU64,
        hangs: Mutex<bool>,
    }

    #[async_trait]
    impl Forward for Told {
        fn inner(&self) -> &dyn Store {
            &self.inner
        }

        async fn report(&self, worker: &WorkerRecord) -> Result<()> {
            let _ = self.told.send(worker.state);
            if *self.hangs.lock().expect("whole") {
                std::future::pending::<()>().await;
            }
            let one_less = |left: u64| left.checked_sub(1);
            if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                return Err(StoreError::new(ErrorKind::Unavailable, "report"));
            }
            self.inner.report(worker).await
        }
    }

    fn told(failing: u64) -> (Arc<Told>, mpsc::UnboundedReceiver<WorkerState>) {
        let (told, reports) = mpsc::unbounded_channel();
        let failing = AtomicU64::new(failing);
        (Arc::new(Told { inner: MemoryStore::new(), told, failing, hangs: Mutex::new(false) }), reports)
    }

    #[tokio::test]
    async fn a_report_that_failed_is_repeated_and_the_last_one_says_stopped() {
        let (store, mut reports) = told(20);
        let stent = Stent::builder().open(store.clone()).await.expect("opens");
        let worker = stent.worker().report(Duration::from_millis(1)).start().await.expect("starts");
        worker.wait_until_ready().await.expect("works although its reports fail");

        // When a report begins, the one before it is done. So one that says `ready` has been written, after all that fail.
        let mut ready = 0;
        while ready < 22 {
            let state = reports.recv().await.expect("reports go on");
            ready += u32::from(state == WorkerState::Ready);
        }
        let known = store.inner.workers(None, 9).await.expect("reads");
        let known: Vec<_> = known.iter().map(|record| (record.id, record.state)).collect();
        assert_eq!(known, [(worker.id(), WorkerState::Ready)]);

        worker.drain().await.expect("drains");
        let known = store.inner.workers(None, 9).await.expect("reads");
        assert_eq!(known.iter().map(|record| record.state).collect::<Vec<_>>(), [WorkerState::Stopped]);
        let mut last = None;
        while let Ok(state) = reports.try_recv() {
            last = Some(state);
        }
        assert_eq!(last, Some(WorkerState::Stopped), "and nothing after that");
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_holds_no_worker_up() {
        let (store, mut reports) = told(0);
        *store.hangs.lock().expect("whole") = true;
        let stent = Stent::builder().open(store.clone()).await.expect("opens");
        let worker = stent.worker().start().await.expect("starts");

        assert_eq!(reports.recv().await, Some(WorkerState::Starting));
        worker.wait_until_ready().await.expect("becomes ready");
        worker.drain().await.expect("drains");

        assert!(reports.try_recv().is_err(), "the first report has not returned, and there is no other");
    }
}
