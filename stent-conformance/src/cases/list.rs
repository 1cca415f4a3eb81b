//! Reads for operators: lists, counts, lanes, and running tasks.

use std::collections::BTreeMap;

use stent_core::Key;
use stent_core::backend::{ExecutionView, Filter, LaneView};
use stent_core::model::Lane;
use uuid::Uuid;

use super::words::*;

list! { list:
    G1 executions_are_listed_newest_first,
    G1 executions_are_listed_by_id_whenever_they_were_written,
    G1 pages_have_neither_gaps_nor_doubles,
    G1 pages_stay_apart_while_others_are_dispatched,
    G1 a_page_has_its_limit,
    G1 steps_are_not_listed,
    G1 they_are_listed_by_status,
    G1 they_are_listed_by_function_queue_and_tag,
    G1 every_part_of_a_filter_must_fit,
    G12 the_one_that_was_dispatched_under_a_key_is_listed,
    G1 they_are_listed_by_the_time_of_their_dispatch,
    G1 pages_of_a_time_have_neither_gaps_nor_doubles,
    G1 an_id_of_another_day_is_not_listed_by_time,
    G1 a_listed_one_is_seen_as_it_is,
    G1 executions_are_counted_by_status,
    G1 no_more_executions_are_counted_than_asked_for,
    G1 a_purged_one_is_not_listed,
    G9 what_waits_in_each_lane_is_counted,
    G9 the_fullest_lanes_are_read_if_there_are_more_than_asked_for,
    G9 what_does_not_wait_is_not_counted,
    G2 what_runs_is_listed_last_claimed_first,
    G2 of_leases_that_end_together_the_youngest_comes_first,
    G1 a_page_may_begin_behind_what_is_gone,
    G2 a_lost_task_is_still_listed_as_running,
    G1 reading_changes_nothing,
    G1 names_and_tags_are_compared_whole,
    G1 pages_of_a_filter_have_neither_gaps_nor_doubles_while_others_come_and_go,
    G9 what_nobody_may_claim_does_not_wait,
    G2 a_renewed_lease_and_the_execution_of_a_step_are_seen,
}

async fn list(world: &World, filter: Filter) -> Vec<TaskId> {
    let page = world.store().list(&filter, None, limits::PAGE_MAX).await.expect("a page");
    page.iter().map(|view| view.id.root()).collect()
}

async fn executions_are_listed_newest_first(world: World) {
    let mut ids = world.dispatch_many(5, || world.call("charge")).await;
    // The order is by id, not by time of writing.
    let (old, young) = (world.call("charge"), world.call("charge"));
    ids.extend([old.id, young.id]);
    world.commit_all([young.start(t(0)), old.start(t(0))]).await;
    ids.reverse();

    same("listed", list(&world, Filter::default()).await, ids);
}

async fn pages_have_neither_gaps_nor_doubles(world: World) {
    let mut expected = Vec::new();
    for n in 0..40 {
        let id = world.dispatch(world.call(["charge", "ship", "mail"][n % 3])).await;
        if n % 3 == 1 {
            expected.push(id);
        }
    }
    expected.reverse();
    let filter = Filter::default().function("ship");

    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = world.store().list(&filter, before, 4).await.expect("a page");
        read.extend(page.iter().map(|view| view.id.root()));
        before = page.last().map(|view| view.id);
        if page.len() < 4 {
            break;
        }
    }

    same("read", read, expected);
}

async fn pages_stay_apart_while_others_are_dispatched(world: World) {
    let mut ids = world.dispatch_many(10, || world.call("charge")).await;
    ids.reverse();
    let first = world.store().list(&Filter::default(), None, 6).await.expect("a page");

    world.dispatch_many(10, || world.call("charge")).await;
    let before = first.last().map(|view| view.id);
    let second = world.store().list(&Filter::default(), before, 6).await.expect("a page");

    let read: Vec<_> = first.iter().chain(&second).map(|view| view.id.root()).collect();
    same("read", read, ids);
}

