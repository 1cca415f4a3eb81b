//! Faults of stores that import executions.

use stent_core::backend::StoredTask;
use stent_core::transition::{Import, News, Outcome, Transition};

use crate::mutant::{Mutant, mutant};

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "forgets the history of an import",
            "import::the_whole_record_arrives",
            &["ended claims", "actual: []"],
        )
        .rewrites(|transition, _| {
            if let Transition::Import(Import { ended_claims, .. }) = transition {
                ended_claims.clear();
            }
        }),
        mutant(
            "forgets the keys of an import",
            "import::the_whole_record_arrives",
            &["key entries", "actual: []"],
        )
        .rewrites(|transition, _| {
            if let Transition::Import(Import { key_entries, .. }) = transition {
                key_entries.clear();
            }
        }),
        mutant(
            "wakes nobody in an import",
            "import::a_parked_task_is_woken_where_it_arrives",
            &["tasks that wait", "actual: Some(true)"],
        )
        .rewrites(|transition, _| {
            if let Transition::Import(Import { tasks, .. }) = transition {
                tasks.iter_mut().for_each(|StoredTask { row, .. }| row.wake_threshold = None);
            }
        }),
        mutant(
            "imports what waits forever",
            "import::it_is_refused_without_the_execution_that_it_waits_for",
            &["alone", "actual: Applied"],
        )
        .answers(|outcome, transition, _| {
            if let (Transition::Import(_), Outcome::Gone) = (transition, &*outcome) {
                *outcome = Outcome::Applied(News::default());
            }
        }),
        mutant(
            "takes every import for a new one",
            "import::what_is_there_already_is_left_alone",
            &["Applied"],
        )
        .answers(|outcome, transition, _| {
            if let (Transition::Import(_), Outcome::Already(news)) = (transition, &*outcome) {
                *outcome = Outcome::Applied(news.clone());
            }
        }),
    ]
}
