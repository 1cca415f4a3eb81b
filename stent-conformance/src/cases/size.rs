//! More than one page of any store: thousands of rows, megabytes, full batches. These cases catch a store that reads, writes or
//! answers one page and silently drops the rest.
//!
//! Rows are written in as few batches as possible, so that each case takes at most a second.

use std::collections::BTreeMap;

use stent_core::backend::{DeadLetterStat, Filter, Purge, SummaryView};

use super::words::*;
use crate::say::{count, set};
use crate::task::Draft;

list! { size:
    G15 what_is_given_up_ends_with_all_that_hangs_below_it,
    G15 an_execution_is_cancelled_with_all_of_its_tasks,
    G15 the_first_failure_of_a_map_ends_all_of_its_items,
    G4 what_leaves_the_record_takes_all_below_it_along,
    G16 an_execution_is_purged_with_all_of_its_tasks,
    G16 an_execution_is_compacted_with_all_of_its_tasks,
    G15 all_that_runs_is_told_to_end,
    G4 a_record_of_many_steps_is_claimed_whole,
    G14 a_record_of_many_megabytes_is_claimed_whole,
    G14 a_claim_of_many_megabytes_is_whole,
    G12 all_of_many_who_wait_have_the_result,
    G4 all_of_many_who_joined_are_told,
    G8 a_limit_may_be_larger_than_a_page,
    G1 a_full_batch_is_applied,
    G2 as_many_leases_are_renewed_as_a_worker_holds,
    G10 a_worker_may_know_many_functions,
    G1 what_fits_is_found_behind_many_that_do_not,
    G1 many_executions_are_counted,
    G1 as_many_ids_are_looked_up_as_there_may_be,
    G1 many_counters_and_states_are_kept,
    G1 no_more_counters_and_states_are_read_than_the_limit,
    G13 a_long_history_is_kept,
    G13 the_oldest_of_a_longer_history_are_read,
    G16 more_leave_at_once_than_a_page,
    G16 what_has_no_details_does_not_hide_what_has,
    G15 what_is_given_up_ends_to_its_deepest_level,
    G4 what_leaves_the_record_takes_its_deepest_level_along,
    G16 an_execution_leaves_with_its_deepest_level,
    G12 many_keys_of_what_is_given_up_are_free,
    G12 many_keys_of_what_is_purged_are_free,
    G8 no_late_renewal_of_many_takes_its_place_back,
    G6 all_of_many_sleeps_fire_with_one_claim,
}

/// More rows than any store reads or writes at once.
const MANY: u32 = 1_500;

/// The same as a `usize`.
const MANY_ROWS: usize = MANY as usize;

/// A root with a step, and many calls below the step, due at once. Returns root, step and calls.
async fn many_below(world: &World) -> (Claimed, Claimed, Vec<TaskId>) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let calls: Vec<_> = (0..MANY).map(|seq| world.call("pack").seq(seq)).collect();
    let ids = calls.iter().map(|call| call.id).collect();
    world.apply(calls.into_iter().fold(step.keep(), Turn::with)).await;
    (later(&root, 1, 0), later(&step, 1, 0), ids)
}

/// How many tasks of an execution have each status, without the root.
async fn statuses(world: &World, root: TaskId) -> BTreeMap<TaskStatus, usize> {
    let mut statuses = BTreeMap::new();
    for task in world.timeline(root.execution()).await.iter().filter(|task| task.id != root) {
        *statuses.entry(task.status).or_default() += 1;
    }
    statuses
}

/// How many tasks a worker that claims everything gets.
async fn claimable(world: &World, now: Timestamp) -> usize {
    let mut claimed = 0;
    loop {
        match world.claim(limits::CLAIM_MAX).at(now).lease(999).await.len() {
            0 => return claimed,
            some => claimed += some,
        }
    }
}

/// Writes as many ended executions as there are drafts, in full batches.
async fn write(world: &World, drafts: Vec<Draft>, at: Timestamp) {
    let starts: Vec<_> = drafts.into_iter().map(|draft| draft.start(at)).collect();
    for batch in starts.chunks(limits::EXCHANGE_TRANSITIONS_MAX) {
        for outcome in world.commit_all(batch.iter().cloned()).await {
            applied(outcome);
        }
    }
}