async fn a_page_has_its_limit(world: World) {
    world.dispatch_many(limits::PAGE_MAX + 5, || world.call("charge")).await;

    let page = async |max| world.store().list(&Filter::default(), None, max).await.expect("a page").len();

    same("as many as there may be", page(usize::MAX).await, limits::PAGE_MAX);
    same("none", page(0).await, 0);
}

async fn steps_are_not_listed(world: World) {
    let root = world.running("checkout").await;
    world.apply(root.keep().with(world.call("ship")).with(world.inline("render", "note"))).await;

    same("listed", list(&world, Filter::default()).await, [root.task.id]);
    same("by a step's function", list(&world, Filter::default().function("ship")).await, []);
}

/// One execution in each status.
async fn one_of_each(world: &World) -> BTreeMap<ExecutionStatus, TaskId> {
    use ExecutionStatus::{Cancelled, Cancelling, Completed, Failed, Pending, Running, TimedOut};
    let mut all = BTreeMap::new();
    let over = world.dispatch(world.call("charge").due(t(99)).expires(t(1))).await;
    world.expire_all(t(1)).await;
    all.insert(TimedOut, over);
    let cancelled = world.dispatch(world.call("charge")).await;
    world.apply(cancel(cancelled, 10, t(0))).await;
    all.insert(Cancelled, cancelled);
    let completed = world.running("charge").await;
    world.apply(completed.complete("receipt")).await;
    all.insert(Completed, completed.task.id);
    let failed = world.running("charge").await;
    world.apply(failed.fail(declined())).await;
    all.insert(Failed, failed.task.id);
    let cancelling = world.running("charge").await;
    world.apply(cancel(cancelling.task.id, 10, t(0))).await;
    all.insert(Cancelling, cancelling.task.id);
    all.insert(Running, world.running("charge").await.task.id);
    all.insert(Pending, world.dispatch(world.call("charge")).await);
    all
}

async fn they_are_listed_by_status(world: World) {
    let all = one_of_each(&world).await;
    same("statuses", all.len(), ExecutionStatus::ALL.len());

    for (status, id) in all {
        let filter = Filter::default().status(status);
        same(status.as_str(), list(&world, filter).await, [id]);
    }

    // A parked task, a task that waits for a retry, and a redriven one count as running.
    let parked = world.claim(1).await.remove(0);
    world.apply(parked.park()).await;
    let retried = world.running("charge").await;
    world.apply(retried.retry(t(99), declined())).await;
    let redriven = world.running("charge").await;
    world.apply(redriven.fail(declined())).await;
    world.apply(redrive(redriven.task.id)).await;
    let filter = Filter::default().status(ExecutionStatus::Running);
    same("running", list(&world, filter).await.len(), 4);
}

async fn they_are_listed_by_function_queue_and_tag(world: World) {
    let charge = world.dispatch(world.call("charge").on("eu").tags(["gpu"])).await;
    let ship = world.dispatch(world.call("ship").on("us").tags(["gpu", "disk"])).await;
    let plain = world.dispatch(world.call("ship")).await;
    let by = |function: &str, queue: &str, tag: &str| {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut filter = Filter::default();
        (filter.function, filter.queue, filter.tag) = (some(function), some(queue), some(tag));
        filter
    };

    same("by function", list(&world, by("ship", "", "")).await, [plain, ship]);
    same("by queue", list(&world, by("", "eu", "")).await, [charge]);
    same("by tag", list(&world, by("", "", "gpu")).await, [ship, charge]);
    same("by another tag", list(&world, by("", "", "disk")).await, [ship]);
    same("by part of a tag", list(&world, by("", "", "gp")).await, []);
    same("by an unknown function", list(&world, by("Charge", "", "")).await, []);
}

