//! The hand-off of transactions between a function's code and its turn.
//!
//! ```text
//! code ── enqueue ─────────────────────────► turn   once nothing else is to be written: ─┐
//!      ◄─ Reply::Begin ─────────────────────        ◄──────────── grant ──────────────────┘
//! runs the closure
//!      ── finish, with the transaction ────►        commits it with the record
//!      ◄─ the record, or Reply::Retry ──────
//! ```
//!
//! From the grant until the step leaves, nothing else of the task is written: a fence counts a task's writes, and in a store
//! with a single writer the turn would wait for its own code.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use stent_core::Payload;
use stent_core::backend::{Error as StoreError, HostTransaction};
use stent_core::model::Seq;

/// The transactions of one task, one at a time.
#[derive(Debug, Default)]
pub(crate) struct TransactionQueue {
    /// Steps that wait for a grant, in the order in which they asked.
    queued: VecDeque<Seq>,
    granted: Option<Granted>,
}

#[derive(Debug)]
struct Granted {
    seq: Seq,
    reply: Option<Reply>,
    finished: Option<Finished>,
}

/// A turn's reply to the step that has the grant.
#[derive(Debug)]
#[cfg_attr(not(feature = "sql"), expect(dead_code, reason = "no backend with transactions is built in"))]
pub(crate) enum Reply {
    /// The step may begin its transaction.
    Begin,
    /// The transaction was not committed and may succeed on a rerun.
    Retry(StoreError),
    /// The transaction was not committed and never can be.
    Refused(StoreError),
    /// A constraint of the application rejected the commit, and the step fails with that error.
    Rejected(StoreError),
    /// The closure ended its transaction itself.
    Ended,
}

/// The result of a closure that succeeded, to be committed with its transaction.
pub(crate) struct Finished {
    pub(crate) seq: Seq,
    pub(crate) transaction: Arc<HostTransaction>,
    pub(crate) result: Payload,
}

/// The stage of a task's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionStage {
    /// There is no transaction.
    Idle,
    /// A step waits for a grant.
    Queued,
    /// The closure runs.
    Open,
    /// The closure has succeeded; the turn has not committed yet.
    Finished,
}

impl TransactionQueue {
    pub(crate) fn stage(&self) -> TransactionStage {
        match &self.granted {
            Some(Granted { finished: Some(_), .. }) => TransactionStage::Finished,
            Some(_) => TransactionStage::Open,
            None if self.queued.is_empty() => TransactionStage::Idle,
            None => TransactionStage::Queued,
        }
    }

    /// Lets the first step in the queue begin, and returns its position.
    pub(crate) fn grant(&mut self) -> Option<Seq> {
        if self.granted.is_some() {
            return None;
        }
        let seq = self.queued.pop_front()?;
        self.granted = Some(Granted { seq, reply: Some(Reply::Begin), finished: None });
        Some(seq)
    }

    pub(crate) fn take_finished(&mut self) -> Option<Finished> {
        self.granted.as_mut()?.finished.take()
    }

    pub(crate) fn reply(&mut self, seq: Seq, reply: Reply) {
        if let Some(granted) = self.granted_to(seq) {
            granted.reply = Some(reply);
        }
    }

    /// A step has ended its transaction or no longer waits for one. Dropping the returned value rolls the transaction back.
    pub(crate) fn leave(&mut self, seq: Seq) -> Option<Finished> {
        self.queued.retain(|queued| *queued != seq);
        self.granted.take_if(|granted| granted.seq == seq)?.finished
    }

    fn granted_to(&mut self, seq: Seq) -> Option<&mut Granted> {
        self.granted.as_mut().filter(|granted| granted.seq == seq)
    }
}

#[cfg(feature = "sql")]
impl TransactionQueue {
    pub(crate) fn enqueue(&mut self, seq: Seq) {
        self.queued.push_back(seq);
    }

    /// The turn's reply, if a new one has arrived.
    pub(crate) fn take_reply(&mut self, seq: Seq) -> Option<Reply> {
        self.granted_to(seq)?.reply.take()
    }

    pub(crate) fn finish(&mut self, finished: Finished) {
        if let Some(granted) = self.granted_to(finished.seq) {
            granted.finished = Some(finished);
        }
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished").field("seq", &self.seq).finish_non_exhaustive()
    }
}