async fn what_is_given_up_ends_with_all_that_hangs_below_it(world: World) {
    let (root, step, _) = many_below(&world).await;

    world.apply(root.keep().cancel(step.task.id).at(t(1))).await;

    same("claimed", claimable(&world, t(2)).await, 0);
    let expected = [(TaskStatus::Cancelled, MANY_ROWS + 1)].into();
    same("tasks", statuses(&world, root.task.id).await, expected);
}

async fn an_execution_is_cancelled_with_all_of_its_tasks(world: World) {
    let (root, step, _) = many_below(&world).await;

    world.apply(cancel(root.task.id, 10, t(1))).await;

    same("claimed", claimable(&world, t(2)).await, 0);
    world.apply(step.complete("late").at(t(2))).await;
    world.apply(root.complete("late").at(t(2))).await;
    same("status", world.status(root.task.id).await, ExecutionStatus::Cancelled);
    let expected = [(TaskStatus::Cancelled, MANY_ROWS + 1)].into();
    same("tasks", statuses(&world, root.task.id).await, expected);
}

async fn the_first_failure_of_a_map_ends_all_of_its_items(world: World) {
    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let id = map.id;
    let mut items: Vec<_> = (0..MANY).map(|seq| world.call("ship").seq(seq)).collect();
    let rest = items.split_off(limits::MAP_CHUNK);
    let fed = u32::try_from(limits::MAP_CHUNK).expect("a small number");
    world.apply(owner.keep().with(map).items(id, items).feed(id, fed, None)).await;
    world.apply(later(&owner, 1, 0).park().items(id, rest).feed(id, MANY, Some(MANY))).await;
    let item = world.claim(1).await.remove(0);

    world.apply(item.fail(declined())).await;

    same("claimed", world.claim(9).at(t(1)).ids().await, [owner.task.id]);
    let read = world.items(id).await;
    same("items", read.len(), MANY_ROWS);
    let failed = |status| read.iter().filter(|item| item.status == status).count();
    let ended = (failed(TaskStatus::Failed), failed(TaskStatus::Cancelled));
    same("failed and cancelled", ended, (1, MANY_ROWS - 1));
}

async fn what_leaves_the_record_takes_all_below_it_along(world: World) {
    let (root, step, ids) = many_below(&world).await;

    world.apply(root.retry(t(9), declined()).erase(step.task.id)).await;

    same("claimed", claimable(&world, t(2)).await, 0);
    same("tasks", world.timeline(root.task.tree.execution).await.len(), 1);
    same("one that left", world.find(ids[MANY_ROWS - 1]).await, None);
}

async fn an_execution_is_purged_with_all_of_its_tasks(world: World) {
    let (root, step, ids) = many_below(&world).await;
    world.apply(step.complete("parcel").at(t(1))).await;
    world.apply(root.complete("summary").at(t(1))).await;

    same("purged", world.purge(t(2), 9).await, 1);

    same("execution", world.execution(root.task.id).await, None);
    same("tasks", world.timeline(root.task.tree.execution).await.len(), 0);
    same("claimed", claimable(&world, t(2)).await, 0);
    for id in [ids[0], ids[MANY_ROWS / 2], ids[MANY_ROWS - 1]] {
        let again = world.call("pack").due(t(99)).with_id(id).start(t(2));
        let fine = Outcome::Applied(News::default());
        same("the id of a task that was purged", world.commit(again).await, fine);
    }
}

async fn an_execution_is_compacted_with_all_of_its_tasks(world: World) {
    let (root, step, _) = many_below(&world).await;
    world.apply(root.complete("summary").cancel(step.task.id).at(t(1))).await;

    same("compacted", world.purge_of(Purge::Details, t(2), 9).await, 1);

    same("tasks", world.timeline(root.task.tree.execution).await.len(), 1);
    let alike = |name: &str, count| {
        let (kind, status) = (StepKind::Call, TaskStatus::Cancelled);
        SummaryView::new(kind, name.to_owned(), status, count)
    };
    let mut summary = world.notes(root.task.id).await.summary;
    summary.sort();
    same("summary", summary, [alike("pack", u64::from(MANY)), alike("ship", 1)]);
}

