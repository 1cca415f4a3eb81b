//! The order of completions: recorded once, the same for every reader.

use super::words::*;

list! { order:
    G4 completions_are_numbered_from_one_without_gaps,
    G4 ten_comes_after_nine,
    G4 completions_of_one_batch_are_numbered_in_its_order,
    G4 a_turns_own_completions_stand_in_its_order,
    G4 a_claim_brings_completed_steps_in_order_then_the_others_by_position,
    G4 a_claim_brings_every_state_of_a_step,
    G4 a_claim_brings_the_tasks_own_steps_only,
    G4 news_bring_what_others_completed,
    G4 news_are_empty_when_the_turn_brought_all_there_is,
    G4 news_stop_at_their_own_moment,
    G4 a_cached_task_gets_only_what_has_ended_since,
    G4 each_of_several_is_found_in_the_cache,
    G4 a_cached_task_gets_maps_that_go_on,
    G4 a_cache_of_another_claim_is_not_used,
    G4 a_recorded_result_never_changes,
    G4 every_claim_brings_the_same_record,
    G4 a_crash_keeps_record_and_order,
}

fn orders(claimed: &Claimed) -> Vec<Option<u32>> {
    claimed.steps.iter().map(Step::order).collect()
}

fn ids(claimed: &Claimed) -> Vec<TaskId> {
    claimed.steps.iter().map(|step| step.id).collect()
}

/// A parent that continues, and this many running steps.
async fn family(world: &World, steps: usize) -> (Claimed, Vec<Claimed>) {
    let parent = world.running("checkout").await;
    let drafts: Vec<_> = (0..steps).map(|_| world.call("ship")).collect();
    world.apply(drafts.into_iter().fold(parent.keep(), Turn::with)).await;
    let claimed = world.claim(steps).lease(1_000).await;
    same("number of steps", claimed.len(), steps);
    (later(&parent, 1, 0), claimed)
}

async fn completions_are_numbered_from_one_without_gaps(world: World) {
    let (parent, steps) = family(&world, 5).await;
    let peer = world.peer().await;

    for (order, n) in (1..).zip([3, 0, 4, 1, 2]) {
        let holder = if n % 2 == 0 { &world } else { &peer };
        holder.apply(steps[n].complete("parcel")).await;
        same("number", world.task(steps[n].task.id).await.done_order, Some(order));
    }

    let news = world.apply(parent.keep()).await;
    same("completions", (news.done, news.steps.len()), (5, 5));
}

async fn completions_of_one_batch_are_numbered_in_its_order(world: World) {
    let (parent, steps) = family(&world, 6).await;

    let batch = [4, 1, 5, 0, 3, 2].map(|n: usize| match n % 2 {
        0 => steps[n].complete("parcel"),
        _ => steps[n].fail(declined()),
    });
    world.commit_all(batch).await;

    let news = world.apply(parent.keep()).await;
    let expected: Vec<_> = [4, 1, 5, 0, 3, 2].map(|n: usize| steps[n].task.id).into();
    same("order", news.steps.iter().map(|step| step.id).collect::<Vec<_>>(), expected);
}

async fn a_turns_own_completions_stand_in_its_order(world: World) {
    let parent = world.running("checkout").await;
    let (early, late) = (world.sleep(t(1)), world.sleep(t(2)));
    let (early_id, late_id) = (early.id, late.id);
    world.apply(parent.keep().with(early).with(late)).await;
    // Positions and ids have one order, the turn another.
    let (young, old) = (world.inline("young", "1").seq(9), world.inline("old", "2").seq(8));
    let expected = [young.id, old.id, late_id, early_id];

    let turn = later(&parent, 1, 0).keep().with(young).with(old).fire(late_id).fire(early_id);
    let news = world.apply(turn.at(t(3))).await;

    same("completions", news.done, 4);
    let again = world.claim_one(t(30)).await;
    same("order", ids(&again), expected);
    same("numbers", orders(&again), [1, 2, 3, 4].map(Some));
}

