//! Steps: calls, nested calls, inline steps, sleeps.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::view::{StepKind, TaskStatus};

use crate::{on_every_store, ran, unique};

#[durable]
async fn double(n: u64) -> Result<u64, String> {
    Ok(n * 2)
}

#[durable]
async fn twice(n: u64) -> Result<u64, stent::Error> {
    let doubled = double(n).await?;
    double(doubled).await
}

#[durable]
async fn plain(n: u64) -> u64 {
    n + 1
}

#[durable]
async fn nothing() {}

#[durable(name = "steps.deep")]
async fn deep(levels: u32) -> Result<u32, stent::Error> {
    if levels == 0 { Ok(0) } else { Ok(deep(levels - 1).await? + 1) }
}

#[durable]
async fn mixed(key: u64) -> Result<u64, stent::Error> {
    ran::note(key, "code");
    let four = twice(1).await?;
    let text = format!("kept for {key}");
    // The closure borrows.
    let length = stent::step("length", || async {
        ran::note(key, "inline");
        Ok::<_, String>(text.len() as u64)
    })
    .await?;
    stent::sleep("30ms").await?;
    nothing().await?;
    Ok(four + length + plain(0).await?)
}

#[durable]
async fn naps() -> Result<(), stent::Error> {
    stent::sleep(Duration::from_millis(40)).await?;
    stent::sleep("40ms").await
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    bytes: Vec<u8>,
    text: String,
    map: std::collections::BTreeMap<(u8, bool), Option<f64>>,
    unit: (),
    pair: (i8, Option<String>),
    set: std::collections::BTreeSet<i64>,
    at: std::time::SystemTime,
    took: Duration,
    marked: std::collections::BTreeMap<String, String>,
    by_number: std::collections::BTreeMap<i64, char>,
}

#[durable]
async fn echo(value: Everything, count: u32) -> Result<(Everything, u32), String> {
    Ok((value, count))
}

#[durable]
async fn long(steps: u64) -> Result<u64, stent::Error> {
    let mut sum = 0;
    for n in 0..steps {
        sum += double(n).await?;
    }
    Ok(sum)
}

on_every_store! {
    async fn a_leaf_a_plain_function_and_one_without_anything_run(world) {
        let worker = world.worker().await;
        assert_eq!(world.stent.run(double(21)).await.expect("runs"), 42);
        assert_eq!(world.stent.run(plain(1)).await.expect("runs"), 2);
        world.stent.run(nothing()).await.expect("runs");
        worker.drain().await.expect("drains");
    }

    async fn steps_of_every_kind_follow_each_other(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(mixed(key)).await.expect("dispatched");
        let expected = 4 + format!("kept for {key}").len() as u64 + 1;
        assert_eq!(run.result().timeout("20s").await.expect("runs"), expected);
        assert_eq!(ran::count(key, "inline"), 1);

        let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        let steps: Vec<_> = tasks.iter().filter(|task| task.parent == Some(run.id().root())).collect();
        let kinds: Vec<_> = steps.iter().map(|step| (step.seq.0, step.kind, step.name.as_str())).collect();
        assert_eq!(kinds, [
            (0, StepKind::Call, "twice"),
            (1, StepKind::Inline, "length"),
            (2, StepKind::Sleep, "sleep"),
            (3, StepKind::Call, "nothing"),
            (4, StepKind::Call, "plain"),
        ]);
        assert!(tasks.iter().all(|task| task.status == TaskStatus::Completed), "{tasks:#?}");
        assert!(steps.iter().enumerate().all(|(n, step)| step.done_order == Some(n as u32 + 1)));
        worker.drain().await.expect("drains");
    }

    async fn without_any_memory_everything_is_replayed_and_nothing_runs_twice(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let run = world.stent.dispatch(mixed(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        assert!(ran::count(key, "code") >= 3, "the code was run again: {:?}", ran::list(key));
        assert_eq!(ran::count(key, "inline"), 1);
        worker.drain().await.expect("drains");
    }

    async fn a_parked_function_goes_on_from_memory(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(mixed(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        assert_eq!(ran::count(key, "code"), 1);
        worker.drain().await.expect("drains");
    }

    async fn depth_needs_no_more_than_one_slot(world) {
        let worker = world.worker_with(|worker| worker.concurrency(1)).await;
        let run = world.stent.dispatch(deep(40)).await.expect("dispatched");
        assert_eq!(run.result().timeout("30s").await.expect("runs"), 40);
        worker.drain().await.expect("drains");
    }

    async fn a_sleep_takes_its_time(world) {
        let worker = world.worker().await;
        let started = Instant::now();
        world.stent.run(naps()).await.expect("runs");
        assert!(started.elapsed() >= Duration::from_millis(80), "{:?}", started.elapsed());
        worker.drain().await.expect("drains");
    }

    async fn payloads_come_back_as_they_went(world) {
        let worker = world.worker().await;
        let value = || Everything {
            bytes: (0..=255).collect(),
            text: "zero \0, quote ', newline \n, snowman ☃".to_owned(),
            map: [((1, true), Some(0.1)), ((2, false), None)].into(),
            unit: (),
            pair: (-7, Some(String::new())),
            set: [i64::MIN, 0, i64::MAX].into(),
            at: std::time::SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789),
            took: Duration::from_nanos(1),
            // Values that look like type tags, or results, in some encodings are just the user's maps.
            marked: [("__type__", "Result"), ("Ok", "1"), ("Err", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            by_number: [(-1, 'é'), (1, '\u{0}')].into(),
        };
        assert_eq!(world.stent.run(echo(value(), 7)).await.expect("runs"), (value(), 7));
        worker.drain().await.expect("drains");
    }

    async fn a_long_function_records_every_step(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(long(300)).await.expect("dispatched");
        assert_eq!(run.result().timeout("50s").await.expect("runs"), 299 * 300);
        worker.drain().await.expect("drains");
    }

    async fn json_is_an_option(world) {
        let stent = Stent::builder().codec(stent::Codec::Json).open(world.stent.store().clone()).await.expect("opens");
        let worker = stent.worker().state(crate::Db).start().await.expect("starts");
        let run = stent.dispatch(double(4)).await.expect("dispatched");
        assert_eq!(run.result().await.expect("runs"), 8);
        let payload = stent.result_of(run.id()).await.expect("ended").expect("a result");
        assert_eq!((payload.content_type(), payload.bytes()), ("application/json", b"8".as_slice()));
        worker.drain().await.expect("drains");
    }
}

#[tokio::test]
async fn a_body_can_be_run_locally_with_everything_below_it() {
    assert_eq!(twice(3).local().await.expect("runs"), 12);
    let key = unique();
    assert!(mixed(key).local().await.expect("runs") > 0);
}
