//! Purges: only as much as requested, and no open execution (G16).

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("purges without bound", "purge::no_more_leave_than_asked_for", &["purged", "actual: 25"])
            .purges(|_, request, _| request.max = u32::MAX),
        mutant(
            "purges the young",
            "purge::only_what_ended_before_the_bound_leaves",
            &["purged", "actual: 3"],
        )
        .purges(|_, request, _| request.before = NEVER),
        mutant("purges open work", "purge::an_open_execution_stays_however_old", &["purged", "actual: 3"])
            .purges(|sound, request, past| {
                let ends = past
                    .executions()
                    .map(|execution| stent_core::decide::cancel(execution, Duration::ZERO, request.now));
                sound.exchange(&ends.collect::<Vec<_>>(), None).ok();
                request.before = NEVER;
            }),
        mutant(
            "purges nothing",
            "purge::an_execution_leaves_with_all_of_its_tasks",
            &["purged", "actual: 0"],
        )
        .purges(|_, request, _| request.max = 0),
        mutant(
            "purges dead letters with the rest",
            "purge::dead_letters_leave_only_when_they_are_asked_for",
            &["purged"],
        )
        .purges(|sound, request, _| {
            sound.purge(&PurgeRequest { what: Purge::DeadLetters, ..*request }).ok();
        }),
        mutant(
            "purges what it should compact",
            "purge::compacting_keeps_the_root_and_sums_up_the_rest",
            &["the execution", "actual: None"],
        )
        .purges(|_, request, _| {
            if request.what == Purge::Details {
                request.what = Purge::Executions;
            }
        }),
        mutant(
            "takes counters and states away where no steps are",
            "compact::counters_and_states_stay_where_no_steps_are",
            &["counters and states"],
        )
        .shows_notes(|notes, past| {
            let compacted = past.purges.iter().any(|request| request.what == Purge::Details);
            if compacted && notes.summary.is_empty() {
                notes.counters.clear();
                notes.states.clear();
            }
        }),
        mutant(
            "takes a summary apart at its slashes",
            "compact::names_of_any_text_are_summed_up",
            &["each of them once"],
        )
        .shows_notes(|notes, _| {
            for alike in &mut notes.summary {
                alike.name = alike.name.split('/').next().unwrap_or_default().to_owned();
            }
        }),
        mutant(
            "miscounts what it purged",
            "purge::purging_again_finds_nothing",
            &["purged from an empty store", "actual: 1"],
        )
        .counts_purged(|purged| purged.count += 1),
        mutant(
            "purges results with their executions",
            "retention::results_outlive_the_execution_that_gave_them",
            &["kept when its giver is compacted", "actual: false"],
        )
        .purges(|sound, request, _| {
            sound.purge(&PurgeRequest { what: Purge::Results, ..*request }).ok();
        }),
    ]
}
