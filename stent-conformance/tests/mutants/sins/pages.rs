//! Pages: stores that read, write or answer one page, and forget the rest.

use stent_core::{ExecutionId, TaskId};

use super::words::*;
use crate::past::Past;
use crate::store::at_once;

/// Rows that a broken store reads or writes before it stops.
const PAGE: usize = 1_000;

/// Bytes that it answers at once.
const MEGABYTE: usize = 1024 * 1024;

/// Items that it writes or looks up at once.
const HUNDRED: usize = 100;

/// Levels that it descends.
const DEPTH: usize = 31;

/// Slots that it frees at once.
const PLACES: usize = 25;

/// Makes an execution's rows beyond one page unreachable: such rows exist and can be claimed, but no operation on their
/// execution finds them.
fn beyond_a_page(transition: &mut Transition, past: &Past, moves: fn(&NewTask) -> bool) {
    for n in 0..transition.rows().len() {
        let new = &transition.rows()[n];
        let execution = new.tree.execution;
        let before = past.rows().chain(&transition.rows()[..n]).filter(|row| row.tree.execution == execution);
        if before.count() > PAGE && moves(new) {
            transition.rows_mut()[n].tree = Tree::root(new.id.execution());
        }
    }
}

/// Makes rows deeper than a limit unreachable in the same way.
fn beyond_a_depth(transition: &mut Transition, past: &Past) {
    for new in transition.rows_mut() {
        if std::iter::successors(new.tree.parent, |above| past.parent(*above)).count() > DEPTH {
            new.tree = Tree::root(new.id.execution());
        }
    }
}

/// Lets a wait for an execution wait forever if its key is not among the first hundred keys that are held.
fn beyond_a_hundred_keys(transition: &mut Transition, past: &Past) {
    let held: Vec<_> =
        past.rows().filter(|row| row.tree.parent.is_some()).filter_map(|row| row.keyed).collect();
    for new in transition.rows_mut().iter_mut().filter(|new| new.tree.parent.is_none()) {
        if held.iter().skip(HUNDRED).any(|keyed| Some(*keyed) == new.keyed) {
            new.keyed = None;
            new.state = NewTaskState::Pending { ready_at: NEVER };
        }
    }
}

/// The part of a record that fits into a megabyte.
fn up_to_a_megabyte(steps: &mut Vec<Step>) {
    let mut bytes = 0;
    steps.retain(|step| {
        if let StepState::Done { result: Ok(result), .. } = &step.state {
            bytes += result.len();
        }
        bytes <= MEGABYTE
    });
}

/// Everything that can be listed, newest first.
fn all(sound: &Sound, before: Option<ExecutionId>) -> Result<Vec<ExecutionView>> {
    let mut views: Vec<ExecutionView> = Vec::new();
    loop {
        let before = views.last().map(|view| view.id).or(before);
        let mut page = at_once(sound.0.list(&Filter::default(), before, PAGE))?;
        let is_last = page.len() < PAGE;
        views.append(&mut page);
        if is_last {
            return Ok(views);
        }
    }
}

fn fits(filter: &Filter, view: &ExecutionView) -> bool {
    filter.status.is_none_or(|status| view.status == status)
        && filter.function.as_ref().is_none_or(|function| view.function == *function)
        && filter.queue.as_ref().is_none_or(|queue| view.queue == *queue)
        && filter.tag.as_ref().is_none_or(|tag| view.tags.contains(tag))
}

pub(super) fn mutants() -> Vec<Mutant> {
    [trees(), depths(), records(), waiters(), batches(), reads(), purges()].into_iter().flatten().collect()
}