async fn every_part_of_a_filter_must_fit(world: World) {
    let mut expected = Vec::new();
    for n in 0..16 {
        let call = world.call(["charge", "ship"][n % 2]).on(["eu", "us"][n / 2 % 2]);
        let call = if n / 4 % 2 == 0 { call.tags(["gpu"]) } else { call.tags(["disk"]) };
        let id = world.dispatch(if n / 8 == 0 { call } else { call.due(t(99)) }).await;
        if (n % 2, n / 2 % 2, n / 4 % 2, n / 8) == (1, 0, 0, 0) {
            expected.push(id);
        }
    }
    world.claim(99).await;

    let filter = Filter::default().status(ExecutionStatus::Running).function("ship").queue("eu").tag("gpu");

    same("listed", list(&world, filter).await, expected);
}

fn under(key: Key) -> Filter {
    let mut filter = Filter::default();
    filter.key = Some(key);
    filter
}

async fn the_one_that_was_dispatched_under_a_key_is_listed(world: World) {
    let (first, other) = (world.call("charge"), world.call("charge"));
    let (id, other_id) = (first.id, other.id);
    world.apply(other.start_under(Some(dispatch_key("order-8")), t(0))).await;
    world.apply(first.start_under(Some(dispatch_key("order-7")), t(0))).await;
    world.commit(world.call("charge").start_under(Some(dispatch_key("order-7")), t(1))).await;
    // The key of a call is no key of a dispatch.
    world.dispatch(world.call("charge").keyed(key("order-7"))).await;
    world.signal(id, "approval", "yes").await;
    let listed = async |filter: Filter| list(&world, filter).await;

    same("by its key", listed(under(dispatch_key("order-7"))).await, [id]);
    same("by a key of nobody", listed(under(dispatch_key("order-9"))).await, []);
    same("by the key of a call", listed(under(key("order-7"))).await, []);
    same("by the key of a signal", listed(under(Key::of_signal(id.execution(), "approval"))).await, []);
    same("and its function", listed(under(dispatch_key("order-7")).function("charge")).await, [id]);
    same("and another function", listed(under(dispatch_key("order-7")).function("ship")).await, []);
    let completed = under(dispatch_key("order-7")).status(ExecutionStatus::Completed);
    same("and another status", listed(completed).await, []);
    same("since its dispatch", listed(under(dispatch_key("order-7")).since(t(0))).await, [id]);
    same("since later", listed(under(dispatch_key("order-7")).since(t(1))).await, []);
    let before = async |end: TaskId| {
        let filter = under(dispatch_key("order-7"));
        world.store().list(&filter, Some(end.execution()), 9).await.expect("a page").len()
    };
    same("on the pages before a younger one and itself", [before(other_id).await, before(id).await], [1, 0]);

    world.apply(cancel(id, 0, t(1))).await;
    world.purge(t(2), 9).await;
    same("once it is purged", listed(under(dispatch_key("order-7"))).await, []);
}

async fn they_are_listed_by_the_time_of_their_dispatch(world: World) {
    let mut ids = Vec::new();
    for second in 0..5 {
        let call = world.call(["charge", "ship"][usize::from(second % 2 == 1)]).due(t(0));
        ids.push(call.id);
        world.apply(call.start(t(second))).await;
    }
    // Ended executions are listed by the time of their dispatch, too.
    let claimed = world.claim(2).at(t(9)).await;
    world.apply(claimed[0].complete("receipt").at(t(9))).await;
    world.apply(claimed[1].fail(declined()).at(t(9))).await;
    world.apply(cancel(ids[2], 0, t(9))).await;
    let newest_first = |ids: &[TaskId]| ids.iter().rev().copied().collect::<Vec<_>>();
    let micro = Duration::from_micros(1);

    let (since, until) = (Filter::default().since(t(1)), Filter::default().until(t(3)));
    same("since a moment", list(&world, since).await, newest_first(&ids[1..]));
    same("until a moment", list(&world, until).await, newest_first(&ids[..3]));
    let between = || Filter::default().since(t(1)).until(t(3));
    same("between two moments", list(&world, between()).await, newest_first(&ids[1..3]));
    same("and of a function", list(&world, between().function("ship")).await, [ids[1]]);
    let cancelled = between().status(ExecutionStatus::Cancelled);
    same("and of a status", list(&world, cancelled).await, [ids[2]]);
    let exact = Filter::default().since(t(3)).until(t(3) + micro);
    same("in one microsecond", list(&world, exact).await, [ids[3]]);
    same("in no time", list(&world, Filter::default().since(t(3)).until(t(3))).await, []);
    same("in reverse", list(&world, Filter::default().since(t(3)).until(t(1))).await, []);
    let ever = Filter::default().since(Timestamp::from_micros(i64::MIN)).until(Timestamp::MAX);
    same("at any time", list(&world, ever).await, newest_first(&ids));
}

