//! Idempotency and caching: the same call runs once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stent::Error;
use stent::prelude::*;
use stent::view::{Mark, StepKind};

use crate::{on_every_store, ran, unique};

#[durable(idempotent)]
async fn zero(key: u64) -> Result<u64, String> {
    ran::note(key, "ran");
    Ok(0)
}

#[durable(idempotent)]
async fn no(key: u64) -> Result<bool, String> {
    ran::note(key, "ran");
    Ok(false)
}

#[durable(idempotent)]
async fn empty(key: u64) -> Result<String, String> {
    ran::note(key, "ran");
    Ok(String::new())
}

#[durable(idempotent)]
async fn no_items(key: u64) -> Result<Vec<u64>, String> {
    ran::note(key, "ran");
    Ok(Vec::new())
}

#[durable(idempotent)]
async fn no_entries(key: u64) -> Result<BTreeMap<String, u64>, String> {
    ran::note(key, "ran");
    Ok(BTreeMap::new())
}

#[durable(idempotent)]
async fn none(key: u64) -> Result<Option<u64>, String> {
    ran::note(key, "ran");
    Ok(None)
}

#[durable(idempotent)]
async fn unit(key: u64) -> Result<(), String> {
    ran::note(key, "ran");
    Ok(())
}

#[durable]
async fn all_falsy(keys: [u64; 7]) -> Result<(), Error> {
    assert_eq!(zero(keys[0]).await?, 0);
    assert!(!no(keys[1]).await?);
    assert_eq!(empty(keys[2]).await?, "");
    assert_eq!(no_items(keys[3]).await?, Vec::<u64>::new());
    assert!(no_entries(keys[4]).await?.is_empty());
    assert_eq!(none(keys[5]).await?, None);
    unit(keys[6]).await
}

#[durable(idempotent)]
async fn slow_once(key: u64) -> Result<u64, String> {
    ran::note(key, "ran");
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    Ok(7)
}

#[durable(idempotent, retry(max_attempts = 1))]
async fn fails_first(key: u64) -> Result<u64, String> {
    ran::note(key, "ran");
    if ran::count(key, "ran") == 1 { Err("the first time it fails".to_owned()) } else { Ok(1) }
}

#[durable]
async fn three_at_once(key: u64) -> Result<u64, Error> {
    let (a, b, c) = futures::join!(slow_once(key), slow_once(key), slow_once(key));
    Ok(a? + b? + c?)
}

#[durable]
async fn mapped(keys: Vec<u64>) -> Result<Vec<u64>, Error> {
    slow_once::map(keys).await
}

#[durable(idempotent, key = by_name)]
async fn greet(key: u64, name: String, _nonce: u64) -> Result<String, String> {
    ran::note(key, "greeted");
    Ok(format!("hello {name}"))
}

fn by_name(_key: &u64, name: &str, _nonce: &u64) -> String {
    name.to_owned()
}

#[durable]
async fn greets_twice(key: u64, name: String) -> Result<(String, String), Error> {
    Ok((greet(key, name.clone(), 1).await?, greet(key, name, 2).await?))
}

/// How long results of [`cached_shortly`] are kept.
const SHORTLY: Duration = Duration::from_millis(400);

#[durable(cached = "400ms")]
async fn cached_shortly(key: u64) -> Result<u64, String> {
    ran::note(key, "ran");
    Ok(ran::count(key, "ran") as u64)
}

#[durable]
async fn plainly(key: u64) -> Result<u64, String> {
    ran::note(key, "ran");
    Ok(ran::count(key, "ran") as u64)
}

#[durable]
async fn keyed_steps(key: u64) -> Result<(u64, u64, u64), Error> {
    let text = format!("order-{key}");
    Ok((
        plainly(key).idempotency_key(&text).await?,
        plainly(key).idempotency_key(&text).await?,
        plainly(key).idempotency_key("").await?,
    ))
}

