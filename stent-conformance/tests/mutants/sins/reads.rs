//! Reads: every row, once, in its current state (G1).

use stent_core::limits::NOTES_MAX;

use super::words::*;
use crate::store::at_once;

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
            "finds the results of calls by the keys of dispatches",
            "list::the_one_that_was_dispatched_under_a_key_is_listed",
            &["by the key of a call"],
        )
        .lists_by(|sound, filter, before, max| {
            let found = at_once(sound.0.list(filter, before, max))?;
            match filter.key == Some(Key::of_user("charge", None, "order-7")) {
                true => at_once(sound.0.list(&Filter::default(), None, 1)),
                false => Ok(found),
            }
        }),
        mutant(
            "lists by the key alone",
            "list::the_one_that_was_dispatched_under_a_key_is_listed",
            &["and another function"],
        )
        .filters(|filter| {
            if let Some(key) = filter.key {
                *filter = Filter::default();
                filter.key = Some(key);
            }
        }),
        mutant(
            "lists what was dispatched at the end of a time",
            "list::they_are_listed_by_the_time_of_their_dispatch",
            &["until a moment"],
        )
        .filters(|filter| {
            filter.until = filter.until.map(|until| until + Duration::from_micros(1));
        }),
        mutant(
            "leaves out the beginning of a time",
            "list::they_are_listed_by_the_time_of_their_dispatch",
            &["since a moment"],
        )
        .filters(|filter| {
            filter.since = filter.since.map(|since| since + Duration::from_micros(1));
        }),
        mutant(
            "begins each page of a time with its end",
            "list::pages_of_a_time_have_neither_gaps_nor_doubles",
            &["read"],
        )
        .lists_by(|sound, filter, before, max| {
            let page = at_once(sound.0.list(filter, before, max))?;
            match filter.until.is_some() && page.len() < max && before.is_some() {
                true => Ok(at_once(sound.0.list(filter, None, 1))?.into_iter().chain(page).collect()),
                false => Ok(page),
            }
        }),
        mutant(
            "looks at every id for a time",
            "list::an_id_of_another_day_is_not_listed_by_time",
            &["since a moment"],
        )
        .lists_by(|sound, filter, before, max| {
            let (since, until) = (filter.since, filter.until);
            let mut all = filter.clone();
            (all.since, all.until) = (None, None);
            let mut found = at_once(sound.0.list(&all, before, max))?;
            found.retain(|view| {
                since.is_none_or(|since| view.created_at >= since)
                    && until.is_none_or(|until| view.created_at < until)
            });
            Ok(found)
        }),
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
