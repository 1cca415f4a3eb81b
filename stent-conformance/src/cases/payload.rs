//! Bytes, names and failures come back as they were written.

use super::words::*;

list! { payload:
    G14 arguments_come_back_byte_by_byte,
    G14 results_come_back_byte_by_byte,
    G14 results_of_steps_come_back_byte_by_byte,
    G14 results_of_items_come_back_byte_by_byte,
    G14 a_large_payload_comes_back_whole,
    G14 content_types_come_back,
    G14 arguments_keep_their_type_until_the_end,
    G14 types_come_back_wherever_a_value_is_read,
    G14 failures_come_back_whole,
    G14 names_of_any_text_come_back_and_are_told_apart,
    G14 retry_policies_come_back_exactly,
    G14 traces_come_back_as_they_were,
    G14 moments_come_back_to_the_microsecond,
    G14 positions_and_counts_reach_their_ends,
}

fn payloads() -> Vec<Payload> {
    let every_byte: Vec<u8> = (0..=255).collect();
    [
        Vec::new(),
        vec![0],
        vec![0, 0, 0],
        every_byte,
        b"\xff\xfe not utf-8 \xc3\x28".to_vec(),
        b"'); DROP TABLE stent_task; --".to_vec(),
        "ünïcödé \u{1f980} \u{0} \r\n\t\"quoted\" \\backslash\\ %s {} $1 ?1 :a".as_bytes().to_vec(),
        b"false".to_vec(),
        b"null".to_vec(),
        vec![0xf6],
        vec![b'x'; 70_000],
    ]
    .map(|bytes| Payload::new("application/octet-stream", bytes))
    .into()
}

#[track_caller]
fn same_bytes(what: &str, actual: &Payload, expected: &Payload) {
    // `Debug` shows lengths only, so this says where the bytes differ.
    let at = actual.bytes().iter().zip(expected.bytes()).position(|(a, b)| a != b);
    assert!(
        actual == expected,
        "{what}\n  expected: {expected:?}\n    actual: {actual:?}\n  first difference: {at:?}"
    );
}

async fn arguments_come_back_byte_by_byte(world: World) {
    for payload in payloads() {
        world.dispatch(world.call("charge").args(payload.clone())).await;
        let claimed = world.claim_one(t(0)).await;
        same_bytes("arguments", &claimed.task.args, &payload);
        world.apply(claimed.complete("receipt")).await;
    }
}

async fn results_come_back_byte_by_byte(world: World) {
    for payload in payloads() {
        let claimed = world.running("charge").await;
        let turn = claimed.turn(stent_core::transition::Next::End(Ok(payload.clone())));
        world.apply(turn).await;
        let result = world.execution(claimed.task.id).await.expect("is there").result;
        same_bytes("result", &result.expect("has ended").expect("has completed"), &payload);
    }
}

async fn results_of_steps_come_back_byte_by_byte(world: World) {
    let parent = world.running("checkout").await;
    let mut turn = parent.park();
    for payload in payloads() {
        turn = turn.with(world.inline("render", "").done(t(0), Ok(payload)));
    }
    world.apply(turn).await;

    let again = world.claim_one(t(0)).await;

    same("number of steps", again.steps.len(), payloads().len());
    for (step, payload) in again.steps.iter().zip(payloads()) {
        let StepState::Done { result: Ok(result), .. } = &step.state else { panic!("{step:?} is not done") };
        same_bytes("result", result, &payload);
    }
}

async fn results_of_items_come_back_byte_by_byte(world: World) {
    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let id = map.id;
    let total = u32::try_from(payloads().len()).expect("a small number");
    let items = (0..).zip(payloads()).map(|(seq, payload)| world.call("ship").seq(seq).args(payload));
    world.apply(owner.park().with(map).items(id, items).feed(id, total, Some(total))).await;
    for item in world.claim(99).await {
        let result = item.task.args.clone();
        world.apply(item.turn(stent_core::transition::Next::End(Ok(result)))).await;
    }

    for (item, payload) in world.items(id).await.into_iter().zip(payloads()) {
        same_bytes("arguments", &item.args, &payload);
        same_bytes("result", &item.result.expect("has ended").expect("has completed"), &payload);
    }
}