async fn pages_of_a_time_have_neither_gaps_nor_doubles(world: World) {
    let mut ids = Vec::new();
    for second in 0..12 {
        let call = world.call("charge");
        ids.push(call.id);
        // Not in the order of the ids.
        world.apply(call.start(t(second * 5 % 12))).await;
    }
    let expected = (0..12).rev().filter(|n| (3..9).contains(&(n * 5 % 12))).map(|n| ids[n]);
    let filter = Filter::default().since(t(3)).until(t(9));

    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = world.store().list(&filter, before, 2).await.expect("a page");
        read.extend(page.iter().map(|view| view.id.root()));
        before = page.last().map(|view| view.id);
        if page.len() < 2 {
            break;
        }
    }

    same("read", read, expected.collect::<Vec<_>>());
}

/// A list by time reads the ids of the time and of a day around it: see [`Filter::ids`].
async fn an_id_of_another_day_is_not_listed_by_time(world: World) {
    let day = 24 * 3600;
    let drawn = |second: i64| {
        let millis = u128::try_from(t(second).as_micros() / 1_000).expect("after the epoch");
        let rest = world.id().as_uuid().as_u128() & (u128::MAX >> 48);
        TaskId::from_uuid(Uuid::from_u128((millis << 80) | rest))
    };
    let (old, young) = (drawn(1 - day), drawn(day - 1));
    let (older, younger) = (drawn(-1 - day), drawn(day + 1));
    let random = TaskId::from_uuid(Uuid::from_u128(u128::MAX >> 1));
    for id in [old, young, older, younger, random] {
        world.dispatch(world.call("charge").with_id(id)).await;
    }

    let since = Filter::default().since(t(0));
    same("since a moment", list(&world, since).await, [random, younger, young, old]);
    let until = Filter::default().until(t(0) + Duration::from_micros(1));
    same("until a moment", list(&world, until).await, [young, old, older]);
    same("at any time", list(&world, Filter::default()).await.len(), 5);
}

async fn a_listed_one_is_seen_as_it_is(world: World) {
    let call = world.call("charge").on("eu").tags(["gpu", "a"]).priority(-3).expires(t(900));
    let id = world.dispatch(call).await;
    world.apply(world.claim_one(t(2)).await.retry(t(3), declined())).await;

    let listed = world.store().list(&Filter::default(), None, 9).await.expect("a page").remove(0);

    let (function, queue) = ("charge".to_owned(), "eu".to_owned());
    let mut expected = ExecutionView::new(id.execution(), function, queue, ExecutionStatus::Running, t(0));
    expected.tags = ["a".to_owned(), "gpu".to_owned()].into();
    expected.priority = -3;
    expected.attempts = 1;
    expected.expires_at = Some(t(900));
    expected.started_at = Some(t(2));
    same("listed", listed, expected.clone());
    same("read by its id", world.execution(id).await, Some(expected));
    world.apply(world.claim_one(t(3)).await.complete("receipt").at(t(4))).await;
    let listed = world.store().list(&Filter::default(), None, 9).await.expect("a page").remove(0);
    same("its result", (listed.result, listed.ended_at), (Some(Ok(text("receipt"))), Some(t(4))));
}