async fn all_that_runs_is_told_to_end(world: World) {
    let (root, _, ids) = many_below(&world).await;
    same("claimed", claimable(&world, t(0)).await, MANY_ROWS);

    world.apply(cancel(root.task.id, 60, t(1))).await;

    let told = world.stopping(t(2)).await;
    same("told to end", told.len(), MANY_ROWS + 2);
    same("the last of them", told.contains(&ids[MANY_ROWS - 1]), true);
    // Nobody ends them in time.
    same("over", world.expire_all(t(61)).await, [root.task.id]);
    same("status", world.status(root.task.id).await, ExecutionStatus::Cancelled);
    let expected = [(TaskStatus::Cancelled, MANY_ROWS + 1)].into();
    same("tasks", statuses(&world, root.task.id).await, expected);
    same("told to end then", world.stopping(t(62)).await.len(), 0);
}

async fn a_record_of_many_steps_is_claimed_whole(world: World) {
    let root = world.running("checkout").await;
    let notes: Vec<_> = (0..MANY).map(|seq| world.inline("render", "note").seq(seq)).collect();
    let ids: Vec<_> = notes.iter().map(|note| note.id).collect();
    world.apply(notes.into_iter().fold(root.park(), Turn::with)).await;

    let again = world.claim_one(t(0)).await;

    same("the record", again.steps.len(), MANY_ROWS);
    same("in order", again.steps.iter().map(|step| step.id).collect::<Vec<_>>(), ids.clone());
    same("read", world.completions(root.task.id, 0).await.len(), MANY_ROWS);
    let news = world.apply(again.keep().seen(0)).await;
    same("news", (news.done, news.steps.len()), (MANY, MANY_ROWS));
    world.apply(later(&again, 1, MANY).park_for(Wait::for_next(MANY).until(Some(t(1))))).await;
    let memory = Memory::of(later(&again, 2, 0).fence, 9);
    let recalled = world.claim(1).at(t(1)).cache(&memory).await.remove(0);
    same("recalled", (recalled.cached, recalled.steps.len()), (Some(9), MANY_ROWS - 9));
}

/// Bytes that no store can compress.
fn noise(seed: u64, bytes: usize) -> Payload {
    let mut chance = Chance::new(seed);
    let bytes = (0..bytes / 8).flat_map(|_| chance.next().to_le_bytes()).collect();
    Payload::new("application/octet-stream", bytes)
}

/// Payloads of three megabytes in total.
fn megabytes() -> Vec<Payload> {
    (0..30).map(|n| noise(n, 100_000)).collect()
}

async fn a_record_of_many_megabytes_is_claimed_whole(world: World) {
    let root = world.running("checkout").await;
    let results = megabytes().into_iter().map(|result| world.inline("render", "").done(t(0), Ok(result)));
    world.apply(results.fold(root.park(), Turn::with)).await;

    let again = world.claim_one(t(0)).await;

    same("the record", again.steps.len(), megabytes().len());
    let read = world.completions(root.task.id, 0).await;
    same("read", read.len(), megabytes().len());
    for steps in [&again.steps, &read] {
        for (step, payload) in steps.iter().zip(megabytes()) {
            let StepState::Done { result: Ok(result), .. } = &step.state else { panic!("{step:?} is open") };
            assert!(*result == payload, "the result of {step:?} is another");
        }
    }
}

async fn a_claim_of_many_megabytes_is_whole(world: World) {
    let calls = megabytes().into_iter().map(|args| world.call("charge").args(args)).collect();
    write(&world, calls, t(0)).await;

    let claimed = world.claim(99).await;

    same("claimed", claimed.len(), megabytes().len());
    for (claimed, payload) in claimed.iter().zip(megabytes()) {
        assert!(claimed.task.args == payload, "the arguments of {:?} are others", claimed.task.id);
    }
}

