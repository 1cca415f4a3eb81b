//! A database with one writer at a time: who may write next, and which transactions the database itself has ended.
//!
//! A driver counts transactions by the statements that it has sent. SQLite ends some without being asked (a full disk, an I/O
//! error, `INSERT OR ROLLBACK`), and code may send a `COMMIT` of its own. So the backend makes the database report each
//! commit and rollback, and the store compares: a confirmed write never relies on the driver's report alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// How many of Stent's own writes in a row may go before a waiting closure. They are few and short: a worker has one
/// exchange and one renewal in flight, a client one batch.
const OWN_IN_A_ROW_MAX: u32 = 8;

/// The writing side of a database with one writer at a time. The backend's connections report to it, and the store asks it.
#[derive(Debug)]
pub struct OneWriter {
    turns: Mutex<Turns>,
    patience: Duration,
    committed: AtomicU64,
    rolled_back: AtomicU64,
    /// Whether a closure of the application has the open transaction, which it may not commit itself.
    closure: AtomicBool,
    /// The turn of the closure that has a transaction, until its connection returns to the pool.
    lent: Mutex<Option<Turn>>,
}

/// The current turn, and the callers that wait for one.
#[derive(Debug, Default)]
struct Turns {
    taken: bool,
    own: VecDeque<oneshot::Sender<Turn>>,
    closures: VecDeque<oneshot::Sender<Turn>>,
    own_in_a_row: u32,
}

/// The origin of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Stent's: commits, claims, renewals, dispatches.
    Own,
    /// A closure's of the application.
    Guest,
}

/// The right to begin the one transaction that writes. When it is dropped, the next waiting caller gets it.
#[derive(Debug)]
pub(crate) struct Turn(Option<Arc<OneWriter>>);

/// How many transactions had ended at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    committed: u64,
    rolled_back: u64,
}

impl OneWriter {
    /// Creates the writer. Writers of this process wait for each other for at most `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            turns: Mutex::default(),
            patience,
            committed: AtomicU64::new(0),
            rolled_back: AtomicU64::new(0),
            closure: AtomicBool::new(false),
            lent: Mutex::default(),
        })
    }

    /// The database is about to commit a transaction that writes. Returns whether it may: a `COMMIT` that a closure of
    /// the application sent itself may not, and becomes a rollback, so that no effect is committed without its record.
    #[must_use]
    pub fn commits(&self) -> bool {
        let may = !self.closure.load(Ordering::Acquire);
        if may {
            self.committed.fetch_add(1, Ordering::AcqRel);
        }
        may
    }

    /// The database has rolled a transaction back.
    pub fn rolled_back(&self) {
        self.rolled_back.fetch_add(1, Ordering::AcqRel);
    }

    /// A connection has returned to the pool, and its transaction has ended. Returns whether a closure had the
    /// connection.
    pub fn came_back(&self) -> bool {
        let lent = self.lent().take();
        if lent.is_some() {
            self.closure.store(false, Ordering::Release);
        }
        lent.is_some()
    }

    /// Whether this process writes now, or is about to.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.turns().taken
    }

    /// Waits for the next turn, for at most `patience`. Stent's own writes go first.
    pub(crate) async fn turn(self: &Arc<Self>, whose: Whose) -> Option<Turn> {
        let waiting = {
            let mut turns = self.turns();
            if !turns.taken {
                turns.taken = true;
                return Some(Turn(Some(Arc::clone(self))));
            }
            let (tell, told) = oneshot::channel();
            match whose {
                Whose::Own => turns.own.push_back(tell),
                Whose::Guest => turns.closures.push_back(tell),
            }
            told
        };
        tokio::time::timeout(self.patience, waiting).await.ok()?.ok()
    }

    /// The number of transactions that have ended so far.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            committed: self.committed.load(Ordering::Acquire),
            rolled_back: self.rolled_back.load(Ordering::Acquire),
        }
    }

    /// A closure has begun a transaction in its turn, which lasts until the connection [comes back](Self::came_back).
    pub(crate) fn lend(&self, turn: Turn) -> Mark {
        *self.lent() = Some(turn);
        self.closure.store(true, Ordering::Release);
        self.mark()
    }

    /// The closure has returned, and the store commits its transaction.
    pub(crate) fn takes_over(&self) {
        self.closure.store(false, Ordering::Release);
    }

    /// Gives the turn to the next caller that still waits.
    fn pass_on(self: Arc<Self>) {
        loop {
            let next = self.turns().next();
            let Some(next) = next else { return };
            match next.send(Turn(Some(Arc::clone(&self)))) {
                Ok(()) => return,
                // That caller no longer waits. A turn that was not taken must not pass itself on.
                Err(mut turn) => turn.0 = None,
            }
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lent(&self) -> MutexGuard<'_, Option<Turn>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let closures_turn = self.own_in_a_row >= OWN_IN_A_ROW_MAX && !self.closures.is_empty();
        if !closures_turn && let Some(own) = self.own.pop_front() {
            self.own_in_a_row += 1;
            return Some(own);
        }
        self.own_in_a_row = 0;
        let closure = self.closures.pop_front();
        self.taken = closure.is_some();
        closure
    }
}

