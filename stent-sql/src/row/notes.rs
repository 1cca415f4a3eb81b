//! The notes of a batch, folded into one change of each counter and state.

use std::collections::{BTreeMap, BTreeSet};

use stent_core::ledger::Noted;
use stent_core::model::Note;
use stent_core::{ExecutionId, Payload, TaskId, Timestamp};

use super::shape::{batch, rows};
use super::{COUNTER, STATE};
use crate::batch::Batch;
use crate::table::{note, progress};

rows! {
    /// A counter or a state.
    write NewNote<'a> of note {
        execution_id: ExecutionId,
        kind: &'a str,
        name: &'a str,
        count: Option<i64>,
        value_type: Option<&'a str>,
        value: Option<&'a [u8]>,
    }

    /// A counter that gets positive and negative additions.
    write Recount<'a> {
        ..adds: Parts,
        execution_id: ExecutionId,
        name: &'a str,
    }

    /// The sum of additions in two parts, such that a value that ends between the bounds stays within 64 bits after each part;
    /// the values above and below which the result is a bound; and the bounds.
    write Parts {
        half: i64,
        rest: i64,
        top: i64,
        bottom: i64,
        most: i64,
        least: i64,
    }

    /// An entry of progress.
    write NewProgress<'a> of progress {
        id: TaskId,
        execution_id: ExecutionId,
        task_id: TaskId,
        at: Timestamp,
        text: &'a str,
    }
}

/// The notes of a batch about executions.
#[derive(Debug, Default)]
pub(crate) struct Notes<'a> {
    counters: BTreeMap<(ExecutionId, &'a str), Counter>,
    states: BTreeMap<(ExecutionId, &'a str), State<'a>>,
    progress: Vec<&'a Noted<'a>>,
}

/// The change of a counter: `adds` is applied to its value; for a new counter, to `first`, or to 0 if there is no first
/// value.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    first: Option<i64>,
    adds: Option<Adds>,
}

/// Any number of additions that each saturate at the ends of `i64`: their sum, and the bounds between which every result
/// lies. A sum alone is not enough: adding 1 at the upper end and then -1 gives one less than the upper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Adds {
    sum: i128,
    least: i64,
    most: i64,
    /// Whether all additions have the same sign, and their sum fits 64 bits.
    is_plain: bool,
}

impl Adds {
    const NONE: Self = Self { sum: 0, least: i64::MIN, most: i64::MAX, is_plain: true };

    fn then(self, add: i64) -> Self {
        let sum = self.sum.saturating_add(add.into());
        let same_way = self.sum == 0 || add == 0 || (self.sum > 0) == (add > 0);
        Self {
            sum,
            least: self.least.saturating_add(add),
            most: self.most.saturating_add(add),
            is_plain: self.is_plain && same_way && i64::try_from(sum).is_ok(),
        }
    }

    fn parts(self) -> Parts {
        let Self { sum, least, most, .. } = self;
        let clipped = |value: i128| value.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        if i128::from(i64::MIN) + sum >= most.into() {
            return Parts { half: 0, rest: 0, top: most, bottom: most, most, least: most }; // Every value ends at the upper bound,
        }
        if i128::from(i64::MAX) + sum <= least.into() {
            return Parts { half: 0, rest: 0, top: least, bottom: least, most: least, least }; // or at the lower one.
        }
        let half = sum / 2;
        let (top, bottom) = (i128::from(most) - sum, i128::from(least) - sum);
        let (half, rest) = (clipped(half), clipped(sum - half));
        Parts { half, rest, top: clipped(top), bottom: clipped(bottom), most, least }
    }
}