async fn all_of_many_who_wait_have_the_result(world: World) {
    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    let waiting = world.dispatch_many(1_200, || world.call("charge").keyed(key("k"))).await;

    world.apply(holder.complete("receipt").at(t(1))).await;

    let ids: Vec<_> = waiting.iter().map(|task| task.execution()).collect();
    let views = world.store().executions(&ids).await.expect("executions");
    let hits = views.iter().filter(|view| view.result == Some(Ok(text("receipt"))));
    same("have the result", hits.count(), ids.len());
    same("claimed", claimable(&world, t(2)).await, 0);
}

async fn all_of_many_who_joined_are_told(world: World) {
    let other = world.running("charge").await;
    let root = world.running("checkout").await;
    let joins = (0..MANY).map(|seq| world.join(other.task.id).seq(seq));
    world.apply(joins.fold(root.park_for(wait_for(MANY)), Turn::with)).await;

    world.apply(other.complete("receipt").at(t(1))).await;

    let woken = world.claim_one(t(1)).await;
    same("woken", (woken.task.id, woken.task.done), (root.task.id, MANY));
    let told = woken.steps.iter().filter(|step| given(&woken.steps, step.id) == Some(Ok(text("receipt"))));
    same("told", told.count(), MANY_ROWS);
}

async fn a_limit_may_be_larger_than_a_page(world: World) {
    world.dispatch_many(1_600, || world.call("charge")).await;
    let claim = async |max| world.claim(max).lease(999).limit("charge", 1_200).await.len();

    for max in [limits::CLAIM_MAX, limits::CLAIM_MAX] {
        same("claimed", claim(max).await, limits::CLAIM_MAX);
    }
    same("claimed", claim(limits::CLAIM_MAX).await, 1_200 - 2 * limits::CLAIM_MAX);
    same("claimed in excess", claim(9).await, 0);
}

async fn a_full_batch_is_applied(world: World) {
    let count = limits::EXCHANGE_TRANSITIONS_MAX;
    world.dispatch_many(count, || world.call("charge")).await;
    let claimed = world.claim(count).await;
    same("claimed", claimed.len(), count);

    let ends: Vec<Transition> = claimed.iter().map(|claimed| claimed.complete("receipt").into()).collect();
    for outcome in world.exchange(&ends, None).await.outcomes {
        applied(outcome);
    }

    let counted = world.store().count(usize::MAX).await.expect("counts");
    same("counted", counted, [(ExecutionStatus::Completed, count as u64)].into());
}

async fn as_many_leases_are_renewed_as_a_worker_holds(world: World) {
    world.dispatch_many(1_200, || world.call("charge")).await;
    let mut leases = Vec::new();
    while leases.len() < 1_200 {
        leases.extend(world.claim(limits::CLAIM_MAX).await.iter().map(|claimed| claimed.lease));
    }

    let renewals = world.store().renew(&leases, t(1), t(900)).await.expect("renew");

    let renewed = renewals.iter().filter(|renewal| **renewal == Renewal::Renewed);
    same("renewed", renewed.count(), leases.len());
    same("claimed", claimable(&world, t(100)).await, 0);
}

/// Each function on two queues, each in its own lane.
async fn a_worker_may_know_many_functions(world: World) {
    const FUNCTIONS: usize = 600;
    let names: Vec<_> = (0..FUNCTIONS).map(|n| format!("function {n}")).collect();
    let calls = names.iter().map(|name| world.call(name)).collect();
    write(&world, calls, t(0)).await;
    let on_another = names.iter().map(|name| world.call(name).on("other").due(t(50))).collect();
    write(&world, on_another, t(0)).await;

    same("lanes", world.store().lanes(t(1), usize::MAX).await.expect("lanes").len(), 2 * FUNCTIONS);
    let exchanged = world.claim(9_999).lease(900).with::<Transition>([]).await;
    let mut claimed = exchanged.claimed.len();
    claimed += claimable(&world, t(1)).await;
    same("claimed", claimed, FUNCTIONS);
    same("next moment", world.claim(9).at(t(2)).next_due().await, Some(t(50)));
}