async fn executions_are_counted_by_status(world: World) {
    same("of an empty store", world.store().count(usize::MAX).await.expect("counts"), BTreeMap::new());
    one_of_each(&world).await;
    world.dispatch_many(3, || world.call("charge")).await;
    // Steps are not listed.
    let root = world.claim(1).await.remove(0);
    world.apply(root.keep().with(world.call("ship"))).await;

    let counts = world.store().count(usize::MAX).await.expect("counts");

    let expected: BTreeMap<_, _> = ExecutionStatus::ALL
        .iter()
        .map(|status| match status {
            ExecutionStatus::Pending => (*status, 3),
            ExecutionStatus::Running => (*status, 2),
            _ => (*status, 1),
        })
        .collect();
    same("counts", counts, expected);
}

async fn no_more_executions_are_counted_than_asked_for(world: World) {
    one_of_each(&world).await;
    world.dispatch_many(3, || world.call("charge")).await;
    let dead = (0..3).map(|_| world.call("charge").done(t(0), Err(declined())).start(t(0)));
    world.commit_all(dead.collect::<Vec<_>>()).await;

    let counts = world.store().count(2).await.expect("counts");

    // Of the open ones, two in all; of each way to end, two.
    let open = counts.iter().filter(|(status, _)| !status.is_terminal()).map(|(_, count)| count);
    same("open ones", open.sum::<u64>(), 2);
    let mut ended = counts;
    ended.retain(|status, _| status.is_terminal());
    let expected: BTreeMap<_, _> = ExecutionStatus::ALL
        .iter()
        .filter(|status| status.is_terminal())
        .map(|status| (*status, if *status == ExecutionStatus::Failed { 2 } else { 1 }))
        .collect();
    same("ended ones", ended, expected);
    same("none", world.store().count(0).await.expect("counts"), BTreeMap::new());
}

async fn a_purged_one_is_not_listed(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.complete("receipt")).await;
    let other = world.dispatch(world.call("charge")).await;

    world.purge(t(1), 9).await;

    same("listed", list(&world, Filter::default()).await, [other]);
    same(
        "counted",
        world.store().count(usize::MAX).await.expect("counts"),
        BTreeMap::from([(ExecutionStatus::Pending, 1)]),
    );
}

async fn lanes(world: &World, now: Timestamp) -> Vec<LaneView> {
    let lanes = world.store().lanes(now, usize::MAX).await.expect("lanes");
    let mut lanes: Vec<_> = lanes.into_iter().filter(|view| view.due + view.delayed > 0).collect();
    lanes.sort_by(|one, other| one.lane.cmp(&other.lane));
    lanes
}

async fn what_waits_in_each_lane_is_counted(world: World) {
    for due in [3, 1, 2, 50, 60] {
        world.dispatch(world.call("charge").due(t(due)).priority(5)).await;
    }
    world.dispatch(world.call("charge").due(t(4)).on("eu")).await;
    world.dispatch(world.call("charge").due(t(70)).tags(["gpu"])).await;

    let seen = lanes(&world, t(10)).await;

    let charge = |queue: &str| Lane::new(queue, "charge");
    let tagged = waiting(charge("default").with_tags(["gpu"]), 0, 1, None);
    same(
        "lanes",
        seen,
        [waiting(charge("default"), 3, 2, Some(t(1))), tagged, waiting(charge("eu"), 1, 0, Some(t(4)))],
    );
}

/// A lane as it should be read.
fn waiting(lane: Lane, due: u64, delayed: u64, oldest_due_at: Option<Timestamp>) -> LaneView {
    let mut view = LaneView::new(lane);
    (view.due, view.delayed, view.oldest_due_at) = (due, delayed, oldest_due_at);
    view
}