impl Mark {
    /// Whether no transaction has ended since.
    pub(crate) fn still_open(self, writer: &OneWriter) -> bool {
        writer.mark() == self
    }

    /// Whether the one transaction that has ended since was committed.
    pub(crate) fn was_committed(self, writer: &OneWriter) -> bool {
        writer.mark() == Self { committed: self.committed + 1, ..self }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            writer.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Arc<OneWriter> {
        OneWriter::new(Duration::from_secs(60))
    }

    /// Polls once.
    async fn is_ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn own_writes_go_before_closures_that_came_first() {
        let writer = writer();
        let first = writer.turn(Whose::Guest).await;
        let mut closure = Box::pin(writer.turn(Whose::Guest));
        let mut own = Box::pin(writer.turn(Whose::Own));
        assert!(is_ready(&mut closure).await.is_none() && is_ready(&mut own).await.is_none());

        drop(first);

        assert!(is_ready(&mut closure).await.is_none());
        let own = is_ready(&mut own).await.expect("its turn");
        drop(own);
        assert!(is_ready(&mut closure).await.expect("its turn").is_some());
    }

    #[tokio::test]
    async fn a_closure_waits_for_a_bounded_number_of_own_writes() {
        let writer = writer();
        let mut held = writer.turn(Whose::Own).await;
        let mut closure = Box::pin(writer.turn(Whose::Guest));
        assert!(is_ready(&mut closure).await.is_none());

        for passed in 0.. {
            assert!(passed <= OWN_IN_A_ROW_MAX, "own writes go on for ever");
            let mut own = Box::pin(writer.turn(Whose::Own));
            assert!(is_ready(&mut own).await.is_none());
            drop(held.take());
            if is_ready(&mut closure).await.is_some() {
                return;
            }
            held = is_ready(&mut own).await.expect("its turn");
        }
    }

    #[tokio::test]
    async fn one_that_waits_no_longer_is_passed_over() {
        let writer = writer();
        let first = writer.turn(Whose::Own).await;
        let mut gone = Box::pin(writer.turn(Whose::Own));
        let mut next = Box::pin(writer.turn(Whose::Own));
        assert!(is_ready(&mut gone).await.is_none() && is_ready(&mut next).await.is_none());

        drop(gone);
        drop(first);

        assert!(is_ready(&mut next).await.expect("its turn").is_some());
        drop(next);
        assert!(writer.turn(Whose::Own).await.is_some());
    }

    #[tokio::test]
    async fn a_commit_of_a_closures_own_is_refused_and_the_stores_is_not() {
        let writer = writer();
        let turn = writer.turn(Whose::Guest).await.expect("its turn");
        let mark = writer.lend(turn);
        assert!(!writer.commits());
        assert!(mark.still_open(&writer) && !mark.was_committed(&writer));

        writer.takes_over();

        assert!(writer.commits());
        assert!(mark.was_committed(&writer));
        assert!(writer.came_back());
        assert!(!writer.came_back());
    }
}
