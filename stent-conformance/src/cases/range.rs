//! The ends of ranges: numbers, moments, ids and texts of any size come back unchanged and keep their order.

use stent_core::backend::Filter;
use uuid::Uuid;

use super::words::*;
use crate::say::{count, set};

list! { range:
    G9 due_times_a_microsecond_apart_keep_their_order_at_every_priority,
    G9 due_times_reach_from_end_to_end,
    G15 deadlines_reach_from_end_to_end,
    G2 leases_are_as_long_as_was_said,
    G9 ids_of_any_bits_keep_their_order,
    G12 a_result_is_good_to_the_microsecond,
    G12 what_is_kept_is_kept_for_good,
    G10 long_names_are_told_apart_to_their_last_byte,
    G10 names_are_not_normalized,
    G14 empty_and_none_are_told_apart,
    G14 kinds_of_failures_are_any_texts,
    G14 delays_reach_from_end_to_end,
}

const MICROSECOND: Duration = Duration::from_micros(1);

/// A hundred years.
const CENTURY: Duration = Duration::from_hours(24 * 365 * 100);

/// A store that encodes priority and time in one number is likely to use a double, which cannot hold both.
async fn due_times_a_microsecond_apart_keep_their_order_at_every_priority(world: World) {
    for priority in [i16::MIN, -1_000, -20, -1, 0, 1, 20, 1_000, i16::MAX] {
        let mut expected = Vec::new();
        for micros in [3, 1, 2, 0, 4] {
            let due = t(5) + MICROSECOND * micros;
            expected.push((due, world.dispatch(world.call("charge").priority(priority).due(due)).await));
        }
        expected.sort_unstable();

        same("next moment", world.claim(9).at(t(5) - MICROSECOND).next_due().await, Some(t(5)));
        let ids: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
        same("due first", world.claim(9).at(t(5)).lease(9_999).ids().await, &ids[..1]);
        same("order", world.claim(9).at(t(6)).lease(9_999).ids().await, &ids[1..]);
    }
}

/// From before the epoch to the last representable moment, each a microsecond from a value that a double cannot distinguish.
async fn due_times_reach_from_end_to_end(world: World) {
    let micros = [i64::MIN, -(1 << 53) - 1, -10, -9, -1, 0, 9, 10, 99, (1 << 53) + 1, i64::MAX - 1, i64::MAX];
    let mut ids = Vec::new();
    for micros in micros {
        let due = Timestamp::from_micros(micros);
        ids.push(world.dispatch(world.call("charge").due(due)).await);
        same("in the timeline", world.task(ids[ids.len() - 1]).await.ready_at, Some(due));
    }

    // The younger first, so that age does not stand in for the moment.
    let early = world.dispatch(world.call("charge").due(Timestamp::from_micros(-11))).await;
    ids.insert(2, early);
    let claimed = world.claim(99).at(t(0)).await;
    same("order", claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), &ids[..10]);
    world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt"))).await;
    for (n, micros) in [(1 << 53) + 1, i64::MAX - 1, i64::MAX].into_iter().enumerate() {
        let due = Timestamp::from_micros(micros);
        let before = Timestamp::from_micros(micros - 1);
        same("next moment", world.claim(9).at(before).next_due().await, Some(due));
        let claimed = world.claim(9).at(due).await;
        same("due", claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), &ids[10 + n..=10 + n]);
        world.apply(claimed[0].complete("receipt")).await;
    }
}

async fn deadlines_reach_from_end_to_end(world: World) {
    let ends = [i64::MIN, -1, 0, 1, (1 << 53) + 1, i64::MAX - 1, i64::MAX].map(Timestamp::from_micros);
    let mut ids = Vec::new();
    for end in ends {
        ids.push(world.dispatch(world.call("charge").due(Timestamp::MAX).expires(end)).await);
        let view = world.execution(ids[ids.len() - 1]).await.expect("is there");
        same("deadline", view.expires_at, Some(end));
    }

    same("over", world.expire_all(t(0)).await, &ids[..4]);
    for (n, end) in ends.iter().enumerate().skip(4) {
        let before = Timestamp::from_micros(end.as_micros() - 1);
        same("next moment", world.claim(0).at(before).with::<Transition>([]).await.next_due, Some(*end));
        same("over", world.expire_all(*end).await, [ids[n]]);
    }

    // A grace without end is a grace, too.
    let running = world.running("charge").await;
    let forever = stent_core::decide::cancel(running.task.id.execution(), Duration::MAX, t(0));
    world.apply(forever).await;
    same("over after a century", world.expired(t(0) + CENTURY).await, Vec::new());
    same("told to end", world.stopping(t(1)).await, [running.task.id]);
    world.apply(running.complete("late")).await;
}

