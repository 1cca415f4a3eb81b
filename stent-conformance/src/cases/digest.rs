//! Digests: a step comes back with the digest of its arguments, and a map's digest changes with its feed.

use stent_core::Digest;

use super::words::*;

list! { digest:
    G4 a_claim_brings_the_digest_of_every_step,
    G4 digests_stay_whatever_becomes_of_a_step,
    G4 digests_stay_whatever_becomes_of_the_task_above,
    G4 news_and_completions_bring_digests,
    G4 a_feed_sets_the_digest_of_its_map,
    G1 a_feed_that_does_not_stand_leaves_the_digest,
    G4 a_map_keeps_its_digest_to_the_end,
    G4 what_a_task_was_called_with_is_read,
}

const fn digest(value: i64) -> Digest {
    Digest::from_i64(value)
}

fn digests(claimed: &Claimed) -> Vec<(TaskId, Option<i64>)> {
    claimed.steps.iter().map(|step| (step.id, step.digest.map(Digest::to_i64))).collect()
}

async fn a_claim_brings_the_digest_of_every_step(world: World) {
    let parent = world.running("checkout").await;
    let root = parent.task.id;
    let other = world.dispatch(world.call("other").due(t(999))).await;
    let child = world.call("ship").due(t(999));
    let drafts = [
        world.inline("note", "1").digest(digest(7)),
        world.start_of(child.id).digest(digest(i64::MIN)),
        world.call("mail").due(t(999)),
        world.call("mail").due(t(999)).digest(digest(0)),
        world.call("mail").due(t(999)).digest(digest(-1)),
        world.call("mail").due(t(999)).digest(digest(i64::MAX)).tags(["eu"]),
        world.call("mail").due(t(999)).digest(digest(1 << 53 | 1)).keyed(key("one")),
        world.sleep(t(999)).digest(digest(2)),
        world.wait(root, "go"),
        world.join(other).digest(digest(3)),
        world.map("mail"),
    ];
    let expected = [
        Some(7),
        Some(i64::MIN),
        None,
        Some(0),
        Some(-1),
        Some(i64::MAX),
        Some(1 << 53 | 1),
        Some(2),
        None,
        Some(3),
        None,
    ];
    let expected: Vec<_> = drafts.iter().map(|draft| draft.id).zip(expected).collect();
    let (first, rest) = (drafts[0].clone(), drafts[2..].to_vec());
    let turn = parent.keep().with(first).spawn(drafts[1].clone(), child);
    world.apply(rest.into_iter().fold(turn, Turn::with)).await;

    let again = world.claim_one(t(30)).await;

    same("digests", digests(&again), expected);
}

async fn digests_stay_whatever_becomes_of_a_step(world: World) {
    let parent = world.running("checkout").await;
    let drafts: Vec<_> = (1..=6).map(|n| world.call("ship").digest(digest(n))).collect();
    let ids: Vec<_> = drafts.iter().map(|draft| draft.id).collect();
    world.apply(drafts.into_iter().fold(parent.keep(), Turn::with)).await;
    let steps = world.claim(6).lease(100).await;

    // Ended, failed, retried, released, parked, and given up.
    world.apply(steps[0].complete("parcel")).await;
    world.apply(steps[1].fail(declined())).await;
    world.apply(steps[2].retry(t(50), declined())).await;
    world.apply(steps[3].release()).await;
    world.apply(steps[4].park()).await;
    world.apply(later(&parent, 1, 2).keep().cancel(ids[5])).await;

    let again = world.claim(1).at(t(30)).functions(["checkout"]).await.remove(0);
    same("digests", digests(&again), (1..).map(Some).zip(&ids).map(|(n, id)| (*id, n)).collect::<Vec<_>>());
    // Also a step that runs once more.
    same("claimed again", world.claim(6).at(t(60)).functions(["ship"]).await.len(), 2);
    let again = world.claim(1).at(t(90)).functions(["checkout"]).await.remove(0);
    same("digests", digests(&again), (1..).map(Some).zip(&ids).map(|(n, id)| (*id, n)).collect::<Vec<_>>());
}