async fn a_claim_brings_completed_steps_in_order_then_the_others_by_position(world: World) {
    let parent = world.running("checkout").await;
    let drafts: Vec<_> = [5, 3, 4, 0, 2, 1].map(|seq| world.call("ship").seq(seq)).into();
    let rows: Vec<_> = drafts.iter().map(|draft| draft.id).collect();
    world.apply(drafts.into_iter().fold(parent.keep(), Turn::with)).await;
    let steps = world.claim(6).lease(1_000).await;
    for n in [4, 1, 3] {
        world.apply(steps[n].complete("parcel")).await;
    }

    let again = world.claim_one(t(30)).await;

    same("order", ids(&again), [4, 1, 3, 5, 2, 0].map(|n: usize| rows[n]));
    same("positions", again.steps.iter().map(|step| step.seq.0).collect::<Vec<_>>(), [2, 3, 0, 1, 4, 5]);
    same("numbers", orders(&again), [Some(1), Some(2), Some(3), None, None, None]);
}

async fn a_claim_brings_every_state_of_a_step(world: World) {
    let parent = world.running("checkout").await;
    let drafts = [
        world.call("completed").seq(0),
        world.call("failed").seq(1),
        world.call("running").seq(2),
        world.call("retried").seq(3),
        world.call("cancelled").seq(4),
        world.sleep(t(700)).seq(5),
        world.map("mail").seq(6),
        world.inline("render", "note").seq(7),
        world.call("parked").seq(8),
    ];
    let rows: Vec<_> = drafts.iter().map(|draft| draft.id).collect();
    world.apply(drafts.into_iter().fold(parent.keep(), Turn::with).at(t(1))).await;
    let held = world.claim(6).lease(1_000).await;
    world.apply(held[0].complete("parcel").at(t(2))).await;
    world.apply(held[1].fail(declined()).at(t(3))).await;
    world.apply(held[3].retry(t(900), declined())).await;
    world.apply(held[5].park()).await;
    world.apply(later(&parent, 1, 1).keep().cancel(rows[4]).feed(rows[6], 0, None)).await;

    let again = world.claim_one(t(30)).await;

    let done = |order, at, result| StepState::Done { order, at, result };
    let open = |due| StepState::Open { due };
    let step = |n: usize, kind, name: &str, state| Step {
        id: rows[n],
        seq: Seq(u32::try_from(n).expect("a small number")),
        kind,
        name: name.to_owned(),
        state,
        map: (kind == StepKind::Map).then(Progress::default),
        digest: None,
    };
    let expected = [
        step(7, StepKind::Inline, "render", done(1, t(1), Ok(text("note")))),
        step(0, StepKind::Call, "completed", done(2, t(2), Ok(text("parcel")))),
        step(1, StepKind::Call, "failed", done(3, t(3), Err(declined()))),
        step(2, StepKind::Call, "running", open(None)),
        step(3, StepKind::Call, "retried", open(None)),
        step(4, StepKind::Call, "cancelled", StepState::Cancelled),
        step(5, StepKind::Sleep, "sleep", open(Some(t(700)))),
        step(6, StepKind::Map, "mail", open(None)),
        step(8, StepKind::Call, "parked", open(None)),
    ];
    for (actual, expected) in again.steps.iter().zip(&expected) {
        same("a step", actual, expected);
    }
    same("number of steps", again.steps.len(), expected.len());
}

async fn a_claim_brings_the_tasks_own_steps_only(world: World) {
    let (parent, steps) = family(&world, 2).await;
    let (below, map) = (world.inline("render", "note"), world.map("mail"));
    let (item, map_id) = (world.call("mail").due(t(999)), map.id);
    world.apply(steps[0].keep().with(below)).await;
    world.apply(parent.keep().with(map).items(map_id, [item])).await;
    let other = world.running("checkout").await;
    world.apply(other.complete("summary")).await;

    let again = world.claim_one(t(30)).await;

    same("steps", ids(&again), [steps[0].task.id, steps[1].task.id, map_id]);
}

