//! Notifies running functions of completions: one reader serves all functions of this process that run under a lease
//! while they wait for steps of other tasks.
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

/// Shortest pause between two reads, with or without hints, so that a busy store is not read for each commit.
const READ_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause between two reads while there are listeners: the longest time until a completion is noticed without
/// hints.
const READ_EVERY: Duration = Duration::from_millis(900);

/// The listeners of one `Stent`.
#[derive(Debug, Default)]
pub(crate) struct Completions(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    registered: HashMap<TaskId, Registered>,
    /// Whether the reader is running.
    is_read: bool,
    listened: u64,
}

#[derive(Debug)]
struct Registered {
    /// Distinguishes a listener from an earlier one for the same task.
    nth: u64,
    /// Number of completions that the function has seen.
    seen: u32,
    /// The steps that were read last, if the listener has not taken them yet.
    read: Vec<Step>,
    is_new: bool,
    news: Arc<Notify>,
}

/// A function's subscription. Dropping it ends the subscription.
#[derive(Debug)]
pub(crate) struct Listener {
    inner: Arc<Inner>,
    task: TaskId,
    nth: u64,
    news: Arc<Notify>,
}

impl Completions {
    /// Listens for completions of a task's steps after the first `seen`.
    pub(crate) fn listen(&self, store: &Arc<dyn Store>, task: TaskId, seen: u32) -> Listener {
        let news = Arc::new(Notify::new());
        let mut state = self.0.lock();
        state.listened += 1;
        let nth = state.listened;
        let registered = Registered { nth, seen, read: Vec::new(), is_new: false, news: news.clone() };
        state.registered.insert(task, registered);
        if !std::mem::replace(&mut state.is_read, true) {
            tokio::spawn(read_for_all(store.clone(), Arc::downgrade(&self.0)));
        }
        drop(state);
        self.0.arrived.notify_one();
        Listener { inner: self.0.clone(), task, nth, news }
    }
}

impl Listener {
    /// The function has seen this many completions, through this listener or otherwise.
    pub(crate) fn has_seen(&self, seen: u32) {
        if let Some(registered) = self.inner.lock().registered.get_mut(&self.task) {
            registered.seen = registered.seen.max(seen);
        }
    }

    /// Waits for changes: the steps that have ended since, and the open maps.
    ///
    /// # Cancel safety
    /// Cancel safe: steps that were read are kept for the next call.
    pub(crate) async fn next(&self) -> Vec<Step> {
        loop {
            let news = self.news.notified();
            if let Some(registered) = self.inner.lock().registered.get_mut(&self.task)
                && std::mem::take(&mut registered.is_new)
            {
                return registered.read.clone();
            }
            news.await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        if state.registered.get(&self.task).is_some_and(|registered| registered.nth == self.nth) {
            state.registered.remove(&self.task);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks to read, and the last listener among theirs. If there are none the reader ends, and the next listener
    /// starts a new one.
    fn wanted(&self) -> (Vec<(TaskId, u32)>, u64) {
        let mut state = self.lock();
        state.is_read = !state.registered.is_empty();
        let wanted = state.registered.iter().map(|(task, registered)| (*task, registered.seen)).collect();
        (wanted, state.listened)
    }

    /// Tells a listener of steps that were read when there were no listeners after `last`: a later one of the same task
    /// may have seen some of them.
    fn tell(&self, task: TaskId, steps: Vec<Step>, last: u64) {
        if let Some(registered) = self.lock().registered.get_mut(&task)
            && registered.nth <= last
            && registered.read != steps
        {
            registered.read = steps;
            registered.is_new = !registered.read.is_empty();
            registered.news.notify_one();
        }
    }
}

async fn read_for_all(store: Arc<dyn Store>, inner: Weak<Inner>) {
    let mut hints = store.listen(Topic::Work);
    loop {
        let Some(alive) = inner.upgrade() else { return };
        let (wanted, last) = alive.wanted();
        if wanted.is_empty() {
            return;
        }
        let started = Instant::now();
        for page in wanted.chunks(LOOKUP_MAX) {
            match store.completions(page).await {
                Ok(completions) => {
                    completions.into_iter().for_each(|(task, steps)| alive.tell(task, steps, last));
                }
                // Listeners get the completions with their next commit at the latest.
                Err(error) => tracing::debug!(%error, "cannot read completions; retrying"),
            }
        }
        // Reads for many listeners must not take all of the store's time.
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
