//! Ends: final (G7), explained (G13), and effective for everything below (G15).

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "tells success as failure",
            "commit::a_result_ends_the_execution",
            &["status", "actual: Failed"],
        )
        .shows_executions(|views, _| {
            for view in views.iter_mut().filter(|view| view.status == ExecutionStatus::Completed) {
                view.status = ExecutionStatus::Failed;
            }
        }),
        mutant(
            "says yes to the second end",
            "terminal::the_first_of_two_ends_wins",
            &["the second", "actual: Applied"],
        )
        .answers(|outcome, _, _| {
            if *outcome == Outcome::Gone {
                *outcome = Outcome::Applied(News::default());
            }
        }),
        mutant(
            "claims what has ended",
            "terminal::an_ended_task_is_never_claimed",
            &["claimed", "actual: 1"],
        )
        .brings(|exchanged, past| {
            let ended = past.sent.iter().filter(|sent| matches!(sent.next(), Some(Next::End(_))));
            let ended = ended.filter_map(|end| past.claims.get(&end.task())).next();
            if exchanged.claimed.is_empty() && exchanged.outcomes.is_empty() {
                exchanged.claimed.extend(ended.cloned());
            }
        }),
        mutant(
            "does not count uncommitted claims",
            "time::claims_without_a_committed_turn_are_counted",
            &["uncommitted claims", "actual: 1"],
        )
        .hands_out(|claimed, _| claimed.task.uncommitted_claims = 1),
        mutant(
            "forgets earlier attempts",
            "start::attempts_from_before_the_first_write_count",
            &["attempts in the timeline", "actual: 0"],
        )
        .rewrites(|transition, _| transition.rows_mut().iter_mut().for_each(|new| new.attempts = 0)),
        mutant(
            "keeps the last try only",
            "ended_claims::the_history_is_in_order_and_outlives_a_crash",
            &["in order"],
        )
        .shows_ended_claims(|ended_claims| drop(ended_claims.drain(..ended_claims.len().saturating_sub(1)))),
        mutant(
            "does not record crashes",
            "ended_claims::a_lost_lease_is_recorded_when_it_is_taken_over",
            &["how many", "actual: 0"],
        )
        .shows_ended_claims(|ended_claims| ended_claims.retain(|ended| ended.end != ClaimEnd::Crashed)),
        mutant(
            "hides dead letters",
            "dead_letter::one_that_failed_for_good_is_listed",
            &["how many", "actual: 0"],
        )
        .shows_dead_letters(Vec::clear),
        mutant(
            "counts a redo as an attempt",
            "dead_letter::what_is_done_again_costs_no_attempt",
            &["counters", "actual: (1, 1, {})"],
        )
        .rewrites(|transition, _| {
            if let Transition::Commit(Commit { next: next @ Next::Redo, at, .. }) = transition {
                *next = Next::Retry { ready_at: *at, failure: Failure::new("Redo", "") };
            }
        }),
        mutant(
            "lets cancelled steps run",
            "cancel::a_cancelled_step_is_not_claimed",
            &["claimed", "actual: 3"],
        )
        .rewrites(|transition, _| {
            transition.commit_mut().into_iter().for_each(|commit| commit.cancel.clear());
        }),
        mutant(
            "cancels children only",
            "cancel::cancel_reaches_every_descendant",
            &["call `parked`", "actual: (Pending"],
        )
        .shows_tasks(|tasks, past| {
            let deep = tasks.iter_mut().filter(|task| past.is_deep(task.id));
            for task in deep.filter(|task| task.status == TaskStatus::Cancelled) {
                task.status = TaskStatus::Pending;
            }
        }),
        mutant(
            "ignores a request to end",
            "stop::one_that_has_not_started_ends_at_once",
            &["the execution", "actual: (Pending, None)"],
        )
        .drops(|transition, _| matches!(transition.action(), Some(Action::Cancel { .. }))),
        mutant("gives no grace", "stop::what_is_over_after_the_grace_ends_by_force", &["when to look"])
            .rewrites(|transition, _| {
                if let Transition::Request(Request { action: Action::Cancel { until }, at, .. }) = transition
                {
                    *until = *at;
                }
            }),
        mutant(
            "tells nobody to stop",
            "stop::what_runs_is_told_to_its_own_worker",
            &["told to the worker", "actual: []"],
        )
        .brings(|exchanged, _| exchanged.stopping.clear()),
        mutant("forgets deadlines", "expiry::deadlines_are_seen", &["of the execution", "actual: None"])
            .rewrites(|transition, _| transition.rows_mut().iter_mut().for_each(|new| new.expires_at = None)),
        mutant(
            "never tells whose time is up",
            "expiry::an_execution_whose_time_is_up_has_timed_out",
            &["ended", "actual: []"],
        )
        .brings(|exchanged, _| exchanged.expired.clear()),
        mutant(
            "ends things before their time",
            "expiry::nothing_ends_before_its_time",
            &["ended early", "actual: Applied"],
        )
        .rewrites(|transition, _| {
            if let Transition::Expire(Expire { at, .. }) = transition {
                *at = NEVER;
            }
        }),
        mutant(
            "tells what is over without its key",
            "expiry::what_is_over_is_told_with_its_place_and_key",
            &["told", "key: None"],
        )
        .brings(|exchanged, _| exchanged.expired.iter_mut().for_each(|over| over.key = None)),
        mutant(
            "tells first who was over last",
            "expiry::those_longest_over_are_told_first_and_no_more_than_the_limit",
            &["told first"],
        )
        .brings(|exchanged, _| exchanged.expired.reverse()),
    ]
}