#[derive(Clone, Copy, Debug)]
struct State<'a> {
    value: &'a Payload,
    /// Whether it overwrites a stored value.
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
                    counter.adds = Some(counter.adds.unwrap_or(Adds::NONE).then(*add));
                }
                Note::CountFrom { name, value } => {
                    let counter = notes.counters.entry(of(name)).or_default();
                    if counter.first.is_none() && counter.adds.is_none() {
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

    /// First values of counters and states, which are written only if there is no value yet.
    pub(crate) fn firsts(&self) -> Batch<'a> {
        let mut rows = Vec::new();
        for ((execution, name), counter) in &self.counters {
            // Mixed additions need a stored value.
            let zero = counter.adds.is_some_and(|adds| !adds.is_plain).then_some(0);
            if let Some(first) = counter.first.or(zero) {
                rows.push(counter_note(*execution, name, first));
            }
        }
        for ((execution, name), state) in self.states.iter().filter(|(_, state)| !state.over) {
            rows.push(state_note(*execution, name, state.value));
        }
        batch(rows)
    }

    /// Additions to counters whose additions all have the same sign.
    pub(crate) fn counts(&self) -> Batch<'a> {
        let mut rows = Vec::new();
        for ((execution, name), counter) in &self.counters {
            if let Some(adds) = counter.adds.filter(|adds| adds.is_plain) {
                rows.push(counter_note(*execution, name, adds.sum as i64));
            }
        }
        batch(rows)
    }

    /// Mixed additions to counters. The counters have a value once the [first values](Self::firsts) are written.
    pub(crate) fn recounts(&self) -> Batch<'a> {
        let mut rows = Vec::new();
        for ((execution, name), counter) in &self.counters {
            if let Some(adds) = counter.adds.filter(|adds| !adds.is_plain) {
                rows.push(Recount { adds: adds.parts(), execution_id: *execution, name });
            }
        }
        batch(rows)
    }

    /// New values of states.
    pub(crate) fn states(&self) -> Batch<'a> {
        let mut rows = Vec::new();
        for ((execution, name), state) in self.states.iter().filter(|(_, state)| state.over) {
            rows.push(state_note(*execution, name, state.value));
        }
        batch(rows)
    }

    /// Entries of progress.
    pub(crate) fn progress(&self) -> Batch<'a> {
        let mut rows = Vec::new();
        for Noted { execution, task, at, note } in &self.progress {
            if let Note::Progress { id, text } = note {
                rows.push(NewProgress { id: *id, execution_id: *execution, task_id: *task, at: *at, text });
            }
        }
        batch(rows)
    }

    /// Executions that have entries of progress.
    pub(crate) fn progressed(&self) -> BTreeSet<ExecutionId> {
        self.progress.iter().map(|noted| noted.execution).collect()
    }
}

fn counter_note<'a>(execution: ExecutionId, name: &'a str, count: i64) -> NewNote<'a> {
    let (value_type, value) = (None, None);
    NewNote { execution_id: execution, kind: COUNTER, name, count: Some(count), value_type, value }
}

fn state_note<'a>(execution: ExecutionId, name: &'a str, value: &'a Payload) -> NewNote<'a> {
    NewNote {
        execution_id: execution,
        kind: STATE,
        name,
        count: None,
        value_type: Some(value.content_type()),
        value: Some(value.bytes()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// The number of first values, plain counts, mixed counts, and states.
    fn fold(notes: &[Note]) -> [usize; 4] {
        let (task, execution) = (TaskId::from_uuid(Uuid::nil()), ExecutionId::from_uuid(Uuid::nil()));
        let at = Timestamp::from_micros(0);
        let said: Vec<_> = notes.iter().map(|note| Noted { execution, task, at, note }).collect();
        let notes = Notes::fold(&said);
        [notes.firsts().len(), notes.counts().len(), notes.recounts().len(), notes.states().len()]
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
        assert_eq!(fold(&[from(5), count(1), from(6)]), [1, 1, 0, 0]);
        assert_eq!(fold(&[count(1), from(5)]), [0, 1, 0, 0]);
        assert_eq!(fold(&[from(5)]), [1, 0, 0, 0]);
        assert_eq!(fold(&[count(0)]), [0, 1, 0, 0], "a counter is there once it is counted");
        assert_eq!(fold(&[count(2), count(-1), from(5)]), [1, 0, 1, 0], "a counter that is new begins at 0");
    }

    /// The statement's result for a value.
    fn recounted(value: i64, adds: Adds) -> i64 {
        let Parts { half, rest, top, bottom, most, least } = adds.parts();
        match value {
            _ if value > top => most,
            _ if value < bottom => least,
            _ => value + half + rest,
        }
    }

    #[test]
    fn counts_of_a_batch_come_to_what_they_do_one_by_one() {
        let ends =
            [i64::MIN, i64::MIN + 1, i64::MIN / 2, -5, -1, 0, 1, 5, i64::MAX / 2, i64::MAX - 1, i64::MAX];
        let pairs: Vec<_> = ends.iter().flat_map(|a| ends.map(|b| [*a, b])).collect();
        let lists = pairs.iter().flat_map(|[a, b]| ends.map(|c| [*a, *b, c]));
        for list in lists {
            let adds = list.iter().fold(Adds::NONE, |adds, add| adds.then(*add));
            for value in ends {
                let one_by_one = list.iter().fold(value, |value, add| value.saturating_add(*add));
                assert_eq!(recounted(value, adds), one_by_one, "{value} and {list:?}");
                if adds.is_plain {
                    assert_eq!(value.saturating_add(adds.sum as i64), one_by_one, "{value} and {list:?}");
                }
            }
        }
    }

    #[test]
    fn a_state_is_written_once_however_often_it_is_set() {
        assert_eq!(fold(&[set(false), set(false)]), [1, 0, 0, 0]);
        assert_eq!(fold(&[set(false), set(true), set(false), set(true)]), [0, 0, 0, 1]);
    }
}