/// Some queues have a longest lease, such as twelve hours.
async fn leases_are_as_long_as_was_said(world: World) {
    let hours = [13, 24 * 8, 24 * 400].map(Duration::from_hours);
    for length in hours.into_iter().chain([CENTURY, Duration::MAX]) {
        let end = t(0) + length;
        for renewed in [true, false] {
            world.dispatch(world.call("charge")).await;
            let lease = if renewed { 30 } else { length.as_secs() };
            let claimed = world.claim(9).lease(lease).await.remove(0);
            if renewed {
                let renewals = world.store().renew(&[claimed.lease], t(0), end).await.expect("renew");
                same("the renewal", renewals, [Renewal::Renewed]);
            }

            let before = if renewed { "renewed: claimed before the end" } else { "claimed before the end" };
            same(before, world.claim(9).at(end - MICROSECOND).await.len(), 0);
            let again = world.claim_one(end).await;
            same("claimed at the end", again.task.id, claimed.task.id);
            world.apply(again.complete("receipt").at(end)).await;
        }
    }
}

/// Ids are 128 unsigned bits, compared from the first bit to the last. All zeros and all ones are included: RFC 9562 does not
/// count these as ids.
async fn ids_of_any_bits_keep_their_order(world: World) {
    let bits = [
        1,
        0x0000_0000_0000_0001_0000_0000_0000_0000,
        0x0000_00ff_0000_0000_8000_0000_0000_0000,
        0x0000_0100_0000_0000_0000_0000_0000_0000,
        0x7fff_ffff_ffff_ffff_ffff_ffff_ffff_ffff,
        0x8000_0000_0000_0000_0000_0000_0000_0000,
        0xff00_0000_0000_0000_0000_0000_0000_0001,
        u128::MAX - 1,
    ];
    let ids = bits.map(|bits| TaskId::from_uuid(Uuid::from_u128(bits)));
    let reversed: Vec<_> = ids.iter().rev().copied().collect();
    // Written in an order that is neither ascending nor descending.
    for n in [3, 0, 7, 1, 6, 2, 5, 4] {
        world.dispatch(world.call("charge").with_id(ids[n])).await;
    }

    let listed = world.store().list(&Filter::default(), None, 9).await.expect("a page");
    same("listed", listed.iter().map(|view| view.id.root()).collect::<Vec<_>>(), reversed);
    for pair in ids.windows(2) {
        let after =
            world.store().list(&Filter::default(), Some(pair[1].execution()), 1).await.expect("a page");
        same("listed next", after[0].id.root(), pair[0]);
    }
    same("claimed", world.claim(99).lease(999).ids().await, ids);

    let root = world.running("checkout").await;
    let steps = bits.map(|bits| TaskId::from_uuid(Uuid::from_u128(bits ^ 0x10)));
    let turn = [3, 0, 7, 1, 6, 2, 5, 4].into_iter();
    let turn =
        turn.fold(root.keep(), |turn, n: usize| turn.with(world.call("ship").due(t(99)).with_id(steps[n])));
    world.apply(turn).await;
    let mut expected = steps.to_vec();
    expected.push(root.task.id);
    expected.sort_unstable();
    let mut read = Vec::new();
    while let Some(task) =
        world.store().tasks(root.task.tree.execution, read.last().copied(), 1).await.expect("a page").first()
    {
        read.push(task.id);
    }
    same("timeline", read, expected.clone());
    same(
        "timeline",
        world.timeline(root.task.tree.execution).await.iter().map(|task| task.id).collect::<Vec<_>>(),
        expected,
    );
}

