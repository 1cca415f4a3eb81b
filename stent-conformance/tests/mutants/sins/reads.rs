//! Reads: every one, once, as it stands (G1).

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("skips one between pages", "list::pages_have_neither_gaps_nor_doubles", "").lists(|page, before| {
            if before.is_some() && !page.is_empty() {
                page.remove(0);
            }
        }),
        mutant("lists everything", "list::they_are_listed_by_status", "")
            .filters(|filter| *filter = Filter::default()),
        mutant("miscounts by one", "list::executions_are_counted_by_status", "")
            .counts(|counts| counts.values_mut().for_each(|count| *count += 1)),
        mutant("counts what cannot be claimed", "list::what_waits_in_each_lane_is_counted", "").shows_lanes(|lanes| {
            for lane in lanes {
                lane.due += lane.delayed;
            }
        }),
        mutant("hides those who are lost", "list::what_runs_is_listed_last_claimed_first", "")
            .shows_running(|running| running.reverse()),
        mutant("tells a timeline backwards", "inspect::a_timeline_is_read_in_pages", "")
            .shows_tasks(|tasks, _| tasks.reverse()),
        mutant("forgets what was said", "note::notes_outlive_a_crash", "").shows_notes(|notes| notes.counters.clear()),
    ]
}