async fn the_fullest_lanes_are_read_if_there_are_more_than_asked_for(world: World) {
    for (function, due) in [("charge", 1), ("mail", 1), ("mail", 2), ("ship", 1), ("ship", 50), ("ship", 60)]
    {
        world.dispatch(world.call(function).due(t(due))).await;
    }
    let read = async |max| {
        let lanes = world.store().lanes(t(10), max).await.expect("lanes");
        lanes.into_iter().map(|view| (view.lane.function, view.due, view.delayed)).collect::<Vec<_>>()
    };

    let (mail, ship) = (("mail".to_owned(), 2, 0), ("ship".to_owned(), 1, 2));
    same("two of three", read(2).await, [mail.clone(), ship]);
    same("one", read(1).await, [mail]);
    same("none", read(0).await, []);
}

async fn what_does_not_wait_is_not_counted(world: World) {
    let root = world.running("checkout").await;
    let (one, two) = (world.call("ship").due(t(1)), world.call("ship").due(t(2)));
    let parked =
        root.park_for(Wait::for_next(0).until(Some(t(5)))).with(world.sleep(t(3))).with(world.map("mail"));
    world.apply(parked.with(one).with(two)).await;
    let ended = world.claim(9).at(t(2)).await;
    world.apply(ended[0].complete("parcel").at(t(3))).await;

    // Running tasks do not wait; a parked task waits once its moment or its completion has come.
    let seen = lanes(&world, t(2)).await;
    same("before the moment", seen.len(), 0);
    let seen = lanes(&world, t(4)).await;
    let expected = waiting(Lane::new("default", "checkout"), 1, 0, Some(t(3)));
    same("after a completion", seen, [expected]);
}

async fn what_runs_is_listed_last_claimed_first(world: World) {
    let peer = world.peer().await;
    let mut ids = Vec::new();
    for second in 0..5 {
        let id = world.dispatch(world.call("charge").due(t(second)).on("eu")).await;
        let worker = if second % 2 == 0 { &world } else { &peer };
        same("claimed", worker.claim_one(t(second)).await.task.id, id);
        ids.push(id);
    }
    let parked = world.running("checkout").await;
    world.apply(parked.park().with(world.sleep(t(9)))).await;
    world.dispatch(world.call("charge").due(t(99))).await;
    ids.reverse();

    let running = world.store().running(99).await.expect("running");

    same("which", running.iter().map(|view| view.id).collect::<Vec<_>>(), ids.clone());
    let (last, before) = (&running[0], &running[1]);
    same("names", (last.function.as_str(), last.queue.as_str()), ("charge", "eu"));
    same("its execution", last.execution, ids[0].execution());
    same("moments", (last.lease_until, last.started_at), (Some(t(34)), Some(t(4))));
    same("workers", (last.worker, before.worker), (Some(world.worker), Some(peer.worker)));
    let two = world.store().running(2).await.expect("running");
    same("no more than asked for", two.iter().map(|view| view.id).collect::<Vec<_>>(), &ids[..2]);
}

async fn a_lost_task_is_still_listed_as_running(world: World) {
    let claimed = world.running("charge").await;

    let running = world.crash().await.store().running(9).await.expect("running");

    same("listed", running.len(), 1);
    same("its lease", running[0].lease_until, Some(claimed.lease.until));
}

async fn reading_changes_nothing(world: World) {
    one_of_each(&world).await;
    let before = world.snapshot().await;

    list(&world, Filter::default()).await;
    world.store().count(usize::MAX).await.expect("counts");
    world.store().lanes(t(9), usize::MAX).await.expect("lanes");
    world.store().running(9).await.expect("running");
    world.store().dead_letter_stats(usize::MAX).await.expect("stats");

    world.snapshot().await.expect_same("reading changed something", &before);
}