fn trees() -> Vec<Mutant> {
    vec![
        mutant(
            "sweeps a page of steps",
            "size::what_is_given_up_ends_with_all_that_hangs_below_it",
            &["claimed", "actual: 501"],
        )
        .rewrites(|transition, past| beyond_a_page(transition, past, |_| true)),
        mutant(
            "ends a page of a map's items with its first failure",
            "size::the_first_failure_of_a_map_ends_all_of_its_items",
            &["claimed"],
        )
        .rewrites(|transition, past| beyond_a_page(transition, past, |new| new.tree.owner.is_some())),
        mutant(
            "leaves a page behind when it purges",
            "size::an_execution_is_purged_with_all_of_its_tasks",
            &["the id of a task that was purged", "actual: Already"],
        )
        .leaves(|sound, request, past| {
            let Some(root) = past.executions().next().filter(|_| request.what == Purge::Executions) else {
                return;
            };
            let below = past.rows().filter(|row| row.tree.execution == root && row.tree.parent.is_some());
            let left = below.skip(PAGE).map(|row| {
                let state = NewTaskState::Pending { ready_at: NEVER };
                let tree = Tree::root(row.id.execution());
                let root = NewTask { tree, seq: Seq(0), keyed: None, state, ..row.clone() };
                Dispatch { root, key: None, at: request.now }.into()
            });
            if at_once(sound.0.executions(&[root])).is_ok_and(|views| views.is_empty()) {
                sound.exchange(&left.collect::<Vec<_>>(), None).ok();
            }
        }),
        mutant(
            "sums up a page of steps",
            "size::an_execution_is_compacted_with_all_of_its_tasks",
            &["summary", "count: 1000"],
        )
        .shows_notes(|notes, _| {
            notes.summary.iter_mut().for_each(|alike| alike.count = alike.count.min(PAGE as u64));
        }),
        mutant(
            "tells a hundred to stop",
            "size::all_that_runs_is_told_to_end",
            &["told to end", "actual: 100"],
        )
        .brings(|exchanged, _| exchanged.stopping.truncate(HUNDRED)),
    ]
}

fn depths() -> Vec<Mutant> {
    let cases = [
        ("sweeps thirty levels", "size::what_is_given_up_ends_to_its_deepest_level"),
        ("erases thirty levels", "size::what_leaves_the_record_takes_its_deepest_level_along"),
        ("ends thirty levels of an execution", "size::an_execution_leaves_with_its_deepest_level"),
    ];
    cases.map(|(name, case)| mutant(name, case, &["claimed"]).rewrites(beyond_a_depth)).into()
}

fn records() -> Vec<Mutant> {
    vec![
        mutant(
            "claims a page of a record",
            "size::a_record_of_many_steps_is_claimed_whole",
            &["the record", "actual: 1000"],
        )
        .hands_out(|claimed, _| claimed.steps.truncate(PAGE)),
        mutant(
            "recalls a page of a record",
            "size::a_record_of_many_steps_is_claimed_whole",
            &["recalled", "actual: (Some(9), 1000)"],
        )
        .hands_out(|claimed, _| {
            if claimed.cached.is_some() {
                claimed.steps.truncate(PAGE);
            }
        }),
        mutant(
            "tells a page of news",
            "size::a_record_of_many_steps_is_claimed_whole",
            &["news", "actual: (1500, 1000)"],
        )
        .answers(|outcome, _, _| {
            if let Outcome::Applied(news) | Outcome::Already(news) = outcome {
                news.steps.truncate(PAGE);
            }
        }),
        mutant(
            "reads a page of completions",
            "size::a_record_of_many_steps_is_claimed_whole",
            &["read", "actual: 1000"],
        )
        .shows_completions(|steps| steps.truncate(PAGE)),
        mutant(
            "claims a megabyte of a record",
            "size::a_record_of_many_megabytes_is_claimed_whole",
            &["the record", "actual: 10"],
        )
        .hands_out(|claimed, _| up_to_a_megabyte(&mut claimed.steps)),
        mutant(
            "reads a megabyte of completions",
            "size::a_record_of_many_megabytes_is_claimed_whole",
            &["read", "actual: 10"],
        )
        .shows_completions(up_to_a_megabyte),
        mutant(
            "hands out a megabyte of arguments",
            "size::a_claim_of_many_megabytes_is_whole",
            &["claimed", "actual: 10"],
        )
        .brings(|exchanged, _| {
            let mut bytes = 0;
            exchanged.claimed.retain(|claimed| {
                bytes += claimed.task.args.len();
                bytes <= MEGABYTE
            });
        }),
    ]
}