async fn news_bring_what_others_completed(world: World) {
    let (parent, steps) = family(&world, 3).await;
    let peer = world.peer().await;
    peer.apply(steps[1].complete("one").at(t(2))).await;
    peer.apply(steps[2].fail(declined()).at(t(3))).await;
    let note = world.inline("render", "note");
    let note_id = note.id;

    let news = world.apply(parent.keep().with(note).at(t(4))).await;

    same("completions", news.done, 3);
    let brought: Vec<_> = news.steps.iter().map(|step| (step.id, step.order())).collect();
    same("order", brought, [(steps[1].task.id, Some(1)), (steps[2].task.id, Some(2)), (note_id, Some(3))]);
    same(
        "the first of them",
        news.steps[0].state.clone(),
        StepState::Done { order: 1, at: t(2), result: Ok(text("one")) },
    );

    // Completions that the code has seen are not returned again.
    peer.apply(steps[0].complete("two")).await;
    let news = world.apply(later(&parent, 1, 3).keep()).await;
    same("later news", news.steps.iter().map(|step| step.id).collect::<Vec<_>>(), [steps[0].task.id]);
}

async fn news_are_empty_when_the_turn_brought_all_there_is(world: World) {
    let (parent, steps) = family(&world, 1).await;
    world.apply(steps[0].complete("parcel")).await;

    let turn = later(&parent, 0, 1).keep().with(world.inline("a", "1")).with(world.inline("b", "2"));
    let news = world.apply(turn).await;

    same("completions", news.done, 3);
    same("steps", news.steps, Vec::new());
}

async fn news_stop_at_their_own_moment(world: World) {
    let (parent, steps) = family(&world, 2).await;

    // As if one by one: the second completion comes after the parent's turn.
    let outcomes =
        world.commit_all([steps[0].complete("one"), parent.keep(), steps[1].complete("two")]).await;

    let news = applied(outcomes[1].clone());
    same("completions", news.done, 1);
    same("order", news.steps.iter().map(|step| step.id).collect::<Vec<_>>(), [steps[0].task.id]);
}

async fn a_cached_task_gets_only_what_has_ended_since(world: World) {
    let (parent, steps) = family(&world, 4).await;
    world.apply(steps[2].complete("seen")).await;
    world.apply(later(&parent, 0, 1).park().with(world.sleep(t(2)))).await;
    world.apply(steps[0].complete("one")).await;
    world.apply(steps[1].complete("two")).await;

    let memory = Memory::of(parent.fence.next(), 1);
    let again = world.claim(5).cache(&memory).at(t(5)).await.remove(0);

    same("recalled", again.cached, Some(1));
    same("completions", again.task.done, 4);
    same("numbers", orders(&again), [2, 3, 4].map(Some));
    same("what others completed", &ids(&again)[..2], [steps[0].task.id, steps[1].task.id]);
    same("the sleep that has fired", again.steps[2].kind, StepKind::Sleep);
}

async fn a_cached_task_gets_maps_that_go_on(world: World) {
    let owner = world.running("checkout").await;
    let (map, other) = (world.map("ship"), world.call("mail").due(t(999)));
    let items = [0, 1, 2].map(|seq| world.call("ship").seq(seq));
    let id = map.id;
    let turn = owner.park_for(wait_for_items(0, id, 2)).with(map).with(other);
    world.apply(turn.items(id, items).feed(id, 3, None)).await;
    for item in world.claim(2).await {
        world.apply(item.complete("parcel")).await;
    }

    // None of the owner's steps has ended, but there is room for more items.
    let memory = Memory::of(owner.fence.next(), 0);
    let claimed = world.claim(5).cache(&memory).functions(["checkout"]).await.remove(0);

    same("recalled", claimed.cached, Some(0));
    same("steps", ids(&claimed), [id]);
    same("progress", claimed.steps[0].map, Some(Progress { fed: 3, total: None, done: 2 }));
}

async fn a_cache_of_another_claim_is_not_used(world: World) {
    let (parent, steps) = family(&world, 1).await;
    world.apply(steps[0].complete("parcel")).await;
    world.apply(parent.park()).await;
    let parked = parent.fence.next();
    let others = [
        Fence { epoch: Epoch::plain(parked.epoch.count), ..parked },
        Fence { epoch: parked.epoch.next(world.nonce()), ..parked },
        Fence { epoch: Epoch::NEVER, ..parked },
        Fence { task: steps[0].task.id, ..parked },
        // The same claim before it parked: the store may have lost a commit, or the worker's cache may be older.
        parent.fence,
    ];
    let memory = Memory(others.map(|fence| (fence, 1)).into());

    let again = world.claim(5).cache(&memory).await.remove(0);

    same("recalled", again.cached, None);
    same("numbers", orders(&again), [Some(1)]);
}