async fn a_large_payload_comes_back_whole(world: World) {
    let mut chance = Chance::new(3);
    let bytes: Vec<u8> =
        (0..limits::PAYLOAD_BYTES_MAX / 8).flat_map(|_| chance.next().to_le_bytes()).collect();
    let payload = Payload::new("application/octet-stream", bytes);
    world.dispatch(world.call("charge").args(payload.clone())).await;

    let claimed = world.claim_one(t(0)).await;
    same_bytes("arguments", &claimed.task.args, &payload);
    world.apply(claimed.turn(stent_core::transition::Next::End(Ok(payload.clone())))).await;

    let result = world.execution(claimed.task.id).await.expect("is there").result;
    same_bytes("result", &result.expect("has ended").expect("has completed"), &payload);
}

async fn content_types_come_back(world: World) {
    for content_type in
        ["", "application/cbor", "application/json; charset=\"utf-8\"", "x/ü-'\n", &"long/".repeat(40)]
    {
        let payload = Payload::new(content_type, b"bytes".to_vec());
        world.dispatch(world.call("charge").args(payload.clone())).await;

        let claimed = world.claim_one(t(0)).await;

        same("content type", claimed.task.args.content_type(), content_type);
        world.apply(claimed.turn(stent_core::transition::Next::End(Ok(payload.clone())))).await;
        let result = world.execution(claimed.task.id).await.expect("is there").result;
        same("result", result, Some(Ok(payload)));
    }
}

async fn failures_come_back_whole(world: World) {
    let mut failure = Failure::new("shop::Charge'Error\"", "no funds\nünd \u{1f980} keine \\Deckung\\");
    failure.causes = vec!["the bank said no".to_owned(), String::new(), "it is closed".to_owned()];
    failure.trace = Some("at src/main.rs:7:1\n  in charge".to_owned());
    failure.data = Some(Payload::new("application/cbor", (0..=255).collect()));
    failure.data_type = Some("shop::Charge'Error<\"é\">".to_owned());
    failure.fatal = true;
    for failure in [failure, declined(), Failure::new("", "")] {
        let parent = world.running("checkout").await;
        let step = world.spawn(parent.park(), world.call("charge")).await;
        world.apply(step.retry(t(0), failure.clone())).await;
        let step = world.claim_one(t(0)).await;
        world.apply(step.fail(failure.clone())).await;

        let again = world.claim_one(t(0)).await;
        let StepState::Done { result, .. } = &again.steps[0].state else {
            panic!("{:?} is open", again.steps)
        };
        same("the step's failure", result.clone(), Err(failure.clone()));
        world.apply(again.fail(failure.clone())).await;
        let result = world.execution(parent.task.id).await.expect("is there").result;
        same("the execution's failure", result, Some(Err(failure.clone())));
        same("in the timeline", world.task(parent.task.id).await.failure, Some(failure.message.clone()));
    }
}

async fn names_of_any_text_come_back_and_are_told_apart(world: World) {
    let long = "n".repeat(limits::NAME_BYTES_MAX);
    let names = [
        "charge",
        "Charge",
        "charge ",
        " charge",
        "chärge",
        "'; --",
        "a\nb",
        "\"q\"",
        "%",
        "_",
        "\u{1f980}",
        &long,
    ];
    for name in names {
        let id =
            world.dispatch(world.call(name).on(&format!("queue of {name}")[..name.len().min(200)])).await;
        same("in the timeline", world.task(id).await.name.as_str(), name);
    }

    for name in names {
        let claimed = world.claim(5).functions([name]).await;
        same("claimed by name", claimed.len(), 1);
        same("function", claimed[0].task.lane.function.as_str(), name);
        world.apply(claimed[0].keep().with(world.inline(name, "note"))).await;
    }
}

async fn retry_policies_come_back_exactly(world: World) {
    let odd = RetryPolicy::default()
        .max_attempts(u32::MAX)
        .initial_delay(Duration::from_micros(1_500_001))
        .backoff_factor(1.1)
        .max_delay(Duration::from_secs(86_400 * 365))
        .jitter(0.3)
        .retry_for(["Timeout", "ChargeError::Declined"]);
    for policy in [RetryPolicy::default(), RetryPolicy::never(), odd] {
        world.dispatch(world.call("charge").retry(policy.clone())).await;
        let claimed = world.claim_one(t(0)).await;
        same("policy", claimed.task.retry.clone(), Some(policy));
        world.apply(claimed.complete("receipt")).await;
    }
    same("no policy", world.running("charge").await.task.retry, None);
}