async fn what_fits_is_found_behind_many_that_do_not(world: World) {
    let ship = world.dispatch(world.call("ship").on("eu").tags(["gpu"])).await;
    let dead = world.call("charge").done(t(0), Err(declined()));
    let dead_id = dead.id;
    world.apply(dead.start(t(0))).await;
    let others = (0..MANY).map(|_| world.call("charge").done(t(0), Ok(text("receipt")))).collect();
    write(&world, others, t(0)).await;

    let list = async |filter: Filter| {
        let page = world.store().list(&filter, None, 9).await.expect("a page");
        page.iter().map(|view| view.id.root()).collect::<Vec<_>>()
    };
    same("by function", list(Filter::default().function("ship")).await, [ship]);
    same("by queue", list(Filter::default().queue("eu")).await, [ship]);
    same("by tag", list(Filter::default().tag("gpu")).await, [ship]);
    for (status, id) in [(ExecutionStatus::Pending, ship), (ExecutionStatus::Failed, dead_id)] {
        same(status.as_str(), list(Filter::default().status(status)).await, [id]);
    }
    let letters = world.store().dead_letters(None, 9).await.expect("a page");
    let letters: Vec<_> = letters.iter().map(|letter| letter.execution.id.root()).collect();
    same("dead letters", letters, [dead_id]);
}

async fn many_executions_are_counted(world: World) {
    let dead = (0..MANY).map(|_| world.call("charge").done(t(0), Err(declined()))).collect();
    write(&world, dead, t(0)).await;

    let counted = world.store().count(usize::MAX).await.expect("counts");
    same("counted", counted, [(ExecutionStatus::Failed, u64::from(MANY))].into());
    let stats = world.store().dead_letter_stats(usize::MAX).await.expect("stats");
    let expected = DeadLetterStat::new(declined().kind.into(), "charge".to_owned(), u64::from(MANY));
    same("dead letters", stats, [expected]);
    let (mut read, mut before) = (0, None);
    loop {
        let page = world.store().dead_letters(before, usize::MAX).await.expect("a page");
        read += page.len();
        before = page.last().map(|letter| letter.execution.id);
        if page.len() < limits::PAGE_MAX {
            break;
        }
    }
    same("read", read, MANY_ROWS);
}

async fn as_many_ids_are_looked_up_as_there_may_be(world: World) {
    let roots = world.dispatch_many(MANY_ROWS, || world.call("checkout")).await;
    // Most of the executions that a process waits for may be gone.
    let mut ids: Vec<_> = (MANY_ROWS..limits::LOOKUP_MAX).map(|_| world.id().execution()).collect();
    ids.extend(roots.iter().map(|root| root.execution()));

    same("found", world.store().executions(&ids).await.expect("executions").len(), MANY_ROWS);

    let parents = world.claim(limits::CLAIM_MAX).await;
    let turns = parents.iter().map(|parent| parent.keep().with(world.inline("render", "note")));
    world.commit_all(turns.collect::<Vec<_>>()).await;
    let mut asked: Vec<_> = (parents.len()..limits::LOOKUP_MAX).map(|_| (world.id(), 0)).collect();
    asked.extend(parents.iter().map(|parent| (parent.task.id, 0)));
    let read = world.store().completions(&asked).await.expect("completions");
    let told = read.iter().filter(|(_, steps)| steps.len() == 1);
    same("of whom there is news", told.count(), parents.len());
}

async fn no_more_counters_and_states_are_read_than_the_limit(world: World) {
    const MORE: usize = 20;
    let root = world.running("checkout").await;
    let turn = (0..limits::NOTES_MAX).fold(root.keep(), |turn, n| turn.say(count(&format!("name {n}"), 1)));
    let turn = (0..MORE).fold(turn, |turn, n| turn.say(set(&format!("name {n}"), "state")));
    world.apply(turn).await;

    let notes = world.notes(root.task.id).await;

    same("read", notes.counters.len() + notes.states.len(), limits::NOTES_MAX);
}