fn waiters() -> Vec<Mutant> {
    vec![
        mutant(
            "gives its result to a page of those who wait",
            "size::all_of_many_who_wait_have_the_result",
            &["have the result"],
        )
        .rewrites(|transition, past| {
            for new in transition.rows_mut() {
                let alike = past.rows().filter(|row| row.keyed.is_some() && row.keyed == new.keyed);
                if alike.count() > PAGE && new.kind == StepKind::Call {
                    new.keyed = None;
                    new.state = NewTaskState::Pending { ready_at: NEVER };
                }
            }
        }),
        mutant(
            "tells a page of those who joined",
            "size::all_of_many_who_joined_are_told",
            &["the number of tasks that are due", "actual: 0"],
        )
        .rewrites(|transition, _| {
            let joins = transition.rows_mut().iter_mut().filter(|new| new.kind == StepKind::Join);
            for new in joins.skip(PAGE) {
                // A wait for something that never ends.
                (new.kind, new.state) = (StepKind::Sleep, NewTaskState::Timer { due: NEVER });
                new.keyed = None;
            }
        }),
        mutant(
            "frees a hundred keys of what is given up",
            "size::many_keys_of_what_is_given_up_are_free",
            &["claimed", "actual: 100"],
        )
        .rewrites(beyond_a_hundred_keys),
        mutant(
            "frees a hundred keys of what is purged",
            "size::many_keys_of_what_is_purged_are_free",
            &["claimed", "actual: 100"],
        )
        .rewrites(beyond_a_hundred_keys),
        mutant(
            "fires a hundred sleeps with a claim",
            "size::all_of_many_sleeps_fire_with_one_claim",
            &["completions", "actual: 100"],
        )
        .rewrites(|transition, _| {
            let sleeps = transition.rows_mut().iter_mut().filter(|new| new.kind == StepKind::Sleep);
            for new in sleeps.rev().skip(HUNDRED) {
                new.state = NewTaskState::Timer { due: NEVER };
            }
        }),
        mutant(
            "counts a page of places",
            "size::a_limit_may_be_larger_than_a_page",
            &["claimed", "actual: 512"],
        )
        .asks(|request, past| {
            if past.claims.len() >= PAGE {
                request.limits = &[];
            }
        }),
    ]
}

fn batches() -> Vec<Mutant> {
    vec![
        mutant(
            "writes a hundred of a batch and says that it wrote all",
            "size::a_full_batch_is_applied",
            &["claimed", "actual: 300"],
        )
        .exchanges(|sound, batch, claim, _| {
            let (written, left) = batch.split_at(batch.len().min(HUNDRED * 3));
            let mut exchanged = sound.exchange(written, claim)?;
            exchanged.outcomes.extend(left.iter().map(|_| Outcome::Applied(News::default())));
            Ok(exchanged)
        }),
        mutant(
            "renews a page of leases and says that it renewed all",
            "size::as_many_leases_are_renewed_as_a_worker_holds",
            &["claimed", "actual: 200"],
        )
        .renews(|sound, leases, now, until| {
            let (renewed, left) = leases.split_at(leases.len().min(PAGE));
            let mut renewals = sound.renew(renewed, now, until)?;
            renewals.extend(left.iter().map(|_| Renewal::Renewed));
            Ok(renewals)
        }),
        mutant(
            "clears the places of a few lost leases only",
            "size::no_late_renewal_of_many_takes_its_place_back",
            &["renewed", "actual: 575"],
        )
        .renews(|sound, leases, now, until| {
            let mut renewals = sound.renew(leases, now, until)?;
            for (lease, renewal) in leases.iter().zip(&mut renewals).skip(PLACES) {
                if now > Timestamp::EPOCH && now < lease.until {
                    *renewal = Renewal::Renewed;
                }
            }
            Ok(renewals)
        }),
        mutant(
            "asks for a hundred functions",
            "size::a_worker_may_know_many_functions",
            &["claimed", "actual: 100"],
        )
        .asks(|request, _| request.functions = &request.functions[..request.functions.len().min(HUNDRED)]),
    ]
}

