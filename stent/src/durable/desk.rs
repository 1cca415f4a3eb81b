//! What a function's code and its turn say to each other about transactions.
//!
//! ```text
//! code ── want ─────────────────────────────► turn   once nothing else is to be written: ─┐
//!      ◄─ Word::Go ─────────────────────────        ◄──────────── grant ──────────────────┘
//! runs the closure
//!      ── finish, with the transaction ─────►       commits it with the record
//!      ◄─ the record, or Word::Again ───────
//! ```
//!
//! From the grant until the step leaves, nothing else of the task is written: a fence counts a task's writes, and a store
//! with one writer would have the turn wait for its own code.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use stent_core::Payload;
use stent_core::backend::{Error as StoreError, HostTransaction};
use stent_core::model::Seq;

/// A task's transactions: one at a time.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// Steps that want one, in the order in which they asked.
    wanted: VecDeque<Seq>,
    granted: Option<Granted>,
}

#[derive(Debug)]
struct Granted {
    seq: Seq,
    word: Option<Word>,
    done: Option<Done>,
}

/// What a turn tells the step that has its grant.
#[derive(Debug)]
#[cfg_attr(not(feature = "sql"), expect(dead_code, reason = "no backend with transactions is built in"))]
pub(crate) enum Word {
    /// It may begin.
    Go,
    /// What it did was not committed and may go well when it is done again.
    Again(StoreError),
    /// What it did was not committed, and never will be.
    Refused(StoreError),
    /// A constraint of the application's has refused the commit: the step fails with it.
    Failed(StoreError),
    /// The closure has ended its transaction by itself.
    Ended,
}

/// A closure that went well, to be committed with what it gave.
pub(crate) struct Done {
    pub(crate) seq: Seq,
    pub(crate) transaction: Arc<HostTransaction>,
    pub(crate) result: Payload,
}

/// How far a task's transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is none.
    Free,
    /// A step wants one.
    Wanted,
    /// The code is at it.
    Open,
    /// It is to be committed.
    Done,
}

impl Desk {
    pub(crate) fn stage(&self) -> Stage {
        match &self.granted {
            Some(Granted { done: Some(_), .. }) => Stage::Done,
            Some(_) => Stage::Open,
            None if self.wanted.is_empty() => Stage::Free,
            None => Stage::Wanted,
        }
    }

    /// Lets the first who wants a transaction begin, and says who that is.
    pub(crate) fn grant(&mut self) -> Option<Seq> {
        if self.granted.is_some() {
            return None;
        }
        let seq = self.wanted.pop_front()?;
        self.granted = Some(Granted { seq, word: Some(Word::Go), done: None });
        Some(seq)
    }

    pub(crate) fn take_done(&mut self) -> Option<Done> {
        self.granted.as_mut()?.done.take()
    }

    pub(crate) fn tell(&mut self, seq: Seq, word: Word) {
        if let Some(granted) = self.granted_to(seq) {
            granted.word = Some(word);
        }
    }

    /// A step is through with its transaction, or wants none any more. What it leaves is rolled back by being dropped, which
    /// is the caller's to do.
    pub(crate) fn leave(&mut self, seq: Seq) -> Option<Done> {
        self.wanted.retain(|wanted| *wanted != seq);
        self.granted.take_if(|granted| granted.seq == seq)?.done
    }

    fn granted_to(&mut self, seq: Seq) -> Option<&mut Granted> {
        self.granted.as_mut().filter(|granted| granted.seq == seq)
    }
}

#[cfg(feature = "sql")]
impl Desk {
    pub(crate) fn want(&mut self, seq: Seq) {
        self.wanted.push_back(seq);
    }

    /// What the turn has said since the last look.
    pub(crate) fn listen(&mut self, seq: Seq) -> Option<Word> {
        self.granted_to(seq)?.word.take()
    }

    pub(crate) fn finish(&mut self, done: Done) {
        if let Some(granted) = self.granted_to(done.seq) {
            granted.done = Some(done);
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").field("seq", &self.seq).finish_non_exhaustive()
    }
}
