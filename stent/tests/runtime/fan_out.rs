//! `map`: order, windows, failures, replay.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stent::TaskId;
use stent::backend::limits::MAP_CHUNK;
use stent::backend::model::{Seq, Step};
use stent::backend::transition::{Outcome, Transition};
use stent::backend::{ClaimRequest, Exchanged, Forward, ItemView, Result as StoreResult, Store};
use stent::prelude::*;
use stent::view::TaskStatus;

use crate::{Db, eventually, on_every_store, ran, unique};

/// Counts the items that are written together, and the steps and items that a worker gets.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Store>,
    /// The number of items in each transition that writes items.
    chunks: Mutex<Vec<usize>>,
    /// Steps and items that the store returned: with claims, as news, and in reads.
    handed: AtomicUsize,
}

impl Watched {
    fn new(inner: &Arc<dyn Store>) -> Arc<Self> {
        let (inner, chunks, handed) = (Arc::clone(inner), Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { inner, chunks, handed })
    }

    fn hand(&self, count: usize) {
        self.handed.fetch_add(count, Ordering::SeqCst);
    }
}

#[async_trait]
impl Forward for Watched {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn exchange(
        &self,
        commit: &[Transition],
        claim: Option<&ClaimRequest<'_>>,
    ) -> StoreResult<Exchanged> {
        let items = |one: &Transition| one.rows().iter().filter(|new| new.tree.owner.is_some()).count();
        let chunks = commit.iter().map(items).filter(|items| *items > 0);
        self.chunks.lock().expect("not poisoned").extend(chunks);
        let exchanged = self.inner.exchange(commit, claim).await?;
        let news = exchanged.outcomes.iter().map(|outcome| match outcome {
            Outcome::Applied(news) | Outcome::Already(news) => news.steps.len(),
            Outcome::Fenced | Outcome::Exists(_) | Outcome::Gone => 0,
        });
        let claimed = exchanged.claimed.iter().map(|claimed| claimed.steps.len());
        self.hand(news.chain(claimed).sum());
        Ok(exchanged)
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> StoreResult<Vec<ItemView>> {
        let items = self.inner.items(map, from, max).await?;
        self.hand(items.len());
        Ok(items)
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> StoreResult<Vec<(TaskId, Vec<Step>)>> {
        let completions = self.inner.completions(seen).await?;
        self.hand(completions.iter().map(|(_, steps)| steps.len()).sum());
        Ok(completions)
    }
}

#[durable]
async fn square(n: u64) -> Result<u64, String> {
    Ok(n * n)
}

#[durable]
async fn squares(n: u64) -> Result<u64, stent::Error> {
    let all = square::map(0..n).await?;
    for (i, squared) in all.iter().enumerate() {
        assert_eq!(*squared, (i * i) as u64, "results stand in the order of the items");
    }
    Ok(all.len() as u64)
}

#[durable(retry(max_attempts = 1))]
async fn picky(key: u64, n: u64) -> Result<u64, String> {
    ran::note(key, n.to_string());
    if n == 5 {
        return Err(format!("not {n}"));
    }
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    Ok(n)
}

#[durable]
async fn picky_map(key: u64) -> Result<usize, stent::Error> {
    let all = picky::map((0..2_000).map(move |n| (key, n))).await?;
    Ok(all.len())
}

#[durable]
async fn step_in_item(n: u64) -> Result<u64, stent::Error> {
    stent::sleep("1ms").await?;
    square(n).await
}

#[durable]
async fn nested_maps(n: u64) -> Result<u64, stent::Error> {
    let (a, b) = stent::join!(step_in_item::map(0..n), squares::map([3, 4, 5]));
    Ok(a?.len() as u64 + b?.iter().sum::<u64>())
}

/// The sum of the successful items, and the number of failed ones.
#[durable]
async fn picky_outcomes(key: u64, n: u64) -> Result<(u64, Vec<usize>), stent::Error> {
    let outcomes = picky::map((0..n).map(move |n| (key, n))).chunk(7).outcomes().await?;
    let bad = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).map(|(at, _)| at);
    let bad = bad.collect();
    Ok((outcomes.into_iter().flatten().sum(), bad))
}

#[durable]
async fn joined_text(a: u64, b: String) -> Result<String, String> {
    Ok(format!("{a}{b}"))
}

/// A worker's state is no part of an item.
#[durable]
async fn lent(
    a: u64,
    State(db): State<Db>,
    b: Option<bool>,
    c: Vec<u8>,
) -> Result<(u64, bool, usize), String> {
    let Db = db;
    Ok((a, b.unwrap_or_default(), c.len()))
}

type Forms = (Vec<u64>, Vec<String>, Vec<(u64, bool, usize)>);

/// Items as a function takes them: the bare value of one parameter, tuples of several.
#[durable]
async fn forms() -> Result<Forms, stent::Error> {
    let one = square::map([3, 4]).await?;
    let two = joined_text::map(vec![(1, "a".to_owned()), (2, "b".to_owned())]).await?;
    let three = lent::map([(7, Some(true), vec![1, 2]), (8, None, Vec::new())]).await?;
    Ok((one, two, three))
}

#[durable(name = "fan_out.gated")]
async fn gated(key: u64, n: u64) -> Result<(), String> {
    while n >= 3 && ran::count(key, "go") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    Ok(())
}

#[durable(name = "fan_out.maps_gated")]
async fn maps_gated(key: u64) -> Result<usize, stent::Error> {
    Ok(gated::map((0..5).map(move |n| (key, n))).await?.len())
}

/// Ends once three have begun.
#[durable(name = "fan_out.meet")]
async fn meet(key: u64, n: u64) -> Result<u64, String> {
    ran::note(key, "here");
    while ran::count(key, "here") < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    Ok(n)
}

#[durable(name = "fan_out.meets")]
async fn meets(keys: [u64; 4]) -> Result<[u64; 4], stent::Error> {
    use futures::StreamExt as _;
    use futures::stream::FuturesUnordered;

    let [joined, listed, unordered, mapped] = keys;
    let (a, b, c) = stent::join!(meet(joined, 1), meet(joined, 2), meet(joined, 3));
    let listed = stent::try_join_all((1..=3).map(|n| meet(listed, n))).await?;
    let mut each = (1..=3).map(|n| meet(unordered, n)).collect::<FuturesUnordered<_>>();
    let mut sum = 0;
    while let Some(n) = each.next().await {
        sum += n?;
    }
    let mapped = meet::map((1..=3).map(move |n| (mapped, n))).await?;
    Ok([a? + b? + c?, listed.iter().sum(), sum, mapped.iter().sum()])
}

#[durable]
async fn chunk_of_none() -> Result<Vec<u64>, stent::Error> {
    square::map([1]).chunk(0).await
}

on_every_store! {
    async fn results_come_in_order_whatever_the_number(world) {
        let worker = world.worker().await;
        for n in [0, 1, 999, 1_000, 1_001, 18_000] {
            let run = world.stent.dispatch(squares(n)).await.expect("dispatched");
            assert_eq!(run.result().timeout("40s").await.expect("runs"), n);
        }
        worker.drain().await.expect("drains");
    }

    async fn items_are_values_or_tuples_as_the_function_takes_them(world) {
        let worker = world.worker().await;
        let (one, two, three) = world.stent.run(forms()).await.expect("runs");
        assert_eq!(one, [9, 16]);
        assert_eq!(two, ["1a", "2b"]);
        assert_eq!(three, [(7, true, 2), (8, false, 0)]);
        worker.drain().await.expect("drains");
    }

    async fn a_chunk_is_written_whole_and_an_item_is_read_once(world) {
        const ITEMS: u64 = 3_500;
        let watched = Watched::new(world.stent.store());
        let stent = Stent::builder().open(watched.clone()).await.expect("opens");
        let worker = stent.worker().state(Db).concurrency(256).start().await.expect("starts");
        assert_eq!(stent.run(squares(ITEMS)).await.expect("runs"), ITEMS);
        worker.drain().await.expect("drains");

        let chunks = watched.chunks.lock().expect("not poisoned").clone();
        let (last, whole) = chunks.split_last().expect("some");
        assert_eq!((whole, *last), (&[MAP_CHUNK; 3][..], 500));
        // Each item once, for its result, and the map itself whenever its function continues; never all earlier items.
        let handed = watched.handed.load(Ordering::SeqCst);
        assert!(handed <= ITEMS as usize + 200, "{handed} steps and items were read");

        // And in chunks, as the code asks for them.
        watched.chunks.lock().expect("not poisoned").clear();
        let worker = stent.worker().state(Db).start().await.expect("starts");
        stent.run(picky_outcomes(unique(), 40)).await.expect("runs");
        assert_eq!(*watched.chunks.lock().expect("not poisoned"), [7, 7, 7, 7, 7, 5]);
        worker.drain().await.expect("drains");
    }

    async fn calls_run_side_by_side_however_they_are_waited_for(world) {
        for concurrency in [3, 64] {
            let worker = world.worker_with(|worker| worker.concurrency(concurrency)).await;
            let keys = std::array::from_fn(|_| unique());
            let run = world.stent.dispatch(meets(keys)).await.expect("dispatched");
            assert_eq!(run.result().timeout("20s").await.expect("they meet"), [6; 4]);
            worker.drain().await.expect("drains");
        }
    }

    async fn how_far_a_map_has_come_is_seen_in_the_timeline(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(maps_gated(key)).await.expect("dispatched");
        let progress = async || {
            let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            timeline.into_iter().find_map(|task| task.map).map(|map| (map.fed, map.total, map.done))
        };
        eventually(async || progress().await == Some((5, Some(5), 3))).await;
        ran::note(key, "go");
        run.result().timeout("20s").await.expect("runs");
        assert_eq!(progress().await, Some((5, Some(5), 5)));
        worker.drain().await.expect("drains");
    }

    async fn a_map_is_replayed_from_its_record(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(squares(18_000)).await.expect("dispatched");
        assert_eq!(run.result().timeout("40s").await.expect("runs"), 18_000);
        worker.drain().await.expect("drains");
    }

    async fn the_first_failure_ends_the_map_and_cancels_the_rest(world) {
        let worker = world.worker_with(|worker| worker.concurrency(2)).await;
        let key = unique();
        let run = world.stent.dispatch(picky_map(key)).await.expect("dispatched");
        let error = run.result().timeout("30s").await.expect_err("it fails");
        assert_eq!(error.failure().map(|failure| failure.message.as_str()), Some("not 5"));
        assert_eq!(ran::count(key, "5"), 1);
        let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        assert!(tasks.iter().all(|task| task.status.is_terminal()));
        assert!(tasks.iter().any(|task| task.status == TaskStatus::Cancelled), "some items never ran");
        worker.drain().await.expect("drains");
    }

    async fn items_may_have_steps_and_maps_may_be_joined(world) {
        // Also by a worker with one slot: waiting functions do not block it.
        for (concurrency, cache) in [(64, 100), (64, 0), (1, 100), (1, 0)] {
            let worker = world.worker_with(|worker| worker.concurrency(concurrency).cache(cache)).await;
            let run = world.stent.dispatch(nested_maps(50)).await.expect("dispatched");
            assert_eq!(run.result().timeout("30s").await.expect("runs"), 50 + 12);
            worker.drain().await.expect("drains");
        }
    }

    async fn outcomes_are_collected_in_order_and_a_failure_stops_nothing(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(picky_outcomes(key, 40)).await.expect("dispatched");
        let (sum, bad) = run.result().timeout("30s").await.expect("runs");
        assert_eq!((sum, bad), ((0..40).sum::<u64>() - 5, vec![5]));
        assert_eq!(ran::list(key).len(), 40, "every item runs once");
        let local = picky_outcomes(unique(), 8).local().await.expect("runs in place too");
        assert_eq!(local, (23, vec![5]));
        worker.drain().await.expect("drains");
    }

    async fn a_chunk_that_does_not_fit_is_named(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(chunk_of_none()).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("nothing would ever be written");
        assert!(error.to_string().contains("chunk"), "{error}");
        worker.drain().await.expect("drains");
    }
}