async fn many_counters_and_states_are_kept(world: World) {
    let root = world.running("checkout").await;
    let turn = (0..MANY).fold(root.keep(), |turn, n| {
        let name = format!("name {n}");
        turn.say(count(&name, i64::from(n))).say(set(&name, &name))
    });
    world.apply(turn).await;

    let notes = world.notes(root.task.id).await;

    same("counters", notes.counters.len(), MANY_ROWS);
    same("their sum", notes.counters.values().sum::<i64>(), i64::from(MANY * (MANY - 1) / 2));
    same("states", notes.states.len(), MANY_ROWS);
    same("one of them", notes.states.get("name 1001"), Some(&text("name 1001")));
}

async fn a_long_history_is_kept(world: World) {
    const ENDED_CLAIMS: u32 = 130;
    let id = world.dispatch(world.call("charge")).await;
    let mut claimed = world.claim_one(t(0)).await;
    for _ in 0..ENDED_CLAIMS {
        claimed = world.claim(1).with([claimed.release()]).await.claimed.remove(0);
    }

    same("ended claims", world.ended_claims(id).await.len(), ENDED_CLAIMS as usize);
    let task = &claimed.task;
    same(
        "counted",
        (task.releases, task.epoch.count, task.uncommitted_claims),
        (ENDED_CLAIMS, ENDED_CLAIMS + 1, 1),
    );
}

/// Every claim takes over from the one before, whose lease has expired.
async fn the_oldest_of_a_longer_history_are_read(world: World) {
    let page = u32::try_from(limits::PAGE_MAX).expect("a small number");
    let id = world.dispatch(world.call("charge")).await;
    for moment in 0..page + 50 {
        let claimed = world.claim(2).at(t(i64::from(moment))).lease(1).await;
        same("claimed", claimed.len(), 1);
    }

    let ended_claims = world.ended_claims(id).await;

    same("read", ended_claims.len(), limits::PAGE_MAX);
    let epoch = |n: usize| ended_claims[n].epoch.count;
    same("the first and the last", (epoch(0), epoch(limits::PAGE_MAX - 1)), (1, page));
    same("in order", ended_claims.is_sorted_by_key(|ended| ended.epoch.count), true);
}

async fn more_leave_at_once_than_a_page(world: World) {
    for (what, result) in [(Purge::Executions, Ok(text("receipt"))), (Purge::DeadLetters, Err(declined()))] {
        let ended = (0..MANY).map(|_| world.call("charge").done(t(0), result.clone())).collect();
        write(&world, ended, t(0)).await;

        same("purged", world.purge_of(what, t(1), 9_999).await, MANY);
        same("left", world.store().count(usize::MAX).await.expect("counts"), BTreeMap::new());
    }
}

async fn what_has_no_details_does_not_hide_what_has(world: World) {
    let ended = (0..MANY).map(|_| world.call("charge").done(t(0), Ok(text("receipt")))).collect();
    write(&world, ended, t(0)).await;
    let root = world.running("checkout").await;
    world.apply(root.complete("summary").with(world.inline("render", "note")).at(t(5))).await;

    same("compacted", world.purge_of(Purge::Details, t(9), 3).await, 1);

    same("tasks", world.timeline(root.task.tree.execution).await.len(), 1);
    same("compacted again", world.purge_of(Purge::Details, t(9), 3).await, 0);
}

/// More levels than a store with a limit on recursion would go down.
const LEVELS: usize = 120;

/// A root and the steps below it, each below the one before; all of them run until `t(30)`.
async fn deep(world: &World) -> (Claimed, Vec<TaskId>) {
    let root = world.running("checkout").await;
    let mut steps = vec![root.clone()];
    for level in 0..LEVELS {
        let mut exchanged = world.claim(2).with([steps[level].keep().with(world.call("ship"))]).await;
        same("claimed", exchanged.claimed.len(), 1);
        steps.append(&mut exchanged.claimed);
    }
    (later(&root, 1, 0), steps.iter().skip(1).map(|step| step.task.id).collect())
}

async fn what_is_given_up_ends_to_its_deepest_level(world: World) {
    let (root, steps) = deep(&world).await;

    world.apply(root.keep().cancel(steps[0]).at(t(1))).await;

    same("claimed", claimable(&world, t(40)).await, 1);
    same("tasks", statuses(&world, root.task.id).await, [(TaskStatus::Cancelled, LEVELS)].into());
}