async fn a_result_is_good_to_the_microsecond(world: World) {
    let call = || world.call("charge").keyed(key("k")).good_for(Duration::from_micros(1_500_001));
    world.dispatch(call()).await;
    world.apply(world.claim_one(t(0)).await.complete("receipt")).await;
    let over = t(0) + Duration::from_micros(1_500_001);

    world.apply(call().start(over - MICROSECOND)).await;
    same("just before its time is over", world.claim(9).at(t(9)).await.len(), 0);
    world.apply(call().start(over)).await;
    same("when it is over", world.claim(9).at(t(9)).await.len(), 1);
}

/// Neither results without a time limit, nor those with a limit beyond the last representable moment, nor keys and signals.
async fn what_is_kept_is_kept_for_good(world: World) {
    for (name, ttl) in [("a", None), ("b", Some(Duration::MAX)), ("c", Some(CENTURY * 2))] {
        let call = || {
            let call = world.call("charge").keyed(key(name));
            ttl.map_or(call.clone(), |ttl| call.good_for(ttl))
        };
        world.dispatch(call()).await;
        world.apply(world.claim_one(t(0)).await.complete("receipt")).await;
        let hit = call();
        let id = hit.id;
        world.apply(hit.start(t(0) + CENTURY)).await;
        same("a result", world.claim(9).at(t(0) + CENTURY).await.len(), 0);
        same("a hit", world.result(id).await, Some(Ok(text("receipt"))));
    }

    let under = Some(dispatch_key("order 7"));
    let first = world.call("charge");
    let first_id = first.id;
    world.apply(first.start_under(under, t(0))).await;
    let second = world.call("charge").start_under(under, t(0) + CENTURY);
    same("a dispatch", world.commit(second).await, Outcome::Exists(first_id.execution()));
    world.apply(world.claim_one(t(0)).await.complete("receipt")).await;

    let root = world.running("checkout").await;
    world.signal(root.task.id, "approval", "yes").await;
    let waiting = root.park().with(world.wait(root.task.id, "approval")).at(t(0) + CENTURY);
    world.apply(waiting).await;
    same("a signal", world.claim(9).at(t(0) + CENTURY).await.len(), 1);
}

