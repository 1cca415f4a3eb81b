//! What an execution's code has said about it.

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
                let entry = ProgressView { id, task: noted.task, at: noted.at, text };
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
        for step in steps {
            *self.summary.entry(SummaryView { count: 0, ..step }).or_default() += step.count;
        }
    }

    pub(crate) fn as_view(&self) -> NotesView {
        let summary =
            self.summary.iter().map(|(alike, count)| SummaryView { count: *count, ..alike.clone() });
        NotesView {
            counters: self.counters.clone(),
            states: self.states.clone(),
            progress: self.progress.values().cloned().collect(),
            summary: summary.collect(),
        }
    }
}