async fn a_recorded_result_never_changes(world: World) {
    let (parent, steps) = family(&world, 1).await;
    let step = &steps[0];
    world.apply(step.complete("first")).await;
    world.apply(parent.park()).await;

    // The same worker, confused: other results under the same claim, and under claims that never existed.
    already(world.commit(step.complete("second")).await);
    same("outcome", world.commit(later(step, 1, 0).complete("third")).await, Outcome::Gone);
    let mut next = step.clone();
    (next.fence.epoch, next.fence.commit) = (next.fence.epoch.next(world.nonce()), 1);
    same("outcome", world.commit(next.fail(declined())).await, Outcome::Gone);

    let again = world.claim_one(t(0)).await;
    let StepState::Done { order: 1, result, .. } = &again.steps[0].state else { panic!("{:?}", again.steps) };
    same("result", result.clone(), Ok(text("first")));
}

async fn a_crash_keeps_record_and_order(world: World) {
    let (parent, steps) = family(&world, 5).await;
    for n in [3, 1, 4] {
        world.apply(steps[n].complete("parcel")).await;
    }
    let before = world.apply(parent.keep()).await.steps;

    let world = world.crash().await;
    let again = world.claim_one(t(30)).await;

    same("completed steps", &again.steps[..3], &before[..]);
    same("number of steps", again.steps.len(), 5);
}

async fn every_claim_brings_the_same_record(world: World) {
    let (_, steps) = family(&world, 4).await;
    world.apply(steps[2].complete("parcel")).await;
    world.apply(steps[0].fail(declined())).await;
    let first = world.claim_one(t(30)).await;

    world.apply(steps[1].complete("later")).await;

    for end in [60, 90] {
        let again = world.claim_one(t(end)).await;
        same("the record", &again.steps[..2], &first.steps[..2]);
        same("what came since", again.steps[2].order(), Some(3));
    }
}

/// In positions and in completion numbers; as text, "10" would come before "9".
async fn ten_comes_after_nine(world: World) {
    let root = world.running("checkout").await;
    let notes: Vec<_> = (0..12).map(|seq| world.inline("render", "note").seq(seq)).collect();
    let calls: Vec<_> = (0..12).map(|n| world.call("ship").seq(95 + n).due(t(99))).collect();
    let done: Vec<_> = notes.iter().map(|note| note.id).collect();
    let open: Vec<_> = calls.iter().map(|call| call.id).collect();
    let map = world.map("mail").seq(200);
    let id = map.id;
    let items: Vec<_> = (0..12).map(|n| world.call("mail").seq(95 + n).due(t(99))).collect();
    let turn = notes.into_iter().chain(calls).fold(root.park(), Turn::with);
    world.apply(turn.with(map).items(id, items).feed(id, 12, None)).await;

    let again = world.claim_one(t(0)).await;

    let ids: Vec<_> = again.steps.iter().map(|step| step.id).collect();
    same("completions", &ids[..12], done);
    same("open steps", &ids[12..24], open);
    let seqs: Vec<_> = world.items(id).await.iter().map(|item| item.seq.0).collect();
    same("items", seqs, (95..107).collect::<Vec<_>>());
}

/// In one claim, each from what the worker has in its cache.
async fn each_of_several_is_found_in_the_cache(world: World) {
    let mut memory = Memory::default();
    let mut expected = Vec::new();
    for n in 0..3 {
        let parent = world.running("checkout").await;
        let notes = (0..3).map(|_| world.inline("render", "note"));
        let until = Wait::for_next(3).until(Some(t(5)));
        world.apply(notes.fold(parent.park_for(until), Turn::with)).await;
        memory.0.insert(parent.fence.next(), n);
        expected.push((parent.task.id, Some(n), 3 - n as usize));
    }
    let stranger = world.running("checkout").await;
    world.apply(stranger.park_for(Wait::for_next(0).until(Some(t(5)))).with(world.sleep(t(99)))).await;
    expected.push((stranger.task.id, None, 1));

    let claimed = world.claim(9).at(t(5)).cache(&memory).await;

    let told: Vec<_> =
        claimed.iter().map(|claimed| (claimed.task.id, claimed.cached, claimed.steps.len())).collect();
    same("recalled", told, expected);
}
