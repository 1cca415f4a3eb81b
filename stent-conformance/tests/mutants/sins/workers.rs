//! Records of workers: what is written, what is read, and what a purge takes.

use super::words::*;
use crate::store::at_once;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("forgets the tags of a worker", "worker::a_worker_is_read_as_it_was_written", &["read"])
            .reports(|worker, _| worker.tags.clear()),
        mutant(
            "keeps the first record of a worker",
            "worker::the_last_record_of_a_worker_stands",
            &["as it was written last"],
        )
        .reports(|worker, sound| {
            if let Some(first) = known(worker, sound) {
                *worker = first;
            }
        }),
        mutant(
            "refuses a record that is older than the last one",
            "worker::the_last_record_of_a_worker_stands",
            &["the same as before"],
        )
        .reports(|worker, sound| {
            if let Some(last) = known(worker, sound).filter(|last| last.seen_at > worker.seen_at) {
                *worker = last;
            }
        }),
        mutant(
            "keeps the queues of an earlier record",
            "worker::the_last_record_of_a_worker_stands",
            &["as it was written last"],
        )
        .reports(|worker, sound| {
            if worker.queues.is_none() {
                worker.queues = known(worker, sound).and_then(|last| last.queues);
            }
        }),
        mutant(
            "skips a worker between pages",
            "worker::workers_of_all_handles_are_read_in_pages_oldest_first",
            &["read in pages"],
        )
        .shows_workers(|workers, after| {
            if after.is_some() && !workers.is_empty() {
                workers.remove(0);
            }
        }),
        mutant(
            "lists the workers that were seen first before others",
            "worker::workers_of_all_handles_are_read_in_pages_oldest_first",
            &["read in pages"],
        )
        .shows_workers(|workers, _| workers.sort_by_key(|worker| worker.seen_at)),
        mutant(
            "hides workers that have stopped",
            "worker::workers_that_have_stopped_or_died_are_purged_and_others_stay",
            &["left"],
        )
        .shows_workers(|workers, _| workers.retain(|worker| !worker.state.is_over())),
        mutant(
            "takes workers for dead too early",
            "worker::workers_that_have_stopped_or_died_are_purged_and_others_stay",
            &["purged", "actual: 7"],
        )
        .purges(|_, request, _| {
            if request.what == Purge::Workers {
                request.now = request.now + Duration::from_secs(1);
            }
        }),
        mutant(
            "purges workers whenever they were seen",
            "worker::workers_that_have_stopped_or_died_are_purged_and_others_stay",
            &["purged", "actual: 7"],
        )
        .purges(|_, request, _| {
            if request.what == Purge::Workers {
                request.before = NEVER;
            }
        }),
        mutant(
            "purges more workers than it was asked for",
            "worker::no_more_workers_are_purged_than_asked_for_and_the_longest_unseen_first",
            &["two"],
        )
        .purges(|_, request, _| {
            if request.what == Purge::Workers && request.max > 0 {
                request.max += 1;
            }
        }),
        mutant(
            "purges the workers that were seen last",
            "worker::no_more_workers_are_purged_than_asked_for_and_the_longest_unseen_first",
            &["left"],
        )
        .purges(|sound, request, _| {
            if request.what == Purge::Workers && request.max == 2 {
                let workers = at_once(sound.0.workers(None, 99)).unwrap_or_default();
                let mut over: Vec<_> =
                    workers.into_iter().filter(|worker| worker.is_over(request.now)).collect();
                over.sort_by_key(|worker| std::cmp::Reverse(worker.seen_at));
                for mut worker in over.into_iter().take(2) {
                    worker.seen_at = Timestamp::EPOCH;
                    at_once(sound.0.report(&worker)).ok();
                }
            }
        }),
        mutant(
            "purges workers with executions",
            "worker::a_purge_of_other_kinds_keeps_workers_and_theirs_keeps_everything_else",
            &["and the worker stays"],
        )
        .leaves(|sound, request, _| {
            if request.what == Purge::Executions {
                sound.purge(&PurgeRequest { what: Purge::Workers, ..*request }).ok();
            }
        }),
        mutant(
            "purges executions with workers",
            "worker::a_purge_of_other_kinds_keeps_workers_and_theirs_keeps_everything_else",
            &["executions"],
        )
        .leaves(|sound, request, _| {
            if request.what == Purge::Workers {
                sound.purge(&PurgeRequest { what: Purge::Executions, ..*request }).ok();
            }
        }),
    ]
}

/// The record of the same worker that the store has.
fn known(worker: &WorkerRecord, sound: &Sound) -> Option<WorkerRecord> {
    let workers = at_once(sound.0.workers(None, 99)).unwrap_or_default();
    workers.into_iter().find(|known| known.id == worker.id)
}
