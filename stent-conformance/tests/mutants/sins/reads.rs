//! Reads: every row, once, in its current state (G1).

use stent_core::limits::NOTES_MAX;

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("skips one between pages", "list::pages_have_neither_gaps_nor_doubles", &["read"]).lists(
            |page, before| {
                if before.is_some() && !page.is_empty() {
                    page.remove(0);
                }
            },
        ),
        mutant(
            "keeps the last completion to itself",
            "inspect::what_a_running_task_has_not_seen_is_read_in_order",
            &["in the order of their ends"],
        )
        .shows_completions(|steps| {
            let last = steps.iter().rposition(|step| step.order().is_some());
            last.map(|last| steps.remove(last));
        }),
        mutant(
            "tells completions as they stand in the code",
            "inspect::what_a_running_task_has_not_seen_is_read_in_order",
            &["in the order of their ends"],
        )
        .shows_completions(|steps| steps.sort_by_key(|step| step.seq)),
        mutant("lists everything", "list::they_are_listed_by_status", &["pending"])
            .filters(|filter| *filter = Filter::default()),
        mutant(
            "miscounts by one",
            "list::executions_are_counted_by_status",
            &["counts", "actual: {Pending: 4"],
        )
        .counts(|counts| counts.values_mut().for_each(|count| *count += 1)),
        mutant(
            "counts all executions",
            "list::no_more_executions_are_counted_than_asked_for",
            &["open ones", "actual: 6"],
        )
        .bounds(|_| usize::MAX),
        mutant(
            "reads all lanes",
            "list::the_fullest_lanes_are_read_if_there_are_more_than_asked_for",
            &["two of three"],
        )
        .bounds(|_| usize::MAX),
        mutant(
            "counts dead letters of every kind",
            "dead_letter::the_largest_counts_are_read_if_there_are_more_than_asked_for",
            &["two of three"],
        )
        .bounds(|_| usize::MAX),
        mutant(
            "reads all counters",
            "size::no_more_counters_and_states_are_read_than_the_limit",
            &["read", "actual: 10001"],
        )
        .shows_notes(|notes, _| {
            if notes.counters.len() == NOTES_MAX {
                notes.counters.insert("one more".to_owned(), 1);
            }
        }),
        mutant(
            "counts what is not due",
            "list::what_waits_in_each_lane_is_counted",
            &["lanes", "due: 5, delayed: 2"],
        )
        .shows_lanes(|lanes| {
            for lane in lanes {
                lane.due += lane.delayed;
            }
        }),
        mutant(
            "lists first what was claimed first",
            "list::what_runs_is_listed_last_claimed_first",
            &["which"],
        )
        .shows_running(|running| running.reverse()),
        mutant(
            "tells a timeline backwards",
            "inspect::a_timeline_is_read_in_pages",
            &["oldest first, each once"],
        )
        .shows_tasks(|tasks, _| tasks.reverse()),
        mutant("tells progress backwards", "note::progress_is_read_in_the_order_of_its_ids", &["order"])
            .shows_notes(|notes, _| notes.progress.reverse()),
    ]
}