async fn digests_stay_whatever_becomes_of_the_task_above(mut world: World) {
    let parent = world.running("checkout").await;
    let (kept, open) = (world.inline("note", "1").digest(digest(-5)), world.call("ship").due(t(999)));
    let (open, map) = (open.digest(digest(6)), world.map("ship"));
    let expected = [(kept.id, Some(-5)), (open.id, Some(6)), (map.id, Some(7))];
    let id = map.id;
    let items = [world.call("ship").due(t(999)).seq(0)];
    let turn = parent.keep().with(kept).with(open).with(map).items(id, items);
    world.apply(turn.feed_with(id, 1, None, Some(digest(7)))).await;

    // An expired lease, a shutdown, a retry, a parking, a crash, a redriven dead letter.
    let lost = world.claim_one(t(30)).await;
    same("after a lost lease", digests(&lost), expected);
    world.apply(lost.release().at(t(31))).await;
    let released = world.claim_one(t(31)).await;
    same("after a release", digests(&released), expected);
    world.apply(released.retry(t(32), declined()).at(t(31))).await;
    let retried = world.claim_one(t(32)).await;
    same("after a retry", digests(&retried), expected);
    world.apply(retried.park_for(Wait::for_next(1).until(Some(t(33)))).at(t(32))).await;
    let woken = world.claim_one(t(33)).await;
    same("after a parking", digests(&woken), expected);
    world.crash_in_place().await;
    let crashed = world.claim_one(t(300)).await;
    same("after a crash", digests(&crashed), expected);
    world.apply(crashed.fail(declined()).at(t(300))).await;
    world.apply(redrive(crashed.task.id)).await;
    let redriven = world.claim(1).at(t(301)).functions(["checkout"]).await.remove(0);
    same("after a revival", digests(&redriven), expected);
}

async fn news_and_completions_bring_digests(world: World) {
    let parent = world.running("checkout").await;
    let (a, b, map) = (world.call("ship"), world.call("ship"), world.map("mail"));
    let (a, b) = (a.digest(digest(1)), b.digest(digest(2)));
    let ids = [a.id, b.id, map.id];
    let item = [world.call("mail").due(t(999)).seq(0)];
    let turn = parent.keep().with(a).with(b).with(map).items(ids[2], item);
    world.apply(turn.feed_with(ids[2], 1, None, Some(digest(3)))).await;
    let steps = world.claim(2).lease(100).await;
    world.apply(steps[1].complete("parcel")).await;

    let news = world.apply(later(&parent, 1, 0).keep()).await;
    same("news", news.steps.iter().map(|step| step.digest).collect::<Vec<_>>(), [Some(digest(2))]);

    world.apply(steps[0].complete("parcel")).await;
    let read = world.completions(parent.task.id, 1).await;
    let read: Vec<_> = read.iter().map(|step| (step.id, step.digest)).collect();
    same("completions", read, [(ids[0], Some(digest(1))), (ids[2], Some(digest(3)))]);

    let memory = Memory::of(later(&parent, 2, 0).fence, 1);
    let recalled = world.claim(1).at(t(30)).cache(&memory).functions(["checkout"]).await.remove(0);
    same("recalled", digests(&recalled), [(ids[0], Some(1)), (ids[2], Some(3))]);
}

/// An owner with a map that was fed two items, which never run.
async fn fed(world: &World, with: Option<Digest>) -> (Claimed, TaskId) {
    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let id = map.id;
    let turn = more(world, owner.keep().with(map), id, 0);
    world.apply(turn.feed_with(id, 2, None, with)).await;
    (later(&owner, 1, 0), id)
}

/// Two more items.
fn more(world: &World, turn: Turn, map: TaskId, from: u32) -> Turn {
    turn.items(map, [from, from + 1].map(|seq| world.call("ship").due(t(900)).seq(seq)))
}

/// How far a map was fed, and its digest, as a claim returns them.
async fn brought(world: &World, now: i64, map: TaskId) -> (u32, Option<Digest>) {
    let claimed = world.claim(9).at(t(now)).functions(["checkout"]).await;
    let mut steps = claimed.iter().flat_map(|claimed| &claimed.steps);
    let step = steps.find(|step| step.id == map).expect("the map is brought");
    (step.map.expect("a map has progress").fed, step.digest)
}

async fn a_feed_sets_the_digest_of_its_map(world: World) {
    let (owner, map) = fed(&world, Some(digest(-1))).await;
    let (other, other_map) = fed(&world, None).await;
    same("at first", digests(&world.claim(2).at(t(30)).await[0]), [(map, Some(-1))]);

    let claims = world.claim(2).at(t(60)).await;
    let again = claims.iter().find(|claimed| claimed.task.id == owner.task.id).expect("is claimed");
    world.apply(more(&world, again.keep(), map, 2).feed_with(map, 4, None, Some(digest(i64::MIN)))).await;
    let again = claims.iter().find(|claimed| claimed.task.id == other.task.id).expect("is claimed");
    world.apply(more(&world, again.keep(), other_map, 2).feed_with(other_map, 4, Some(4), None)).await;

    let claims = world.claim(2).at(t(90)).await;
    let both: Vec<_> = claims.iter().map(digests).collect();
    same("after the second feed", both, vec![vec![(map, Some(i64::MIN))], vec![(other_map, None)]]);

    // A feed without a digest removes the map's digest.
    let again = claims.into_iter().find(|claimed| claimed.task.id == owner.task.id).expect("is claimed");
    world.apply(more(&world, again.keep(), map, 4).feed_with(map, 6, Some(6), None)).await;
    same("after one without", brought(&world, 120, map).await, (6, None));
}

