//! Tells running functions of completions: one reader for all functions of this process that run under a lease and wait for
//! steps of others meanwhile.
//!
//! Without such a function there are no reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use stent_core::TaskId;
use stent_core::backend::{Store, Topic};
use stent_core::limits::LOOKUP_MAX;
use stent_core::model::Step;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Shortest pause between two reads, hints or not: a busy store is not read for each of its commits.
const READ_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause between two reads, while somebody listens: where no hint comes, a completion is heard of after this long.
const READ_EVERY: Duration = Duration::from_millis(900);

/// Those who listen, of one `Stent`.
#[derive(Debug, Default)]
pub(crate) struct Ears(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    listening: HashMap<TaskId, Listening>,
    /// Whether somebody reads for them.
    is_read: bool,
    listened: u64,
}

#[derive(Debug)]
struct Listening {
    /// Tells one who listens from who listened before for the same task.
    nth: u64,
    /// Completions that it has been told of.
    seen: u32,
    /// What was read last, and whether that is still to be told.
    read: Vec<Step>,
    is_new: bool,
    told: Arc<Notify>,
}

/// One function that listens. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Ear {
    inner: Arc<Inner>,
    task: TaskId,
    nth: u64,
    told: Arc<Notify>,
}

impl Ears {
    /// Listens for what becomes of a task's steps after the `seen` completions that it knows.
    pub(crate) fn listen(&self, store: &Arc<dyn Store>, task: TaskId, seen: u32) -> Ear {
        let told = Arc::new(Notify::new());
        let mut state = self.0.lock();
        state.listened += 1;
        let nth = state.listened;
        let listening = Listening { nth, seen, read: Vec::new(), is_new: false, told: told.clone() };
        state.listening.insert(task, listening);
        if !std::mem::replace(&mut state.is_read, true) {
            tokio::spawn(read_for_all(store.clone(), Arc::downgrade(&self.0)));
        }
        drop(state);
        self.0.arrived.notify_one();
        Ear { inner: self.0.clone(), task, nth, told }
    }
}

impl Ear {
    /// The function has been told of so many completions, by this or otherwise.
    pub(crate) fn knows(&self, seen: u32) {
        if let Some(listening) = self.inner.lock().listening.get_mut(&self.task) {
            listening.seen = listening.seen.max(seen);
        }
    }

    /// Waits for news: the steps that have ended since, and the maps that are open.
    ///
    /// # Cancel safety
    /// Safe: what was read is kept until it is told.
    pub(crate) async fn heard(&self) -> Vec<Step> {
        loop {
            let told = self.told.notified();
            if let Some(listening) = self.inner.lock().listening.get_mut(&self.task)
                && std::mem::take(&mut listening.is_new)
            {
                return listening.read.clone();
            }
            told.await;
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        if state.listening.get(&self.task).is_some_and(|listening| listening.nth == self.nth) {
            state.listening.remove(&self.task);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be read. With nothing the reader ends, and whoever listens next starts another one.
    fn wanted(&self) -> Vec<(TaskId, u32)> {
        let mut state = self.lock();
        state.is_read = !state.listening.is_empty();
        state.listening.iter().map(|(task, listening)| (*task, listening.seen)).collect()
    }

    fn tell(&self, task: TaskId, steps: Vec<Step>) {
        if let Some(listening) = self.lock().listening.get_mut(&task)
            && listening.read != steps
        {
            listening.read = steps;
            listening.is_new = !listening.read.is_empty();
            listening.told.notify_one();
        }
    }
}

async fn read_for_all(store: Arc<dyn Store>, inner: Weak<Inner>) {
    let mut hints = store.listen(Topic::Work);
    loop {
        let Some(alive) = inner.upgrade() else { return };
        let wanted = alive.wanted();
        if wanted.is_empty() {
            return;
        }
        let started = Instant::now();
        for page in wanted.chunks(LOOKUP_MAX) {
            match store.completions(page).await {
                Ok(completions) => completions.into_iter().for_each(|(task, steps)| alive.tell(task, steps)),
                // Those who listen hear of it with their next commit, at the latest.
                Err(error) => tracing::debug!(%error, "cannot read completions; retrying"),
            }
        }
        // The reads of many must not become all that the store does.
        let rest = READ_PAUSE.max(started.elapsed());
        let arrived = alive.clone();
        drop(alive);
        tokio::time::sleep(rest).await;
        tokio::select! {
            () = hints.changed() => {}
            () = async move { arrived.arrived.notified().await } => {}
            () = tokio::time::sleep_until(started + READ_EVERY) => {}
        }
    }
}