async fn traces_come_back_as_they_were(world: World) {
    let longest = "x".repeat(limits::TRACE_BYTES_MAX);
    for trace in
        ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", "no ünusual 'trace'", &longest]
    {
        world.dispatch(world.call("charge").traced(trace)).await;
        let claimed = world.claim_one(t(0)).await;
        same("trace of a root", claimed.task.trace.as_deref(), Some(trace));
        let child = world.call("render").traced(trace);
        world.apply(claimed.park().with(child)).await;

        let child = world.claim_one(t(0)).await;
        same("trace of a step", child.task.trace.as_deref(), Some(trace));
        world.apply(child.complete("page")).await;
        let again = world.claim_one(t(0)).await;
        same("trace of a root that goes on", again.task.trace.as_deref(), Some(trace));
        world.apply(again.complete("receipt")).await;
    }

    same("no trace", world.running("charge").await.task.trace, None);
}

async fn moments_come_back_to_the_microsecond(world: World) {
    for moment in [
        Timestamp::EPOCH,
        Timestamp::from_micros(-1),
        Timestamp::from_micros(1),
        t(0),
        Timestamp::from_micros(253_402_300_799_999_999),
    ] {
        let charge = world.call("charge").due(moment);
        let id = charge.id;
        world.apply(charge.start(moment)).await;
        same("in the timeline", world.task(id).await.created_at, moment);

        let claimed = world.claim_one(moment).await;
        same(
            "created and started",
            (claimed.task.created_at, claimed.task.started_at),
            (moment, Some(moment)),
        );
        world.apply(claimed.complete("receipt").at(moment)).await;
        let execution = world.execution(id).await.expect("is there");
        same("ended", execution.ended_at, Some(moment));
    }
}

async fn positions_and_counts_reach_their_ends(world: World) {
    const END: u32 = i32::MAX as u32;
    let parent = world.running("checkout").await;
    let map = world.map("ship");
    let id = map.id;
    let item = world.call("ship").seq(END).failed_before(END).due(t(9));
    world
        .apply(parent.park_for(wait_for_items(0, id, END)).with(map.seq(END)).items(id, [item]).feed(
            id,
            END,
            Some(END),
        ))
        .await;

    let item = world.claim_one(t(9)).await;
    same("position and attempts", (item.task.seq, item.task.attempts), (Seq(END), END));
    same("position of the map", world.task(id).await.seq, Seq(END));
    world.apply(parent.unpark()).await;
    let again = world.claim_one(t(9)).await;
    same("progress", again.steps[0].map, Some(Progress { fed: END, total: Some(END), done: 0 }));
}

/// After any earlier events of the task.
async fn arguments_keep_their_type_until_the_end(world: World) {
    let args = Payload::new("x/arguments", b"bytes".to_vec());
    let check = |what: &str, claimed: Claimed| {
        same(
            what,
            (claimed.task.args.content_type(), claimed.task.args.bytes()),
            ("x/arguments", &b"bytes"[..]),
        );
        claimed
    };
    let root = world.dispatch(world.call("charge").args(args.clone())).await;
    let claimed = check("at first", world.claim_one(t(0)).await);
    world.apply(claimed.retry(t(1), declined())).await;
    let claimed = check("after a retry", world.claim_one(t(1)).await);
    world.apply(claimed.release().at(t(1))).await;
    check("after a shutdown", world.claim_one(t(1)).await);
    let claimed = check("after a lost lease", world.claim_one(t(99)).await);
    world.apply(claimed.park_for(Wait::for_next(0).until(Some(t(100)))).at(t(99))).await;
    let claimed = check("after a wait", world.claim_one(t(100)).await);
    world.apply(claimed.keep().at(t(100))).await;
    world.apply(later(&claimed, 1, 0).fail(declined()).at(t(100))).await;
    same("of a dead letter", world.dead_letters().await[0].args.clone(), args.clone());
    world.apply(redrive(root).at(t(100))).await;
    let claimed = check("after a revival", world.claim_one(t(100)).await);
    world.apply(claimed.complete("receipt").at(t(100))).await;

    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let (id, item) = (map.id, world.call("ship").args(args.clone()));
    world.apply(owner.park().with(map).items(id, [item]).feed(id, 1, Some(1))).await;
    let item = check("of an item", world.claim_one(t(0)).await);
    world.apply(item.retry(t(0), declined())).await;
    world.apply(check("of an item after a retry", world.claim_one(t(0)).await).complete("parcel")).await;
    same("of an item that has ended", world.items(id).await[0].args.clone(), args.clone());
    world.apply(world.claim_one(t(0)).await.complete("summary")).await;

    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    world.dispatch(world.call("charge").keyed(key("k")).args(args.clone())).await;
    world.apply(holder.fail(declined())).await;
    check("after a wait under a key", world.claim_one(t(0)).await);
}

