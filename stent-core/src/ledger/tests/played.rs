//! A store that compares and writes: it reads exactly the parts that a play wants, and then writes the effects.

use super::shelf::Shelf;
use super::*;
use crate::ledger::overlay::{Effects, Known, Played, ResultEffect, Wanted, is_pending, play};
use crate::model::{Step, StepState};

impl Shelf {
    /// Plays a batch and writes its effects. Leaves out the news of the outcomes, as `apply` does.
    pub(super) fn play(&mut self, batch: &[Transition]) -> Vec<Outcome> {
        let mut known = Known::default();
        let effects = loop {
            match play(&known, batch).expect("rows that belong together") {
                Played::Done(effects) => break effects,
                Played::Wants(wanted) => self.read(&wanted, &mut known),
            }
        };
        let mut outcomes = effects.outcomes.clone();
        for outcome in &mut outcomes {
            if let Outcome::Applied(news) | Outcome::Already(news) = outcome {
                news.steps.clear();
            }
        }
        self.write_effects(effects);
        outcomes
    }

    fn read(&self, wanted: &Wanted, known: &mut Known) {
        assert!(!wanted.is_empty(), "a play that goes no further wants something");
        let ids =
            |is: &dyn Fn(&Row) -> bool| self.rows.values().filter(|row| is(row)).map(|row| row.id).collect();
        let open = |row: &Row| !row.status.is_terminal();
        for id in &wanted.rows {
            let again = known.rows.insert(*id, self.rows.get(id).cloned());
            assert!(again.is_none(), "what was read is not wanted again");
        }
        for key in &wanted.key_entries {
            known.key_entries.insert(*key, self.key_entries.get(key).cloned());
        }
        for key in &wanted.under_key {
            known.under_key.insert(*key, ids(&|row| open(row) && row.key == Some(*key)));
        }
        for execution in &wanted.open_tasks {
            let below = |row: &Row| row.tree.execution == *execution && row.tree.parent.is_some();
            known.open_tasks.insert(*execution, ids(&|row| open(row) && below(row)));
        }
        for task in &wanted.children {
            known.children.insert(*task, ids(&|row| row.tree.parent == Some(*task)));
        }
        for execution in &wanted.pending_keys {
            let pending =
                self.key_entries.values().filter(|entry| entry.execution == *execution && is_pending(entry));
            known.pending_keys.insert(*execution, pending.map(|entry| entry.key).collect());
        }
        for id in &wanted.results {
            known.results.insert(*id, self.results.get(id).cloned());
        }
        for id in &wanted.steps {
            known.steps.insert(*id, self.rows.get(id).map(|row| self.step(row)));
        }
        for (task, seen) in &wanted.news {
            let below = self.rows.values().filter(|row| row.tree.parent == Some(*task));
            let ended = below.filter(|row| row.done_order.is_some_and(|order| order > *seen));
            known.news.insert((*task, *seen), ended.map(|row| self.step(row)).collect());
        }
    }

    fn step(&self, row: &Row) -> Step {
        let result = self.results.get(&row.id).cloned().unwrap_or(Ok(Payload::empty()));
        let state = match (row.done_order, row.ended_at) {
            (Some(order), Some(at)) => StepState::Done { order, at, result },
            _ => StepState::Open { due: None },
        };
        let (id, kind, digest) = (row.id, row.kind, row.digest);
        Step { id, seq: Seq(0), kind, name: "ship".to_owned(), state, map: None, digest }
    }

    fn write_effects(&mut self, effects: Effects<'_>) {
        for (id, _) in effects.tasks.iter().filter(|(_, effect)| effect.erased) {
            self.rows.remove(id);
            self.results.remove(id);
        }
        for (id, effect) in &effects.tasks {
            if let Some(ResultEffect::Copy(from)) = effect.result {
                let copied = self.results.get(&from).cloned();
                self.results.extend(copied.map(|copied| (*id, copied)));
            }
        }
        for (id, effect) in effects.tasks {
            self.rows.extend(effect.row.map(|row| (id, row)));
            if let Some(ResultEffect::Written(written)) = effect.result {
                self.results.insert(id, written.into_result());
            }
        }
        for (key, entry) in effects.key_entries {
            match entry {
                Some(entry) => drop(self.key_entries.insert(key, entry)),
                None => drop(self.key_entries.remove(&key)),
            }
        }
    }
}
