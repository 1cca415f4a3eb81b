//! How far a batch reaches beyond the rows that a ledger has, and which transitions must wait for that.
//!
//! A batch has the effect of its transitions one by one. But only the store can run a transition's cascade, and it does so once
//! the batch is written. So a ledger keeps the executions and keys that a cascade may touch, and refuses a transition that
//! reads or changes any of them: the store then writes, runs the cascade, and continues with a new ledger.

use std::collections::BTreeSet;

use super::{Ledger, Row, row_execution};
use crate::transition::{Action, Commit, Next, Postpone, Transition, Unpark};
use crate::{ExecutionId, Key, TaskId};

/// The executions and keys that cascades may touch, and the executions for whose news the store has yet to read steps.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Keys under which a cascade may make tasks ready or end them.
    keys: BTreeSet<Key>,
    /// Executions whose tasks a cascade may change.
    executions: BTreeSet<ExecutionId>,
    /// Whether a cascade may [close](super::CascadeStep::Close) an execution that other tasks wait for.
    closes: bool,
    /// Whether the batch or its cascade may end executions for which tasks wait that are not loaded.
    out_of_sight: bool,
    /// Executions of tasks to whose news the store adds steps.
    told: BTreeSet<ExecutionId>,
}

impl Reach {
    pub(super) fn add_key(&mut self, key: Key) {
        self.keys.insert(key);
    }

    pub(super) fn add_execution(&mut self, execution: ExecutionId) {
        self.executions.insert(execution);
    }

    /// Records that the store will read steps of this execution for an outcome's news, so the batch must not delete them
    /// first.
    pub(super) fn add_told(&mut self, execution: ExecutionId) {
        self.told.insert(execution);
    }
}

impl Ledger<'_> {
    /// Whether a transition can be applied to the rows in memory. If not, write the changes, run their cascade, complete the
    /// news, and continue with a new ledger in the same transaction: either the batch changes tasks that are not loaded, and
    /// only the store knows which, or the transition deletes steps that the news of an earlier outcome need, or it changes the
    /// constant part of a task that is not written yet.
    #[must_use]
    pub fn can_apply(&self, transition: &Transition) -> bool {
        !self.deletes_news(transition)
            && !self.moves_new(transition)
            && (self.cascade.is_empty() || !self.concerns(transition))
    }

    /// Whether a transition may change the retry policy or the queue of a task that this batch inserts: an
    /// [insert](super::Insert) has those of the new task.
    fn moves_new(&self, transition: &Transition) -> bool {
        matches!(transition.action(), Some(Action::Redrive { retry, queue }) if retry.is_some() || queue.is_some())
            && self.entries.get(&transition.task()).is_some_and(|entry| entry.new.is_some())
    }

    /// Whether a transition may delete steps that the store has yet to read for news.
    fn deletes_news(&self, transition: &Transition) -> bool {
        let erases = transition.commit().filter(|commit| !commit.erase.is_empty());
        erases.is_some_and(|commit| self.reach.told.contains(&commit.tree.execution))
    }

    /// Whether a transition reads or changes anything that the cascade of this batch may change. Other transitions do not
    /// interfere with it, so that many deadlines that pass at once still fit one batch.
    fn concerns(&self, transition: &Transition) -> bool {
        let Reach { keys, executions, closes, out_of_sight, told: _ } = &self.reach;
        if matches!(transition, Transition::Import(_)) {
            return true; // Rare, and it may touch as many keys and executions as it likes.
        }
        let row = self.peek(transition.task());
        let execution = match transition {
            Transition::Dispatch(_) | Transition::Import(_) => None,
            Transition::Commit(commit) => Some(commit.tree.execution),
            Transition::Request(request) => Some(request.execution),
            Transition::Expire(expire) => Some(expire.tree.execution),
            Transition::Unpark(Unpark { .. }) | Transition::Postpone(Postpone { .. }) => row_execution(row),
        };
        if execution.is_some_and(|execution| executions.contains(&execution)) {
            return true;
        }
        let reads = Self::reads(std::slice::from_ref(transition));
        let execution_of = |task| row_execution(self.peek(task));
        let waits_under = reads.tasks.iter().filter_map(|task| self.peek(*task)?.key);
        let mut touched = reads.keys.iter().copied().chain(waits_under);
        if touched.any(|key| keys.contains(&key) || self.key_entries.concern(key, executions, execution_of)) {
            return true;
        }
        if matches!(transition, Transition::Dispatch(_)) {
            return false; // A new execution waits for nothing, and nothing waits for it.
        }
        let waiters = || {
            let tasks = reads.keys.iter().flat_map(|key| self.key_entries.waiters(*key));
            tasks.filter_map(|task| self.peek(task))
        };
        // The joins of the execution that this task ends would complete before the joins of executions that the cascade
        // closes.
        if *closes && waiters().any(|waiter| waiter.tree.parent.is_none()) {
            return true;
        }
        *out_of_sight && (may_wait(transition, row) || waiters().any(|waiter| waiter.tree.parent.is_some()))
    }

    /// Records that the cascade may close an execution that was asked to end, and complete the tasks that wait for that
    /// execution. `is_read` says that these tasks are loaded.
    pub(super) fn may_close(&mut self, execution: ExecutionId, is_read: bool) {
        let joiners: Vec<TaskId> = self.key_entries.waiters(Key::of_execution(execution)).collect();
        self.reach.closes |= !is_read || !joiners.is_empty();
        self.reach.out_of_sight |= !is_read;
        let told = joiners.into_iter().filter_map(|joiner| row_execution(self.peek(joiner)));
        let told: Vec<_> = told.collect();
        self.reach.executions.extend(told);
    }

    /// Records that an execution has ended with the result of another one, and that the tasks that wait for the execution are
    /// not loaded.
    pub(super) fn ended_with_another(&mut self, execution: ExecutionId) {
        self.reach.add_key(Key::of_execution(execution));
        self.reach.out_of_sight = true;
    }
}

/// Whether the task of a transition, or the task above it that counts its end, may have steps that wait for an execution.
fn may_wait(transition: &Transition, row: Option<&Row>) -> bool {
    let Some(row) = row else { return false };
    let is_counted = match transition {
        Transition::Commit(Commit { next: Next::End(_), .. }) | Transition::Expire(_) => {
            row.tree.parent.is_some()
        }
        _ => false,
    };
    // In an execution that was asked to end, only running tasks are open. A task that has never committed has no steps.
    !row.is_stopping() && (is_counted || row.commit > 0)
}