fn reads() -> Vec<Mutant> {
    vec![
        mutant(
            "filters what it finds on the first page",
            "size::what_fits_is_found_behind_many_that_do_not",
            &["by function", "actual: []"],
        )
        .lists_by(|sound, filter, before, max| {
            let page = at_once(sound.0.list(&Filter::default(), before, PAGE))?;
            Ok(page.into_iter().filter(|view| fits(filter, view)).take(max.min(PAGE)).collect())
        }),
        mutant(
            "looks for dead letters on the first page",
            "size::what_fits_is_found_behind_many_that_do_not",
            &["dead letters", "actual: []"],
        )
        .letters_by(|sound, before, max| {
            let page = at_once(sound.0.list(&Filter::default(), before, PAGE))?;
            let Some(last) = page.last().map(|view| view.id) else { return Ok(Vec::new()) };
            let letters = at_once(sound.0.dead_letters(before, max))?;
            Ok(letters.into_iter().filter(|letter| letter.execution.id >= last).collect())
        }),
        mutant("counts a page of executions", "size::many_executions_are_counted", &["counted", "1000"])
            .counts(|counts| counts.values_mut().for_each(|count| *count = (*count).min(PAGE as u64))),
        mutant(
            "counts a page of dead letters",
            "size::many_executions_are_counted",
            &["dead letters", "count: 1000"],
        )
        .shows_stats(|stats| stats.iter_mut().for_each(|stat| stat.count = stat.count.min(PAGE as u64))),
        mutant("looks up a page of ids", "size::as_many_ids_are_looked_up_as_there_may_be", &["found"])
            .shows_executions(|views, past| {
                let first: Vec<_> = past.executions().take(PAGE).collect();
                views.retain(|view| first.contains(&view.id));
            }),
        mutant(
            "looks up the news of a hundred",
            "size::as_many_ids_are_looked_up_as_there_may_be",
            &["of whom there is news"],
        )
        .shows_news(|news| news.truncate(HUNDRED)),
        mutant(
            "keeps a hundred counters",
            "size::many_counters_and_states_are_kept",
            &["counters", "actual: 100"],
        )
        .shows_notes(|notes, _| {
            notes.counters = notes.counters.iter().take(HUNDRED).map(|(k, v)| (k.clone(), *v)).collect();
        }),
        mutant(
            "keeps a hundred states",
            "size::many_counters_and_states_are_kept",
            &["states", "actual: 100"],
        )
        .shows_notes(|notes, _| {
            let kept = notes.states.iter().take(HUNDRED);
            notes.states = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        }),
        mutant(
            "keeps a hundred ended claims",
            "size::a_long_history_is_kept",
            &["ended claims", "actual: 100"],
        )
        .shows_ended_claims(|ended_claims| ended_claims.truncate(HUNDRED)),
        mutant(
            "reads the newest of a long history",
            "size::the_oldest_of_a_longer_history_are_read",
            &["the first and the last", "actual: (2, 1001)"],
        )
        .shows_ended_claims(|ended_claims| {
            if ended_claims.len() == PAGE {
                ended_claims.iter_mut().for_each(|ended| ended.epoch.count += 1);
            }
        }),
        mutant("shows a hundred lanes", "size::a_worker_may_know_many_functions", &["lanes", "actual: 100"])
            .shows_lanes(|lanes| lanes.truncate(HUNDRED)),
    ]
}

fn purges() -> Vec<Mutant> {
    vec![
        mutant(
            "purges a page and says that this was all",
            "size::more_leave_at_once_than_a_page",
            &["purged", "actual: 1000"],
        )
        .purges(|_, request, _| request.max = request.max.min(PAGE as u32)),
        mutant(
            "looks for details in the oldest only",
            "size::what_has_no_details_does_not_hide_what_has",
            &["compacted", "actual: 0"],
        )
        .purges(|sound, request, _| {
            if request.what != Purge::Details {
                return;
            }
            let ended = |view: &ExecutionView| {
                let is_dead = at_once(sound.0.dead_letter(view.id)).is_ok_and(|letter| letter.is_some());
                view.ended_at.filter(|ended_at| *ended_at < request.before && !is_dead)
            };
            let mut oldest: Vec<_> = all(sound, None)
                .into_iter()
                .flatten()
                .filter_map(|view| Some((ended(&view)?, view.id)))
                .collect();
            oldest.sort_unstable();
            let details = |id: ExecutionId| {
                let root: TaskId = id.root();
                let notes = at_once(sound.0.notes(id)).is_ok_and(|notes| !notes.progress.is_empty());
                notes
                    || at_once(sound.0.tasks(id, None, 2)).is_ok_and(|tasks| tasks.len() > 1)
                    || at_once(sound.0.ended_claims(root)).is_ok_and(|ended_claims| !ended_claims.is_empty())
            };
            let oldest = oldest.into_iter().take(PAGE);
            let whole = oldest.filter(|(_, id)| details(*id)).count();
            request.max = request.max.min(whole as u32);
        }),
    ]
}
