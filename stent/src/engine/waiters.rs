//! One router for all waits for executions in this process: ten thousand waits cost the store as much as one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stent_core::backend::{Error as StoreError, ErrorKind, ExecutionView, Listener, Store, Topic};
use stent_core::limits::{LOOKUP_MAX, PAGE_MAX};
use stent_core::model::{ExecutionStatus, TaskResult};
use stent_core::{ExecutionId, Timestamp};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::engine::call_timeout::CallTimeout;
use crate::engine::clock::Clock;
use crate::engine::expire::expire;
use crate::engine::poll::PollOptions;
use crate::error::{Error, Result};

/// Shortest pause between two reads, with or without hints, so that a busy store is not read for each commit.
const READ_PAUSE: Duration = Duration::from_millis(2);

/// How long reads that fail with permanent errors are retried before the waits fail.
const RETRY_FOR: Duration = Duration::from_secs(5);

/// After this many single reads in a row that fail, all others are assumed to fail as well.
const IN_A_ROW_MAX: usize = 8;

/// How often the router checks whether its owner still exists while nobody waits. This does not access the store.
const IDLE_MAX: Duration = Duration::from_secs(2);

type Ended = (ExecutionStatus, Option<TaskResult>);

/// The waits of one `Stent`.
#[derive(Clone, Debug)]
pub(crate) struct Waiters {
    inner: Arc<Inner>,
    /// The router holds the other end.
    router: watch::Receiver<()>,
}

#[derive(Debug)]
struct Inner {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    by_execution: HashMap<ExecutionId, Vec<Waiter>>,
    /// The number of waits that have begun.
    begun: u64,
}

/// A wait.
#[derive(Debug)]
struct Waiter {
    reply: oneshot::Sender<Result<Ended>>,
    /// The number of waits that had begun before.
    number: u64,
    /// Whether the execution may not exist yet: it was dispatched within a transaction that may not be committed.
    may_come: bool,
}

/// The waits that had begun by a moment. A question to the store that was sent at that moment answers only these: a dead
/// letter may have been retried after the store answered, and before a later wait began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun(u64);

impl Waiters {
    pub(crate) fn start(
        store: Arc<dyn Store>,
        clock: Arc<Clock>,
        poll: PollOptions,
        call_timeout: CallTimeout,
    ) -> Self {
        let inner = Arc::new(Inner { waiting: Mutex::default(), arrived: Notify::new() });
        let (alive, router) = watch::channel(());
        let routing = route(store, clock, Arc::downgrade(&inner), poll, call_timeout);
        tokio::spawn(async move {
            routing.await;
            drop(alive);
        });
        Self { inner, router }
    }

    /// Waits until an execution has ended and, with `may_come`, first until it has been dispatched.
    ///
    /// Cancel safe: the router forgets dropped waits with the next answer.
    pub(crate) async fn ended(&self, id: ExecutionId, may_come: bool) -> Result<Ended> {
        let (reply, answer) = oneshot::channel();
        self.inner.lock().push(id, reply, may_come);
        self.inner.arrived.notify_one();
        let mut router = self.router.clone();
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| Error::RuntimeEnded)?,
            // Nothing is ever sent on it: it ends with the runtime that the router is in.
            _ = router.changed() => Err(Error::RuntimeEnded),
        }
    }

    /// The executions that somebody waits for.
    pub(crate) fn awaited(&self) -> Vec<ExecutionId> {
        let waiting = self.inner.lock();
        let is_awaited = |waiters: &Vec<Waiter>| waiters.iter().any(|waiter| !waiter.reply.is_closed());
        waiting.by_execution.iter().filter(|(_, waiters)| is_awaited(waiters)).map(|(id, _)| *id).collect()
    }

    /// The waits that have begun.
    pub(crate) fn begun(&self) -> Begun {
        Begun(self.inner.lock().begun)
    }

    /// Completes the waits for an execution that has ended: this process has just committed its end, with an exchange
    /// that was sent when only these waits had begun.
    pub(crate) fn resolve(
        &self,
        id: ExecutionId,
        begun: Begun,
        status: ExecutionStatus,
        result: Option<&TaskResult>,
    ) {
        if !self.inner.answer(id, begun, || Ok((status, result.cloned()))) {
            self.inner.arrived.notify_one();
        }
    }
}