async fn what_leaves_the_record_takes_its_deepest_level_along(world: World) {
    let (root, steps) = deep(&world).await;

    world.apply(root.retry(t(9), declined()).erase(steps[0])).await;

    same("claimed", claimable(&world, t(40)).await, 1);
    same("tasks", world.timeline(root.task.tree.execution).await.len(), 1);
}

async fn an_execution_leaves_with_its_deepest_level(world: World) {
    let (root, steps) = deep(&world).await;

    world.apply(cancel(root.task.id, 60, t(1))).await;
    same("claimed", claimable(&world, t(40)).await, 0);
    same("over", world.expire_all(t(61)).await, [root.task.id]);
    same("tasks", statuses(&world, root.task.id).await, [(TaskStatus::Cancelled, LEVELS)].into());
    same("purged", world.purge(t(62), 9).await, 1);

    let again = world.call("pack").with_id(steps[LEVELS - 1]).start(t(62));
    same("the id of the deepest", world.commit(again).await, Outcome::Applied(News::default()));
}

/// Keys that one execution holds.
const KEYS: usize = 1_200;

/// A root with a step whose calls hold many keys. For each key, another execution waits.
async fn many_keys(world: &World) -> (Claimed, Claimed) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let calls = || (0..KEYS).map(|n| world.call("charge").keyed(key(&n.to_string())));
    world.apply(calls().fold(step.park(), Turn::with)).await;
    write(world, calls().collect(), t(0)).await;
    (later(&root, 1, 0), step)
}

async fn many_keys_of_what_is_given_up_are_free(world: World) {
    let (root, step) = many_keys(&world).await;

    world.apply(root.keep().cancel(step.task.id).at(t(1))).await;

    same("claimed", claimable(&world, t(2)).await, KEYS);
}

async fn many_keys_of_what_is_purged_are_free(world: World) {
    let (root, _) = many_keys(&world).await;
    world.apply(root.complete("summary").at(t(1))).await;

    same("purged", world.purge(t(2), 9).await, 1);

    same("claimed", claimable(&world, t(3)).await, KEYS);
}

async fn no_late_renewal_of_many_takes_its_place_back(world: World) {
    const PLACES: u32 = 600;
    let claim = async |max, now| world.claim(max).at(now).limit("charge", PLACES).await;
    world.dispatch_many(PLACES as usize, || world.call("charge")).await;
    let mut leases = Vec::new();
    for _ in 0..2 {
        leases.extend(claim(limits::CLAIM_MAX, t(0)).await.iter().map(|claimed| claimed.lease));
    }
    same("claimed", leases.len(), PLACES as usize);
    let next = world.dispatch(world.call("charge")).await;
    let claimed: Vec<_> = claim(1, t(30)).await.iter().map(|claimed| claimed.task.id).collect();
    same("the place is free", claimed, [next]);

    let late = world.store().renew(&leases, t(20), t(90)).await.expect("renew");

    same("renewed", late.iter().filter(|renewal| **renewal == Renewal::Renewed).count(), 0);
    let more = claim(limits::CLAIM_MAX, t(31)).await.len() + claim(limits::CLAIM_MAX, t(31)).await.len();
    same("claimed then", more, PLACES as usize - 1);
}

/// The last of them is due first.
async fn all_of_many_sleeps_fire_with_one_claim(world: World) {
    let root = world.running("checkout").await;
    let due = |n: u32| t(1) + Duration::from_micros(u64::from(MANY - n));
    let sleeps: Vec<_> = (0..MANY).map(|n| world.sleep(due(n)).seq(n)).collect();
    let ids: Vec<_> = sleeps.iter().rev().map(|sleep| sleep.id).collect();
    let wait = Wait::for_next(0).until(Some(due(MANY - 1)));
    world.apply(sleeps.into_iter().fold(root.park_for(wait), Turn::with)).await;

    let claimed = world.claim_one(t(5)).await;

    same("completions", claimed.task.done, MANY);
    same("order", claimed.steps.iter().map(|step| step.id).collect::<Vec<_>>() == ids, true);
}
