//! Executions that come from another store with their record. Drops their leases, and lets their waits begin anew here.

use std::collections::BTreeSet;

use super::{Entry, Ledger, Noted, Reads, Row, Written};
use crate::model::{Epoch, Keyed, StepKind, TaskStatus};
use crate::transition::{Import, News, Outcome};
use crate::{Key, Timestamp};

impl<'a> Ledger<'a> {
    /// Applies an import: see [`Import`].
    pub(super) fn import(&mut self, import: &'a Import) -> Outcome {
        let Import { execution, at, tasks, ended_claims, key_entries, notes, awaits } = import;
        if self.entries.contains_key(&execution.root()) {
            return Outcome::Already(News::default());
        }
        // G12: a key has one holder in a store. An entry that this execution left behind when it was deleted is replaced.
        let held = |key| self.key_entries.get(key).filter(|held| held.execution != *execution);
        if let Some(held) = key_entries.iter().find_map(|entry| held(entry.key)) {
            return Outcome::Exists(held.execution);
        }
        if awaits.iter().any(|(_, awaited)| self.root(*awaited).is_none()) {
            return Outcome::Gone;
        }

        for stored in tasks {
            let mut row = stored.row.clone();
            let closes = row.is_stopping();
            row.arrive(*at);
            self.ready |= !row.status.is_terminal();
            self.ended |= row.tree.parent.is_none() && row.status.is_terminal();
            self.ask([row.id]);
            let result = stored.result.as_ref().map(Written::Result);
            let new = Some((&stored.task, stored.created_at));
            self.entries.insert(row.id, Entry { new, dirty: true, slot: None, result, ..Entry::loaded(row) });
            if closes {
                self.cascade_execution(*execution, *at);
                self.may_close(*execution, true);
            }
        }
        self.ended_claims.extend(ended_claims.iter().cloned());
        self.notes.extend(notes.iter().map(|noted| Noted {
            execution: *execution,
            task: noted.task,
            at: noted.at,
            note: &noted.note,
        }));
        key_entries.iter().for_each(|entry| self.key_entries.put(entry.clone()));
        self.resume_waits(import);
        Outcome::Applied(News::default())
    }

    /// Lets the open waits under keys begin anew: what they wait for may be in this store already.
    fn resume_waits(&mut self, import: &'a Import) {
        let at = import.at;
        let own: BTreeSet<Key> = import.key_entries.iter().map(|entry| entry.key).collect();
        for stored in &import.tasks {
            let Some(row) = self.row(stored.row.id).filter(|row| row.waits_for_key()) else { continue };
            let (id, Some(key)) = (row.id, row.key) else { continue };
            match row.kind {
                StepKind::Call if !own.contains(&key) => {
                    self.change(id, |row| {
                        row.status = TaskStatus::Pending;
                        row.ready_at = Some(at);
                    });
                    self.insert_call(&stored.task, Keyed::new(key), at);
                }
                StepKind::Signal => {
                    self.wait_under(key, id);
                    self.deliver(key, at); // G11
                }
                _ => self.wait_under(key, id),
            }
        }
        for (step, awaited) in &import.awaits {
            if self.root(*awaited).is_some_and(|root| root.status.is_terminal()) {
                self.join_ended(*step, *awaited, at);
            }
        }
    }
}

impl Reads {
    pub(super) fn add_import(&mut self, import: &Import) {
        import.key_entries.iter().for_each(|entry| self.add_key(entry.key));
        let rows = import.tasks.iter().map(|stored| &stored.row);
        for row in rows.filter(|row| row.waits_for_key() && row.kind == StepKind::Call) {
            row.key.iter().for_each(|key| self.add_key(*key));
        }
        for (_, awaited) in &import.awaits {
            self.tasks.insert(awaited.root());
            self.keys.insert(Key::of_execution(*awaited));
        }
        self.keys.insert(Key::of_execution(import.execution));
    }
}

impl Row {
    /// Drops what belongs to the store that the task comes from: the lease, the slot of a limit, and the nonces.
    fn arrive(&mut self, at: Timestamp) {
        self.epoch = Epoch::plain(self.epoch.count);
        self.commit_epoch = Epoch::plain(self.commit_epoch.count);
        self.rest();
        match self.status {
            TaskStatus::Running if self.is_stopping() && self.tree.parent.is_none() => {
                self.status = TaskStatus::Waiting;
                self.ready_at = None;
                self.wake_threshold = None;
            }
            TaskStatus::Running if self.is_stopping() => self.cancel(at),
            TaskStatus::Running => {
                self.status = TaskStatus::Pending;
                self.ready_at = Some(at);
                self.uncommitted_claims = self.uncommitted_claims.saturating_sub(1);
            }
            // G5: a step may have ended between the reads of the parent and of the step.
            TaskStatus::Waiting if self.kind == StepKind::Call && self.threshold_reached() => self.wake(at),
            _ => {}
        }
    }
}