impl Waiting {
    fn push(&mut self, id: ExecutionId, reply: oneshot::Sender<Result<Ended>>, may_come: bool) {
        let number = self.begun;
        self.begun += 1;
        self.by_execution.entry(id).or_default().push(Waiter { reply, number, may_come });
    }

    /// Removes those of these waits for an execution that the closure selects. Returns them, and whether none is left.
    fn take(
        &mut self,
        id: ExecutionId,
        begun: Begun,
        selects: impl Fn(&Waiter) -> bool,
    ) -> (Vec<Waiter>, bool) {
        let Some(waiters) = self.by_execution.get_mut(&id) else { return (Vec::new(), true) };
        let taken = waiters.extract_if(.., |waiter| waiter.number < begun.0 && selects(waiter)).collect();
        let none_is_left = waiters.is_empty();
        if none_is_left {
            self.by_execution.remove(&id);
        }
        (taken, none_is_left)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ids with waits, and which waits these are; drops waits that are gone.
    fn wanted(&self) -> (Vec<ExecutionId>, Begun) {
        let mut waiting = self.lock();
        waiting.by_execution.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.reply.is_closed());
            !waiters.is_empty()
        });
        (waiting.by_execution.keys().copied().collect(), Begun(waiting.begun))
    }

    /// Answers these waits for an execution. Returns whether no later one is left.
    fn answer(&self, id: ExecutionId, begun: Begun, answer: impl Fn() -> Result<Ended>) -> bool {
        let (waiters, none_is_left) = self.lock().take(id, begun, |_| true);
        for waiter in waiters {
            let _ = waiter.reply.send(answer());
        }
        none_is_left
    }

    /// There is no such execution. Returns false if a wait expects it to be dispatched.
    fn is_missing(&self, id: ExecutionId, begun: Begun) -> bool {
        let (gone, none_is_left) = self.lock().take(id, begun, |waiter| !waiter.may_come);
        for waiter in gone {
            let _ = waiter.reply.send(Err(Error::NotFound(id)));
        }
        none_is_left
    }

    /// An execution exists. If it is missing later, it was purged.
    fn is_there(&self, id: ExecutionId) {
        let mut waiting = self.lock();
        waiting.by_execution.get_mut(&id).into_iter().flatten().for_each(|waiter| waiter.may_come = false);
    }

    fn fail(&self, id: ExecutionId, begun: Begun, error: &StoreError) {
        let again = || StoreError::new(error.kind(), "wait").with_message(format!("{error:#}"));
        self.answer(id, begun, || Err(again().into()));
    }
}