/// Kept forever, which overrides keeping for a moment.
#[durable(name = "keys.for_a_moment", idempotent, cached = "1us")]
async fn for_a_moment(key: u64) -> Result<u64, String> {
    ran::note(key, "ran");
    Ok(ran::count(key, "ran") as u64)
}

/// By the function's key, by one of the call's own, and by the function's again.
#[durable(name = "keys.both_kinds")]
async fn both_kinds(key: u64) -> Result<[u64; 5], Error> {
    let text = format!("own-{key}");
    Ok([
        for_a_moment(key).await?,
        for_a_moment(key).await?,
        for_a_moment(key).idempotency_key(&text).await?,
        for_a_moment(key).idempotency_key(&text).await?,
        for_a_moment(key).await?,
    ])
}

mod versions {
    use super::*;

    #[durable(name = "keys.priced", idempotent)]
    pub(super) async fn priced(key: u64) -> Result<u64, String> {
        ran::note(key, "first");
        Ok(1)
    }

    #[durable(name = "keys.priced", version = "2", idempotent)]
    pub(super) async fn priced_anew(key: u64) -> Result<u64, String> {
        ran::note(key, "second");
        Ok(2)
    }

    #[durable(name = "keys.named", cached, key = one)]
    pub(super) async fn named(key: u64) -> Result<u64, String> {
        ran::note(key, "first");
        Ok(3)
    }

    #[durable(name = "keys.named", version = "2", cached, key = one)]
    pub(super) async fn named_anew(key: u64) -> Result<u64, String> {
        ran::note(key, "second");
        Ok(4)
    }

    /// The key functions of two functions.
    pub(super) fn one(key: &u64) -> String {
        format!("order-{key}")
    }

    #[durable(name = "keys.shipped", idempotent, key = one)]
    pub(super) async fn shipped(key: u64) -> Result<u64, String> {
        ran::note(key, "third");
        Ok(5)
    }

    #[durable(name = "keys.all")]
    pub(super) async fn all(key: u64) -> Result<[u64; 5], Error> {
        Ok([
            priced(key).await?,
            priced_anew(key).await?,
            named(key).await?,
            named_anew(key).await?,
            shipped(key).await?,
        ])
    }
}

#[durable(name = "keys.kept", cached = "1h")]
async fn kept(key: u64) -> Result<u64, String> {
    ran::note(key, "ran");
    Ok(key)
}

#[durable(name = "keys.maps_kept")]
async fn maps_kept(keys: Vec<u64>) -> Result<Vec<u64>, Error> {
    kept::map(keys).await
}