/// A filter compares bytes, whatever the text means to a database.
async fn names_and_tags_are_compared_whole(world: World) {
    let texts = ["eu", "EU", "eu-west", "e", "e_", "e%", "%", "\"eu\"", "e'u", "é", "e\u{301}", "eu,us"];
    let mut ids = Vec::new();
    for text in texts {
        ids.push(world.dispatch(world.call("charge").tags([text, "all"])).await);
        world.dispatch(world.call(text)).await;
        world.dispatch(world.call("charge").on(text)).await;
    }

    for (text, id) in texts.iter().zip(&ids) {
        let by_tag = list(&world, Filter::default().tag(*text)).await;
        same(&format!("the tag {text:?}"), by_tag, [*id]);
        let by_function = list(&world, Filter::default().function(*text)).await;
        same(&format!("the function {text:?}"), by_function.len(), 1);
        let by_queue = list(&world, Filter::default().queue(*text)).await;
        same(&format!("the queue {text:?}"), by_queue.len(), 1);
        let none = list(&world, Filter::default().queue(*text).tag("all")).await;
        same(&format!("the queue {text:?} with a tag of another"), none, []);
    }
    let all = list(&world, Filter::default().tag("all")).await;
    same("a tag that all have", all, ids.into_iter().rev().collect::<Vec<_>>());
}

/// An execution that matches all the time is listed once. Executions that are dispatched meanwhile are newer than all later
/// pages, and executions that stop matching leave no gap.
async fn pages_of_a_filter_have_neither_gaps_nor_doubles_while_others_come_and_go(world: World) {
    let draft = |n: usize| {
        let call = world.call(["charge", "ship"][n % 2]);
        if n.is_multiple_of(3) { call.tags(["eu", "big"]) } else { call.tags(["us"]) }
    };
    let mut expected = Vec::new();
    for n in 0..60 {
        let id = world.dispatch(draft(n)).await;
        if n % 6 == 0 {
            expected.push(id);
        }
    }
    expected.reverse();
    let filter = Filter::default().status(ExecutionStatus::Pending).function("charge").tag("eu");

    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = world.store().list(&filter, before, 3).await.expect("a page");
        read.extend(page.iter().map(|view| view.id.root()));
        before = page.last().map(|view| view.id);
        if page.len() < 3 {
            break;
        }
        // One execution that was read no longer matches, and two that match are new.
        world.apply(cancel(read[read.len() - 3], 0, t(1))).await;
        world.dispatch(draft(0)).await;
        world.peer().await.dispatch(draft(6)).await;
    }

    same("read", read, expected);
}

/// Waits for signals, for executions and for the result of an equal call, sleeps, maps, and tasks that were asked to end: no
/// worker could claim any of these.
async fn what_nobody_may_claim_does_not_wait(world: World) {
    let other = world.running("charge").await;
    let root = world.running("checkout").await;
    let holder = world.spawn(root.keep(), world.call("ship").keyed(key("order 7"))).await;
    let turn = later(&root, 1, 0).park().with(world.wait(root.task.id, "approval"));
    let turn = turn.with(world.join(other.task.id)).with(world.sleep(t(1))).with(world.map("mail"));
    world.apply(turn.with(world.call("ship").keyed(key("order 7")))).await;
    let ended = world.dispatch(world.call("charge")).await;
    world.apply(cancel(ended, 0, t(1))).await;
    world.apply(cancel(root.task.id, 60, t(1))).await;

    same("lanes", lanes(&world, t(9)).await, []);
    let running: Vec<_> =
        world.store().running(9).await.expect("running").iter().map(|view| view.id).collect();
    same("what runs", running.len(), 2);
    same("and tidies up", running.contains(&holder.task.id), true);
}

