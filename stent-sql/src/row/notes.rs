//! Notes of a batch, folded: of each counter and state what it comes to, whatever was said of it in which order.

use std::collections::{BTreeMap, BTreeSet};

use stent_core::ledger::Noted;
use stent_core::model::Note;
use stent_core::{ExecutionId, Payload};

use super::{COUNTER, STATE, columns};
use crate::batch::{Batch, Cell};

/// What a batch says of executions.
#[derive(Debug, Default)]
pub(crate) struct Notes<'a> {
    counters: BTreeMap<(ExecutionId, &'a str), Counter>,
    states: BTreeMap<(ExecutionId, &'a str), State<'a>>,
    progress: Vec<&'a Noted<'a>>,
}

/// A counter comes to `first + add` if it is new, and to `add` more than it was if it is not.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    first: Option<i64>,
    add: i64,
    added: bool,
}

#[derive(Clone, Copy, Debug)]
struct State<'a> {
    value: &'a Payload,
    /// Whether it is written over what is there.
    over: bool,
}

impl<'a> Notes<'a> {
    pub(crate) fn fold(noted: &'a [Noted<'a>]) -> Self {
        let mut notes = Self::default();
        for said in noted {
            let of = |name: &'a String| (said.execution, name.as_str());
            match said.note {
                Note::Count { name, add } => {
                    let counter = notes.counters.entry(of(name)).or_default();
                    counter.add = counter.add.saturating_add(*add);
                    counter.added = true;
                }
                Note::CountFrom { name, value } => {
                    let counter = notes.counters.entry(of(name)).or_default();
                    if counter.first.is_none() && !counter.added {
                        counter.first = Some(*value);
                    }
                }
                Note::Set { name, value } => {
                    notes.states.insert(of(name), State { value, over: true });
                }
                Note::SetFrom { name, value } => {
                    notes.states.entry(of(name)).or_insert(State { value, over: false });
                }
                Note::Progress { .. } => notes.progress.push(said),
            }
        }
        notes
    }

    /// What is written unless there is something: first values of counters and states.
    pub(crate) fn firsts(&self) -> Batch<'a> {
        let mut batch = Batch::new(&columns::NOTE, 0);
        for ((execution, name), counter) in &self.counters {
            if let Some(first) = counter.first {
                batch.push(counter_cells(*execution, name, first));
            }
        }
        for ((execution, name), state) in self.states.iter().filter(|(_, state)| !state.over) {
            batch.push(state_cells(*execution, name, state.value));
        }
        batch
    }

    /// What is added to counters.
    pub(crate) fn counts(&self) -> Batch<'a> {
        let mut batch = Batch::new(&columns::NOTE, 0);
        for ((execution, name), counter) in self.counters.iter().filter(|(_, counter)| counter.added) {
            batch.push(counter_cells(*execution, name, counter.add));
        }
        batch
    }

    /// What states are set to.
    pub(crate) fn states(&self) -> Batch<'a> {
        let mut batch = Batch::new(&columns::NOTE, 0);
        for ((execution, name), state) in self.states.iter().filter(|(_, state)| state.over) {
            batch.push(state_cells(*execution, name, state.value));
        }
        batch
    }

    /// Entries of progress.
    pub(crate) fn progress(&self) -> Batch<'a> {
        let mut batch = Batch::new(&columns::PROGRESS, self.progress.len());
        for Noted { execution, task, at, note } in &self.progress {
            if let Note::Progress { id, text } = note {
                batch.push([
                    Cell::Id(*id.as_uuid()),
                    Cell::Id(*execution.as_uuid()),
                    Cell::Id(*task.as_uuid()),
                    Cell::Int(at.as_micros()),
                    Cell::text(text),
                ]);
            }
        }
        batch
    }

    /// Executions that have entries of progress.
    pub(crate) fn progressed(&self) -> BTreeSet<ExecutionId> {
        self.progress.iter().map(|noted| noted.execution).collect()
    }
}

fn counter_cells<'a>(execution: ExecutionId, name: &'a str, count: i64) -> [Cell<'a>; 6] {
    [
        Cell::Id(*execution.as_uuid()),
        Cell::text(COUNTER),
        Cell::text(name),
        Cell::Int(count),
        Cell::Null,
        Cell::Null,
    ]
}

fn state_cells<'a>(execution: ExecutionId, name: &'a str, value: &'a Payload) -> [Cell<'a>; 6] {
    [
        Cell::Id(*execution.as_uuid()),
        Cell::text(STATE),
        Cell::text(name),
        Cell::Null,
        Cell::text(value.content_type()),
        Cell::bytes(value.bytes()),
    ]
}

#[cfg(test)]
mod tests {
    use stent_core::TaskId;
    use uuid::Uuid;

    use super::*;

    fn fold(notes: &[Note]) -> [usize; 3] {
        let (task, execution) = (TaskId::from_uuid(Uuid::nil()), ExecutionId::from_uuid(Uuid::nil()));
        let at = stent_core::Timestamp::from_micros(0);
        let said: Vec<_> = notes.iter().map(|note| Noted { execution, task, at, note }).collect();
        let notes = Notes::fold(&said);
        [notes.firsts().len(), notes.counts().len(), notes.states().len()]
    }

    fn count(add: i64) -> Note {
        Note::Count { name: "n".to_owned(), add }
    }

    fn from(value: i64) -> Note {
        Note::CountFrom { name: "n".to_owned(), value }
    }

    fn set(over: bool) -> Note {
        let (name, value) = ("n".to_owned(), Payload::empty());
        if over { Note::Set { name, value } } else { Note::SetFrom { name, value } }
    }

    #[test]
    fn a_first_value_counts_only_if_nothing_was_said_before() {
        assert_eq!(fold(&[from(5), count(1), from(6)]), [1, 1, 0]);
        assert_eq!(fold(&[count(1), from(5)]), [0, 1, 0]);
        assert_eq!(fold(&[from(5)]), [1, 0, 0]);
        assert_eq!(fold(&[count(0)]), [0, 1, 0], "a counter is there once it is counted");
    }

    #[test]
    fn a_state_is_written_once_however_often_it_is_set() {
        assert_eq!(fold(&[set(false), set(false)]), [1, 0, 0]);
        assert_eq!(fold(&[set(false), set(true), set(false), set(true)]), [0, 0, 1]);
    }
}
