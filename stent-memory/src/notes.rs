//! Notes of an execution's code.

use std::collections::BTreeMap;

use stent_core::backend::{NotesView, ProgressView, SummaryView};
use stent_core::ledger::Noted;
use stent_core::limits::PROGRESS_MAX;
use stent_core::model::Note;
use stent_core::{Payload, TaskId};

/// Counters, states and progress of one execution.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    counters: BTreeMap<String, i64>,
    states: BTreeMap<String, Payload>,
    pub(crate) progress: BTreeMap<TaskId, ProgressView>,
    summary: BTreeMap<SummaryView, u64>,
}

impl Notes {
    pub(crate) fn add(&mut self, noted: &Noted<'_>) {
        match noted.note.clone() {
            Note::Count { name, add } => {
                let counter = self.counters.entry(name).or_default();
                *counter = counter.saturating_add(add);
            }
            Note::CountFrom { name, value } => drop(self.counters.entry(name).or_insert(value)),
            Note::Set { name, value } => drop(self.states.insert(name, value)),
            Note::SetFrom { name, value } => drop(self.states.entry(name).or_insert(value)),
            Note::Progress { id, text } => {
                let entry = ProgressView::new(id, noted.task, noted.at, text);
                self.progress.entry(id).or_insert(entry);
                while self.progress.len() > PROGRESS_MAX {
                    self.progress.pop_first();
                }
            }
        }
    }

    /// Replaces details by a summary. Each entry stands for as many steps as it counts.
    pub(crate) fn compact(&mut self, steps: impl IntoIterator<Item = SummaryView>) {
        self.progress.clear();
        for mut step in steps {
            let count = std::mem::take(&mut step.count);
            *self.summary.entry(step).or_default() += count;
        }
    }

    pub(crate) fn as_view(&self) -> NotesView {
        let mut view = NotesView::default();
        view.counters.clone_from(&self.counters);
        view.states.clone_from(&self.states);
        view.progress.extend(self.progress.values().cloned());
        view.summary.extend(self.summary.iter().map(|(alike, count)| {
            let mut line = alike.clone();
            line.count = *count;
            line
        }));
        view
    }
}