/// The listed end of a lease is the renewed one; a step names the execution that it belongs to.
async fn a_renewed_lease_and_the_execution_of_a_step_are_seen(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.park(), world.call("ship").on("parcels")).await;
    world.store().renew(&[step.lease], t(0), t(500)).await.expect("renew");

    let running = world.peer().await.store().running(9).await.expect("running");

    let seen: Vec<_> = running.iter().map(|view| (view.id, view.execution, view.lease_until)).collect();
    same("what runs", seen, [(step.task.id, root.task.tree.execution, Some(t(500)))]);
    same("its queue", running[0].queue.as_str(), "parcels");
    world.apply(step.complete("shipped")).await;
    same("once it has ended", world.store().running(9).await.expect("running"), []);
}

async fn executions_are_listed_by_id_whenever_they_were_written(world: World) {
    let drafts: Vec<_> = (0..6).map(|_| world.call("charge")).collect();
    let mut expected: Vec<_> = drafts.iter().map(|draft| draft.id).collect();
    expected.reverse();
    for (n, draft) in drafts.into_iter().enumerate().rev() {
        world.apply(draft.start(t(9 - i64::try_from(n).expect("a small number")))).await;
    }

    same("newest first", list(&world, Filter::default()).await, expected.clone());
    let page =
        world.store().list(&Filter::default(), Some(expected[2].execution()), 2).await.expect("a page");
    same("newest first", page.iter().map(|view| view.id.root()).collect::<Vec<_>>(), &expected[3..5]);
}

async fn of_leases_that_end_together_the_youngest_comes_first(world: World) {
    let mut ids = world.dispatch_many(5, || world.call("charge")).await;
    world.claim(9).await;
    ids.reverse();

    let running = world.store().running(3).await.expect("running");

    same("running", running.iter().map(|view| view.id).collect::<Vec<_>>(), &ids[..3]);
}

/// A reader of pages names the last execution that it read, which may be gone.
async fn a_page_may_begin_behind_what_is_gone(world: World) {
    let ended = async |world: &World| {
        let claimed = world.running("charge").await;
        world.apply(claimed.complete("receipt")).await;
        claimed.task.id
    };
    let (old, gone) = (ended(&world).await, world.call("charge"));
    let gone_id = gone.id;
    let young = world.dispatch(world.call("charge").due(t(99))).await;
    world.apply(gone.done(t(0), Ok(text("receipt"))).start(t(-9))).await;
    same("purged", world.purge(t(-1), 9).await, 1);
    let page = world.store().list(&Filter::default(), Some(gone_id.execution()), 9).await.expect("a page");
    same("executions", page.iter().map(|view| view.id.root()).collect::<Vec<_>>(), [old]);
    world.apply(cancel(young, 0, t(0))).await;

    let mut dead = Vec::new();
    for _ in 0..3 {
        let claimed = world.running("charge").await;
        world.apply(claimed.fail(declined())).await;
        dead.push(claimed.task.id);
    }
    world.apply(discard(dead[1])).await;
    let page = world.store().dead_letters(Some(dead[1].execution()), 9).await.expect("a page");
    same("dead letters", page.iter().map(|letter| letter.execution.id.root()).collect::<Vec<_>>(), [dead[0]]);

    let root = world.running("checkout").await;
    let steps: Vec<_> = (0..3).map(|_| world.call("ship").due(t(99))).collect();
    let ids: Vec<_> = steps.iter().map(|step| step.id).collect();
    world.apply(steps.into_iter().fold(root.keep(), Turn::with)).await;
    world.apply(later(&root, 1, 0).retry(t(99), declined()).erase(ids[1])).await;
    let page = world.store().tasks(root.task.tree.execution, Some(ids[1]), 9).await.expect("a page");
    same("tasks", page.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[2]]);

    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let id = map.id;
    let items = [0, 4, 9, 10, 100].map(|seq| world.call("ship").seq(seq).due(t(99)));
    world.apply(owner.keep().with(map).items(id, items).feed(id, 5, None)).await;
    let page = world.store().items(id, Seq(3), 3).await.expect("a page");
    same("items", page.iter().map(|item| item.seq.0).collect::<Vec<_>>(), [4, 9, 10]);
}