async fn route(
    store: Arc<dyn Store>,
    clock: Arc<Clock>,
    inner: std::sync::Weak<Inner>,
    poll: PollOptions,
    call_timeout: CallTimeout,
) {
    let mut hints: Box<dyn Listener> = store.listen(Topic::Ended);
    let mut pause = poll.min;
    // Most ids in one look-up, as learned from the look-ups that were answered in time, and since when reads fail.
    let mut page = LOOKUP_MAX;
    let mut failing: Option<Instant> = None;
    loop {
        let Some(alive) = inner.upgrade() else { return };
        let (wanted, begun) = alive.wanted();
        let started = Instant::now();
        let mut expires_at = None;
        let answered = match call_timeout
            .bound("wait", read(&*store, &alive, (&wanted, begun), page, &mut expires_at))
            .await
        {
            Ok(answered) => {
                page = (page * 2).min(LOOKUP_MAX);
                failing = None;
                answered
            }
            Err(error) => {
                let since = *failing.get_or_insert(started);
                if matches!(error.kind(), ErrorKind::Contended | ErrorKind::Limit | ErrorKind::Corrupt) {
                    page = (page / 2).max(1);
                }
                if error.kind() == ErrorKind::Closed {
                    wanted.iter().for_each(|id| alive.fail(*id, begun, &error));
                } else if error.is_transient() || since.elapsed() < RETRY_FOR {
                    tracing::debug!(%error, "cannot read which executions have ended; retrying");
                } else {
                    tracing::error!(
                        %error,
                        "cannot read which executions have ended ({error}); each is now read on its own, and waits \
                         for those that cannot be read fail with the error"
                    );
                    failing = None;
                    read_one_by_one(&*store, call_timeout, &alive, &wanted, begun).await;
                }
                0
            }
        };
        // Reading a long list must not take all of the store's time.
        let rest = READ_PAUSE.max(started.elapsed());
        let arrived = alive.clone();
        drop(alive);
        if wanted.len() == answered {
            // Nobody waits, so not even a poll is due. The weak pointer is checked at intervals, so that the router
            // ends with its owner.
            let arrived = tokio::time::timeout(IDLE_MAX, async move { arrived.arrived.notified().await });
            let _ = arrived.await;
            pause = poll.min;
            continue;
        }
        if answered > 0 {
            pause = poll.min;
        }
        // A wait also ends its execution when the deadline passes, because there may be no worker to do so.
        let expires_in = expires_at.map(|expires_at: Timestamp| expires_at.since(clock.now()));
        if expires_in == Some(Duration::ZERO)
            && let Err(error) = call_timeout.bound("exchange", expire(&*store, clock.now())).await
        {
            // In an outage, every round fails, and the first read or write that fails has said so.
            match error.is_transient() {
                true => tracing::debug!(%error, "cannot end executions whose deadline has passed; retrying"),
                false => tracing::warn!(%error, "cannot end executions whose deadline has passed; retrying"),
            }
        }
        let left = expires_in.filter(|left| !left.is_zero()).map_or(pause, |left| left.min(pause));
        pause = poll.after(pause);
        tokio::time::sleep(rest).await;
        tokio::select! {
            () = hints.changed() => pause = poll.min,
            () = async move { arrived.arrived.notified().await } => pause = poll.min,
            () = tokio::time::sleep(left.saturating_sub(rest)) => {}
        }
    }
}

/// Reads each execution by itself and fails only the waits whose own read fails: an unreadable execution does not
/// affect the others.
async fn read_one_by_one(
    store: &dyn Store,
    call_timeout: CallTimeout,
    inner: &Inner,
    wanted: &[ExecutionId],
    begun: Begun,
) {
    let mut in_a_row = 0;
    for (at, id) in wanted.iter().enumerate() {
        match call_timeout.bound("wait", read(store, inner, (&[*id], begun), 1, &mut None)).await {
            Err(error) if !error.is_transient() => {
                inner.fail(*id, begun, &error);
                in_a_row += 1;
                if in_a_row == IN_A_ROW_MAX {
                    wanted[at..].iter().for_each(|id| inner.fail(*id, begun, &error));
                    return;
                }
            }
            Ok(_) | Err(_) => in_a_row = 0,
        }
    }
}

/// Reads the executions with waits, and answers the waits for those that have ended or do not exist.
async fn read(
    store: &dyn Store,
    inner: &Inner,
    (wanted, begun): (&[ExecutionId], Begun),
    page: usize,
    expires_at: &mut Option<Timestamp>,
) -> stent_core::backend::Result<usize> {
    let mut answered = 0;
    for page in wanted.chunks(page) {
        let mut found = look_up(store, page).await?;
        if page.len() > PAGE_MAX && found.len() < page.len() {
            // The store may have taken fewer ids than it was given, so missing executions are looked up again in
            // smaller pages before any wait fails.
            let missing: Vec<_> = page.iter().filter(|id| !found.contains_key(id)).copied().collect();
            for page in missing.chunks(PAGE_MAX) {
                found.extend(look_up(store, page).await?);
            }
        }
        for id in page {
            match found.get(id) {
                None if inner.is_missing(*id, begun) => {}
                None => continue,
                Some(view) if view.status.is_terminal() => {
                    inner.answer(*id, begun, || Ok((view.status, view.result.clone())));
                }
                Some(view) => {
                    inner.is_there(*id);
                    *expires_at = expires_at.iter().copied().chain(view.expires_at).min();
                    continue;
                }
            }
            answered += 1;
        }
    }
    Ok(answered)
}

async fn look_up(
    store: &dyn Store,
    ids: &[ExecutionId],
) -> stent_core::backend::Result<HashMap<ExecutionId, ExecutionView>> {
    Ok(store.executions(ids).await?.into_iter().map(|view| (view.id, view)).collect())
}