on_every_store! {
    async fn another_version_and_another_function_have_keys_of_their_own(world) {
        let key = unique();
        let worker = world.worker().await;
        // Steps, and then roots that find the results of the steps, each its own.
        for _ in 0..2 {
            assert_eq!(world.stent.run(versions::all(key)).await.expect("runs"), [1, 2, 3, 4, 5]);
        }
        assert_eq!(world.stent.run(versions::priced(key)).await.expect("is there"), 1);
        assert_eq!(world.stent.run(versions::priced_anew(key)).await.expect("is there"), 2);
        assert_eq!(world.stent.run(versions::named(key)).await.expect("is there"), 3);
        assert_eq!(world.stent.run(versions::named_anew(key)).await.expect("is there"), 4);
        assert_eq!(world.stent.run(versions::shipped(key)).await.expect("is there"), 5);
        // Two functions of each version, and one more; each of the five ran once.
        let ran = ["first", "second", "third"].map(|which| ran::count(key, which));
        assert_eq!(ran, [2, 2, 1]);
        worker.drain().await.expect("drains");
    }

    async fn items_that_are_hits_are_seen_as_such_and_new_ones_are_kept(world) {
        let keys: Vec<u64> = (0..6).map(|_| unique()).collect();
        let worker = world.worker().await;
        let hits = async |which: &[u64]| {
            let run = world.stent.dispatch(maps_kept(which.to_vec())).await.expect("dispatched");
            assert_eq!(run.result().timeout("20s").await.expect("runs"), which, "in the order of the items");
            let mut timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            timeline.retain(|task| task.name == "keys.kept" && task.kind == StepKind::Call);
            timeline.sort_by_key(|task| task.seq);
            timeline.iter().map(|task| task.marks.contains(Mark::Hit)).collect::<Vec<_>>()
        };
        assert_eq!(hits(&keys[..3]).await, [false; 3]);
        assert_eq!(hits(&[keys[3], keys[0], keys[4], keys[2]]).await, [false, true, false, true]);
        // The third map finds the results of the second.
        assert_eq!(hits(&[keys[4], keys[5], keys[3]]).await, [true, false, true]);
        assert!(keys.iter().all(|key| ran::count(*key, "ran") == 1));
        worker.drain().await.expect("drains");
    }

    async fn falsy_results_are_hits_like_any_other(world) {
        let worker = world.worker().await;
        let keys: [u64; 7] = std::array::from_fn(|_| unique());
        for _ in 0..2 {
            world.stent.dispatch(all_falsy(keys)).await.expect("dispatched").result().timeout("20s").await.expect("runs");
        }
        for key in keys {
            assert_eq!(ran::count(key, "ran"), 1);
        }
        worker.drain().await.expect("drains");
    }

    async fn concurrent_calls_run_once_and_the_hits_are_seen(world) {
        let key = unique();
        let (one, two) = (world.worker().await, world.forgetful_worker().await);
        let run = world.stent.dispatch(three_at_once(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 21);
        assert_eq!(ran::count(key, "ran"), 1);
        let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        assert_eq!(timeline.iter().filter(|task| task.marks.contains(Mark::Hit)).count(), 2, "{timeline:#?}");
        one.drain().await.expect("drains");
        two.drain().await.expect("drains");
    }

    async fn roots_answer_each_other_too(world) {
        let key = unique();
        let first = world.stent.dispatch(slow_once(key)).await.expect("dispatched");
        let second = world.stent.dispatch(slow_once(key)).await.expect("dispatched");
        let worker = world.worker().await;
        assert_ne!(first.id(), second.id());
        assert_eq!(first.result().timeout("20s").await.expect("runs"), 7);
        assert_eq!(second.result().timeout("20s").await.expect("runs"), 7);
        let third = world.stent.dispatch(slow_once(key)).await.expect("dispatched");
        assert_eq!(third.result().timeout("20s").await.expect("is there"), 7);
        assert_eq!(ran::count(key, "ran"), 1);
        worker.drain().await.expect("drains");
    }

    async fn failures_are_not_kept(world) {
        let key = unique();
        let worker = world.worker().await;
        let first = world.stent.dispatch(fails_first(key)).await.expect("dispatched");
        first.result().timeout("20s").await.expect_err("the first time it fails");
        let second = world.stent.dispatch(fails_first(key)).await.expect("dispatched");
        assert_eq!(second.result().timeout("20s").await.expect("runs"), 1);
        worker.drain().await.expect("drains");
    }

    async fn items_of_a_map_that_are_the_same_run_once(world) {
        let worker = world.worker().await;
        let (a, b) = (unique(), unique());
        let run = world.stent.dispatch(mapped(vec![a, b, a, a, b])).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), [7; 5]);
        let again = world.stent.dispatch(mapped(vec![b, a])).await.expect("dispatched");
        assert_eq!(again.result().timeout("20s").await.expect("is there"), [7; 2]);
        assert_eq!((ran::count(a, "ran"), ran::count(b, "ran")), (1, 1));
        worker.drain().await.expect("drains");
    }

    async fn the_users_key_says_what_is_the_same(world) {
        let key = unique();
        let worker = world.worker().await;
        let name = format!("kim-{key}");
        let run = world.stent.dispatch(greets_twice(key, name.clone())).await.expect("dispatched");
        let hello = format!("hello {name}");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), (hello.clone(), hello));
        assert_eq!(ran::count(key, "greeted"), 1);
        worker.drain().await.expect("drains");
    }

    async fn a_cached_result_counts_for_its_time(world) {
        let worker = world.worker().await;
        // On a busy machine, the second call may come too late.
        let key = loop {
            let (key, began) = (unique(), Instant::now());
            assert_eq!(world.stent.run(cached_shortly(key)).await.expect("runs"), 1);
            let second = world.stent.run(cached_shortly(key)).await.expect("runs");
            if began.elapsed() < SHORTLY {
                assert_eq!(second, 1);
                break key;
            }
        };
        tokio::time::sleep(SHORTLY + Duration::from_millis(40)).await;
        assert_eq!(world.stent.run(cached_shortly(key)).await.expect("runs"), 2);
        worker.drain().await.expect("drains");
    }

    async fn steps_may_be_given_a_key_and_the_empty_text_is_one(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(keyed_steps(key)).await.expect("dispatched");
        let (first, second, empty) = run.result().timeout("20s").await.expect("runs");
        assert_eq!((first, second), (1, 1));
        // Unlike the others, this key is the same in every test, and this store belongs to one test.
        assert_eq!(empty, 2, "the empty text is another key");
        let again = world.stent.dispatch(keyed_steps(unique())).await.expect("dispatched");
        let (_, _, kept) = again.result().timeout("20s").await.expect("runs");
        assert_eq!(kept, 2, "and it is one: without a key it would have run anew");
        worker.drain().await.expect("drains");
    }

    async fn a_dispatch_under_a_key_gives_the_first_execution(world) {
        let key = unique();
        let text = format!("request-{key}");
        let first = world.stent.dispatch(plainly(key)).idempotency_key(&text).await.expect("dispatched");
        let again = world.stent.dispatch(plainly(key)).idempotency_key(&text).await.expect("dispatched");
        assert_eq!(first.id(), again.id());
        let worker = world.worker().await;
        assert_eq!(again.result().timeout("20s").await.expect("runs"), 1);
        let late = world.stent.dispatch(plainly(key)).idempotency_key(&text).await.expect("dispatched");
        assert_eq!(late.result().await.expect("is there"), 1);
        let other = world.stent.dispatch(slow_once(key)).idempotency_key(&text).await.expect("dispatched");
        assert_ne!(other.id(), first.id(), "keys belong to their function");
        worker.drain().await.expect("drains");
    }

    async fn one_key_a_call_is_asked_for_its_own_first(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(both_kinds(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), [1, 1, 2, 2, 1]);
        let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        let hits: Vec<_> = timeline
            .iter()
            .filter(|task| task.name == "keys.for_a_moment")
            .map(|task| task.marks.contains(Mark::Hit))
            .collect();
        assert_eq!(hits, [false, true, false, true, true]);
        worker.drain().await.expect("drains");
    }

    async fn bodies_that_run_locally_neither_ask_for_results_nor_keep_them(world) {
        let key = unique();
        for n in 1..=2 {
            assert_eq!(slow_once(key).local().await.expect("runs"), 7);
            assert_eq!(ran::count(key, "ran"), n);
        }
        assert_eq!(three_at_once(key).local().await.expect("runs"), 21);
        assert_eq!(ran::count(key, "ran"), 5, "nor do the calls below");
        let worker = world.worker().await;
        world.stent.run(slow_once(key)).await.expect("runs");
        assert_eq!(ran::count(key, "ran"), 6, "nothing was kept");
        assert_eq!(slow_once(key).idempotency_key("same").local().await.expect("runs"), 7);
        assert_eq!(ran::count(key, "ran"), 7, "nothing was asked for");
        worker.drain().await.expect("drains");
    }
}