async fn types_come_back_wherever_a_value_is_read(world: World) {
    use stent_core::transition::Next;

    use crate::say::set_to;

    let typed = |n: usize| Payload::new(format!("x/type-{n}"), b"bytes".to_vec());
    let end = |claimed: &Claimed, n| claimed.turn(Next::End(Ok(typed(n))));
    let type_of = |result: Option<stent_core::model::TaskResult>| {
        result.and_then(Result::ok).map(|payload| payload.content_type().to_owned())
    };
    let some = |n: usize| Some(format!("x/type-{n}"));
    let types = |steps: &[Step]| steps.iter().map(|step| type_of(given(steps, step.id))).collect::<Vec<_>>();

    world.dispatch(world.call("charge").args(typed(0)).keyed(key("k"))).await;
    let claimed = world.claim_one(t(0)).await;
    world.apply(end(&claimed, 1)).await;
    same("of an execution", type_of(world.result(claimed.task.id).await), some(1));
    let hit = world.dispatch(world.call("charge").args(typed(2)).keyed(key("k"))).await;
    same("of a hit", type_of(world.result(hit).await), some(1));

    let root = world.running("checkout").await;
    let notes = [3, 4].map(|n| world.inline("render", "").done(t(0), Ok(typed(n))));
    let turn = notes.into_iter().fold(root.keep().seen(0), Turn::with);
    world.apply(turn.with(world.call("ship")).with(world.join(claimed.task.id))).await;
    let step = world.claim_one(t(0)).await;
    world.apply(end(&step, 5)).await;
    let expected = vec![some(3), some(4), some(1), some(5)];
    same("of completions", types(&world.completions(root.task.id, 0).await), expected.clone());
    let news = world.apply(later(&root, 1, 0).keep()).await;
    same("of news", types(&news.steps), expected.clone());
    world.apply(later(&root, 2, 4).park_for(Wait::for_next(4).until(Some(t(0))))).await;
    let again = world.claim_one(t(0)).await;
    same("of steps", types(&again.steps), expected);

    // Values of signals: one that was sent before its wait, and one that was sent during it.
    world.apply(signal(root.task.id, "approval", world.id(), typed(6))).await;
    let wait = || world.wait(root.task.id, "approval");
    world.apply(again.keep().with(wait()).with(wait())).await;
    world.apply(signal(root.task.id, "approval", world.id(), typed(7))).await;
    let told = world.completions(root.task.id, 4).await;
    same("of signals", types(&told), vec![some(6), some(7)]);
    for n in [8, 9] {
        let turn = later(&again, n - 7, 6).keep().say(set_to("phase", typed(n as usize)));
        world.apply(turn).await;
        let states = world.notes(root.task.id).await.states;
        same("of states", states.get("phase").cloned(), Some(typed(n as usize)));
    }

    let map = world.map("ship");
    let id = map.id;
    let items = [10, 11].map(|n| world.call("ship").args(typed(n)));
    world.apply(later(&again, 3, 6).keep().with(map).items(id, items).feed(id, 2, Some(2))).await;
    for (n, item) in world.claim(2).await.iter().enumerate() {
        world.apply(end(item, 12 + n)).await;
    }
    let read = world.items(id).await;
    let of_items: Vec<_> =
        read.iter().map(|item| (item.args.clone(), type_of(item.result.clone()))).collect();
    same("of items", of_items, [(typed(10), some(12)), (typed(11), some(13))]);

    let mut failure = declined();
    failure.data = Some(typed(14));
    let failing = world.dispatch(world.call("charge").args(typed(15))).await;
    world.apply(world.claim_one(t(0)).await.retry(t(0), failure.clone())).await;
    same(
        "of a failure in the history",
        world.ended_claims(failing).await[0].failure.clone(),
        Some(failure.clone()),
    );
    world.apply(world.claim_one(t(0)).await.fail(failure.clone())).await;
    same("of a failure", world.result(failing).await, Some(Err(failure)));
    same("of a dead letter", world.dead_letters().await[0].args.clone(), typed(15));
    let letter = world.store().dead_letter(failing.execution()).await.expect("a read").expect("is there");
    same("of one dead letter", letter.args, typed(15));
}