async fn long_names_are_told_apart_to_their_last_byte(world: World) {
    let long = |last: char| format!("{}{last}", "n".repeat(limits::NAME_BYTES_MAX - 1));
    let names = [long('a'), long('b')];
    let mut expected = Vec::new();
    for name in &names {
        let ids = [
            world.dispatch(world.call("tagged").tags([name.as_str()])).await,
            world.dispatch(world.call("queued").on(name)).await,
            world.dispatch(world.call(name)).await,
        ];
        expected.push(ids);
    }

    for (name, [tagged, queued, called]) in names.iter().zip(expected) {
        let claimed = world.claim(9).functions(["tagged"]).tags([name.as_str()]).await;
        same("tag", claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), [tagged]);
        same("its text", claimed[0].task.lane.tags.contains(name), true);
        same("queue", world.claim(9).functions(["queued"]).queues([name.as_str()]).ids().await, [queued]);
        same("function", world.claim(9).functions([name.as_str()]).ids().await, [called]);
    }

    let root = world.running("checkout").await;
    let said = names.iter().fold(root.keep(), |turn, name| turn.say(count(name, 1)).say(set(name, name)));
    world.apply(said.with(world.inline(&names[0], "note")).with(world.inline(&names[1], "note"))).await;
    let notes = world.notes(root.task.id).await;
    same("counters", notes.counters.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    same("states", notes.states.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    let steps: Vec<_> =
        world.timeline(root.task.tree.execution).await.into_iter().skip(1).map(|task| task.name).collect();
    same("steps", steps, names);
}

/// Names that look alike are different names.
async fn names_are_not_normalized(world: World) {
    let names =
        ["", " ", "é", "e\u{301}", "É", "ß", "ss", "a", "a ", "a\u{200b}", "\u{212b}", "\u{c5}", "A", "ａ"];
    for name in names {
        world.dispatch(world.call("tagged").tags([name])).await;
    }
    for name in names {
        let tagged = world.claim(9).functions(["tagged"]).tags([name]).await;
        let tags: Vec<_> = tagged.iter().flat_map(|claimed| claimed.task.lane.tags.clone()).collect();
        same("tag", tags, [name]);
    }
    // Functions and queues have names.
    let named = names.iter().filter(|name| !name.is_empty()).copied();
    for name in named.clone() {
        world.dispatch(world.call("queued").on(name)).await;
        world.dispatch(world.call(name)).await;
    }
    for name in named {
        let queued = world.claim(99).functions(["queued"]).queues([name]).await;
        let queues: Vec<_> = queued.iter().map(|claimed| claimed.task.lane.queue.as_str()).collect();
        same("queue", queues, [name]);
        let called = world.claim(99).functions([name]).await;
        let functions: Vec<_> = called.iter().map(|claimed| claimed.task.lane.function.as_str()).collect();
        same("function", functions, [name]);
    }

    let root = world.running("checkout").await;
    let said = names.iter().fold(root.keep(), |turn, name| turn.say(count(name, 1)).say(set(name, name)));
    world.apply(said).await;
    let notes = world.notes(root.task.id).await;
    same("counters", notes.counters.values().sum::<i64>(), 14);
    same("counters of their own", notes.counters.len(), names.len());
    for name in names {
        same("states", notes.states.get(name), Some(&text(name)));
    }
}

async fn empty_and_none_are_told_apart(world: World) {
    for retry_for in [None, Some(Vec::new()), Some(vec![String::new()])] {
        let mut policy = RetryPolicy::default();
        policy.retry_for = retry_for;
        world.dispatch(world.call("charge").retry(policy.clone())).await;
        let claimed = world.claim_one(t(0)).await;
        same("policy", claimed.task.retry.clone(), Some(policy));
        world.apply(claimed.complete("receipt")).await;
    }

    let failure = |trace: Option<&str>, data, causes: &[&str]| {
        let mut failure = declined();
        failure.trace = trace.map(str::to_owned);
        failure.data = data;
        failure.causes = causes.iter().map(|cause| (*cause).to_owned()).collect();
        failure
    };
    for failure in [
        failure(None, None, &[]),
        failure(Some(""), None, &[]),
        failure(None, Some(Payload::empty()), &[]),
        failure(None, Some(Payload::new("text/plain", Vec::new())), &[]),
        failure(None, None, &[""]),
        failure(None, None, &["", ""]),
    ] {
        let parent = world.running("checkout").await;
        let step = world.spawn(parent.park(), world.call("charge")).await;
        world.apply(step.retry(t(0), failure.clone())).await;
        same(
            "failure of a try",
            world.ended_claims(step.task.id).await[0].failure.clone(),
            Some(failure.clone()),
        );
        world.apply(world.claim_one(t(0)).await.fail(failure.clone())).await;
        let again = world.claim_one(t(0)).await;
        same("failure of a step", given(&again.steps, step.task.id), Some(Err(failure.clone())));
        world.apply(again.fail(failure.clone())).await;
        same("failure of an execution", world.result(parent.task.id).await, Some(Err(failure)));
    }
}

async fn kinds_of_failures_are_any_texts(world: World) {
    let kinds = ["a,b", "a", "b", " ", "", "\"", "a\nb", "[]", "null", "{}", "ü;'"];
    let policy = RetryPolicy::default().retry_for(kinds);
    world.dispatch(world.call("charge").retry(policy.clone())).await;

    same("policy", world.claim_one(t(0)).await.task.retry, Some(policy));
}

async fn delays_reach_from_end_to_end(world: World) {
    for delay in [Duration::ZERO, Duration::from_nanos(1), Duration::new(1, 999_999_999), Duration::MAX] {
        for factor in [1.0, 1.000_000_000_000_000_2, f64::MAX] {
            let policy = RetryPolicy::default().initial_delay(delay).max_delay(delay).backoff_factor(factor);
            world.dispatch(world.call("charge").retry(policy.clone())).await;
            let claimed = world.claim_one(t(0)).await;
            same("policy", claimed.task.retry.clone(), Some(policy));
            world.apply(claimed.complete("receipt")).await;
        }
    }
}