async fn a_feed_that_does_not_stand_leaves_the_digest(world: World) {
    let (stale, map) = fed(&world, Some(digest(5))).await;
    let owner = world.claim_one(t(30)).await;
    let before = world.snapshot().await;

    // By a worker that lost the lease, under an outdated count, and together with a turn of the owner that is refused.
    for turn in [stale.keep(), later(&owner, 1, 0).keep(), later(&stale, 1, 0).park()] {
        let outcome = world.commit(more(&world, turn, map, 2).feed_with(map, 4, None, Some(digest(6)))).await;
        same("outcome", outcome, Outcome::Fenced);
    }

    world.snapshot().await.expect_same("a feed that was refused changed something", &before);
    same("the map", brought(&world, 60, map).await, (2, Some(digest(5))));

    // A feed that is sent twice is made once, and a feed stays when an older one is sent again.
    let owner = world.claim_one(t(90)).await;
    let feed = |turn: Turn, fed: u32, n: i64| turn.feed_with(map, fed, None, Some(digest(n)));
    let first = feed(more(&world, owner.keep(), map, 2), 4, 7);
    world.apply(first.clone()).await;
    world.apply(feed(more(&world, later(&owner, 1, 0).keep(), map, 4), 6, 8)).await;
    already(world.commit(first).await);
    same("the map", brought(&world, 120, map).await, (6, Some(digest(8))));
}

async fn a_map_keeps_its_digest_to_the_end(world: World) {
    let parent = world.running("checkout").await;
    let (done, failed, given_up) = (world.map("ship"), world.map("mail"), world.gather("pack"));
    let ids = [done.id, failed.id, given_up.id];
    let mut turn = parent.keep().with(done).with(failed).with(given_up);
    for (n, (id, function)) in (1..).zip(ids.into_iter().zip(["ship", "mail", "pack"])) {
        let items = [0, 1].map(|seq| world.call(function).seq(seq));
        turn = turn.items(id, items).feed_with(id, 2, Some(2), Some(digest(n)));
    }
    world.apply(turn).await;
    for item in world.claim(2).functions(["ship"]).lease(100).await {
        world.apply(item.complete("parcel")).await;
    }
    let mail = world.claim(1).functions(["mail"]).lease(100).await.remove(0);
    world.apply(mail.fail(declined())).await;
    world.apply(later(&parent, 1, 2).keep().cancel(ids[2])).await;

    let again = world.claim(1).at(t(30)).functions(["checkout"]).await.remove(0);

    let expected: Vec<_> = ids.into_iter().zip((1..).map(Some)).collect();
    same("digests", digests(&again), expected);
}

async fn what_a_task_was_called_with_is_read(world: World) {
    let args = |of: &str| text(&format!("arguments of {of}"));
    let root = world.dispatch(world.call("checkout").args(args("the root"))).await;
    let parent = world.claim_one(t(0)).await;
    let large = Payload::new("application/octet-stream", vec![7; 3_000_000]);
    let (step, map) = (world.call("ship").args(args("a step")), world.map("mail"));
    let (wide, item) =
        (world.call("ship").args(large.clone()), world.call("mail").seq(0).args(args("an item")));
    let (inline, nap) = (world.inline("note", "1"), world.sleep(t(900)));
    let ids = [step.id, wide.id, item.id, map.id, inline.id, nap.id];
    let map_id = map.id;
    let turn = parent.keep().with(step).with(wide).with(map).items(map_id, [item]).with(inline).with(nap);
    world.apply(turn.feed(map_id, 1, Some(1))).await;
    let expected =
        [args("a step"), large, args("an item"), Payload::empty(), Payload::empty(), Payload::empty()];

    let read = async |task| world.store().args(task).await.expect("args");
    same("the root's", read(root).await, Some(args("the root")));
    for (id, expected) in ids.into_iter().zip(&expected) {
        same("what it was called with", read(id).await.as_ref(), Some(expected));
    }
    same("of what is not there", read(world.id()).await, None);

    // The digests stay when the map has ended, and leave with its row.
    for claimed in world.claim(9).lease(100).await {
        world.apply(claimed.complete("over")).await;
    }
    same("of a step that has ended", read(ids[0]).await, Some(args("a step")));
    let parent = world.claim(1).at(t(30)).functions(["checkout"]).await.remove(0);
    world.apply(parent.keep().erase(ids[0])).await;
    same("of a step that left", read(ids[0]).await, None);
    let over = later(&parent, 1, parent.task.done);
    world.apply(over.complete("summary").at(t(31))).await;
    same("of an execution that has ended", read(root).await, Some(args("the root")));
    world.purge(t(99), 9).await;
    same("of one that was purged", read(root).await, None);
}
