//! Bytes, names and failures: they come back as they were given.

use super::words::*;

list! { payload:
    G14 arguments_come_back_byte_by_byte,
    G14 results_come_back_byte_by_byte,
    G14 results_of_steps_come_back_byte_by_byte,
    G14 results_of_items_come_back_byte_by_byte,
    G14 a_large_payload_comes_back_whole,
    G14 content_types_come_back,
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
    // Debug shows lengths only; say where they differ.
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
        let turn = claimed.turn(stent_core::transition::Change::End(Ok(payload.clone())));
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
        world.apply(item.turn(stent_core::transition::Change::End(Ok(result)))).await;
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
    world.apply(claimed.turn(stent_core::transition::Change::End(Ok(payload.clone())))).await;

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
        world.apply(claimed.turn(stent_core::transition::Change::End(Ok(payload.clone())))).await;
        let result = world.execution(claimed.task.id).await.expect("is there").result;
        same("result", result, Some(Ok(payload)));
    }
}

async fn failures_come_back_whole(world: World) {
    let failure = Failure {
        kind: "Charge'Error\"".to_owned(),
        message: "no funds\nünd \u{1f980} keine \\Deckung\\".to_owned(),
        causes: vec!["the bank said no".to_owned(), String::new(), "it is closed".to_owned()],
        trace: Some("at src/main.rs:7:1\n  in charge".to_owned()),
        data: Some(Payload::new("application/cbor", (0..=255).collect())),
        fatal: true,
    };
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
    let odd = RetryPolicy {
        max_attempts: u32::MAX,
        initial_delay: Duration::from_micros(1_500_001),
        backoff_factor: 1.1,
        max_delay: Duration::from_secs(86_400 * 365),
        jitter: 0.3,
        retry_for: Some(vec!["Timeout".to_owned(), "ChargeError::Declined".to_owned()]),
    };
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
    world.apply(parent.nudge()).await;
    let again = world.claim_one(t(9)).await;
    same("progress", again.steps[0].map, Some(Progress { fed: END, total: Some(END), done: 0 }));
}
