//! Counts what happened: every kind of change, applied and refused, every kind of row, and how it ended.

use std::collections::BTreeMap;
use std::fmt;

use stent_core::backend::{Purge, Renewal};
use stent_core::model::{NewTaskState, Note, StepKind};
use stent_core::transition::{Action, Dispatch, Next, Outcome, Transition};

use crate::world::Detail;

/// Counts, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(BTreeMap<String, u32>);

impl Tally {
    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// A transition and its outcome.
    pub(super) fn sent(&mut self, transition: &Transition, outcome: &Outcome) {
        let change = match transition {
            Transition::Dispatch(_) => "start",
            Transition::Commit(commit) => match &commit.next {
                Next::Keep => "keep",
                Next::Park(_) => "park",
                Next::Retry { .. } => "retry",
                Next::Redo => "redo",
                Next::End(Ok(_)) => "complete",
                Next::End(Err(_)) => "fail",
                Next::Release => "release",
            },
            Transition::Import(_) => "import",
            Transition::Unpark(_) => "wake",
            Transition::Postpone(_) => "put off",
            Transition::Expire(_) => "expire",
            Transition::Request(request) => match &request.action {
                Action::Cancel { .. } => "cancel",
                Action::Signal { .. } => "signal",
                Action::Redrive { .. } => "redrive",
                Action::Discard => "discard",
            },
        };
        let word = match outcome {
            Outcome::Applied(_) => "applied",
            Outcome::Already(_) => "already",
            Outcome::Fenced => "fenced",
            Outcome::Exists(_) => "exists",
            Outcome::Gone => "gone",
        };
        self.count(format!("{change} {word}"));
        if let Outcome::Applied(news) = outcome {
            if news.replaced {
                self.count("a signal replaced");
            }
            if news.stopped {
                self.count("a turn stopped");
            }
            self.parts(transition);
        }
    }

    fn parts(&mut self, transition: &Transition) {
        for new in transition.rows() {
            let state = match &new.state {
                NewTaskState::Pending { .. } => "pending",
                NewTaskState::Leased { .. } => "leased",
                NewTaskState::Done { result: Ok(_), .. } => "done",
                NewTaskState::Done { result: Err(_), .. } => "failed",
                NewTaskState::Timer { .. }
                | NewTaskState::Map
                | NewTaskState::Signal
                | NewTaskState::Join { .. } => "open",
            };
            self.count(format!("{} written {state}", new.kind));
        }
        if let Transition::Dispatch(Dispatch { key: Some(_), .. }) = transition {
            self.count("dispatch under a key");
        }
        let Transition::Commit(commit) = transition else { return };
        let parts = [
            (commit.fire.is_empty(), "sleep fired"),
            (commit.cancel.is_empty(), "step given up"),
            (commit.erase.is_empty(), "step erased"),
            (commit.feed.is_empty(), "map fed"),
        ];
        let parts = parts.into_iter().filter_map(|(none, what)| (!none).then_some(what));
        parts.for_each(|what| self.count(what));
        for said in &commit.notes {
            self.count(match &said.note {
                Note::Count { .. } => "note count",
                Note::CountFrom { .. } => "note count from",
                Note::Set { .. } => "note set",
                Note::SetFrom { .. } => "note set from",
                Note::Progress { .. } => "note progress",
            });
        }
    }

    /// How an operation changed an execution's tasks.
    pub(super) fn changed(&mut self, then: &Detail, now: &Detail) {
        for (id, task) in &now.tasks {
            let before = then.tasks.get(id);
            if before.is_none_or(|before| before.status != task.status) {
                self.count(format!("{} is {}", task.kind, task.status));
            }
            for mark in
                task.marks.iter().filter(|mark| before.is_none_or(|before| !before.marks.contains(*mark)))
            {
                self.count(format!("mark {mark:?}"));
            }
            if before.is_some_and(|before| before.crashes < task.crashes) {
                self.count("a lease taken over");
            }
            let item = task
                .parent
                .and_then(|parent| now.tasks.get(&parent))
                .is_some_and(|parent| matches!(parent.kind, StepKind::Map | StepKind::Gather));
            if item && before.is_none_or(|before| before.status != task.status) {
                self.count(format!("item is {}", task.status));
            }
        }
    }

    pub(super) fn purged(&mut self, what: Purge, count: u32) {
        if count > 0 {
            self.count(format!("purge of {what:?}"));
        }
    }

    pub(super) fn renewed(&mut self, renewals: &[Renewal]) {
        renewals.iter().for_each(|renewal| self.count(format!("lease {renewal:?}")));
    }

    #[cfg(test)]
    pub(super) fn add(&mut self, other: Self) {
        other.0.into_iter().for_each(|(what, times)| *self.0.entry(what).or_default() += times);
    }

    /// How often something happened.
    #[cfg(test)]
    pub(super) fn of(&self, what: &str) -> u32 {
        self.0.get(what).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, times)| writeln!(f, "  {times:>6} {what}"))
    }
}
