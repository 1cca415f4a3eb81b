//! Dispatching: the initial options of an execution, which option takes precedence, and batches.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stent::backend::limits::EXCHANGE_TRANSITIONS_MAX;
use stent::prelude::*;
use stent::{Error, ExecutionStatus};

use crate::rigged::Rigged;
use crate::{on_every_store, run};

#[durable(name = "dispatching.plain")]
async fn plain(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable(name = "dispatching.declared", queue = "declared", priority = 10, tags = ["gpu", "eu"])]
async fn declared(n: u64) -> Result<u64, String> {
    Ok(n)
}

/// A function whose parameters have the names of a call's options.
type Named = (Vec<String>, String, i16, String, u64, Option<String>);

#[durable(name = "dispatching.named")]
async fn named(
    tags: Vec<String>,
    queue: String,
    priority: i16,
    delay: String,
    expiry: u64,
    max_duration: Option<String>,
) -> Result<Named, String> {
    Ok((tags, queue, priority, delay, expiry, max_duration))
}

fn words(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn example() -> Named {
    let words = vec!["mine".to_owned()];
    (words, "mine".to_owned(), 7, "1h".to_owned(), 3, Some("1ms".to_owned()))
}

on_every_store! {
    async fn an_execution_is_born_pending_with_the_options_of_its_dispatch(world) {
        let dispatch = world.stent.dispatch(plain(1)).queue("slow").priority(-3).tag("b").tag("a");
        let run = dispatch.delay("1h").max_duration("2h").await.expect("dispatched");
        let view = world.stent.inspect().describe(run.id()).await.expect("known");
        assert_eq!((view.id, view.status), (run.id(), ExecutionStatus::Pending));
        assert_eq!(view.id.as_uuid().get_version_num(), 7, "ids grow with time");
        assert_eq!((view.function.as_str(), view.queue.as_str()), ("dispatching.plain", "slow"));
        assert_eq!((view.priority, &view.tags), (-3, &words(&["a", "b"])));
        assert_eq!(view.expires_at, Some(view.created_at + Duration::from_secs(3 * 3_600)));
        assert_eq!((view.attempts, view.result, view.started_at, view.ended_at), (0, None, None, None));
        let other = world.stent.dispatch(plain(1)).await.expect("dispatched");
        assert_ne!(other.id(), run.id(), "each has an id of its own");
    }

    async fn declared_options_count_for_roots_too_and_the_dispatch_overrides_them(world) {
        let stent = &world.stent;
        let view = async |run: Handle<u64>| stent.inspect().describe(run.id()).await.expect("known");
        let own = view(stent.dispatch(declared(1)).await.expect("dispatched")).await;
        assert_eq!((own.queue.as_str(), own.priority, own.tags), ("declared", 10, words(&["eu", "gpu"])));
        let other = stent.dispatch(declared(1)).queue("other").priority(0).tag("cpu");
        let other = view(other.await.expect("dispatched")).await;
        assert_eq!((other.queue.as_str(), other.priority, other.tags), ("other", 0, words(&["cpu"])));
        // An option on the call means the same as on the dispatch, and the dispatch takes precedence.
        let call = declared(1).queue("call").priority(1);
        let call = view(stent.dispatch(call).priority(2).await.expect("dispatched")).await;
        assert_eq!((call.queue.as_str(), call.priority, call.tags), ("call", 2, words(&["eu", "gpu"])));
        let bulk = stent.dispatch_all([declared(1), declared(2).queue("bulk")]).await.expect("dispatched");
        for (run, queue) in bulk.into_iter().zip(["declared", "bulk"]) {
            let view = view(run).await;
            assert_eq!((view.queue.as_str(), view.priority), (queue, 10));
        }
    }

    async fn arguments_that_are_called_as_options_are_arguments(world) {
        let (tags, queue, priority, delay, expiry, max_duration) = example();
        let call = || named(tags.clone(), queue.clone(), priority, delay.clone(), expiry, max_duration.clone());
        let run = world.stent.dispatch(call()).await.expect("dispatched");
        let view = world.stent.inspect().describe(run.id()).await.expect("known");
        assert_eq!((view.queue.as_str(), view.priority, view.expires_at), ("default", 0, None));
        assert!(view.tags.is_empty(), "{view:?}");
        let worker = world.worker().await;
        assert_eq!(run.result().timeout("20s").await.expect("runs"), example());
        assert_eq!(call().local().await.expect("runs"), example());
        worker.drain().await.expect("drains");
    }

    async fn a_function_is_dispatched_by_its_name_with_the_options_that_are_given(world) {
        let stent = &world.stent;
        let dispatch = stent.dispatch_by_name("dispatching.declared", &(7_u64,)).queue("slow").priority(-3).tag("b");
        let id = dispatch.delay("1h").max_duration("2h").await.expect("dispatched");
        let view = stent.inspect().describe(id).await.expect("known");
        assert_eq!((view.function.as_str(), view.queue.as_str()), ("dispatching.declared", "slow"));
        assert_eq!((view.priority, view.tags), (-3, words(&["b"])));
        assert_eq!(view.expires_at, Some(view.created_at + Duration::from_secs(3 * 3_600)));
        // Without options it has the defaults, and not those of the attribute, even if the function is known here.
        let bare = stent.dispatch_by_name("dispatching.declared", &(7_u64,)).await.expect("dispatched");
        let view = stent.inspect().describe(bare).await.expect("known");
        assert_eq!((view.queue.as_str(), view.priority, view.tags), ("default", 0, BTreeSet::new()));

        let worker = world.worker().await;
        let ended = stent.wait_for(bare).timeout("20s").await.expect("runs");
        assert_eq!(ended.decode::<u64>().expect("a number"), 7);
        let json = Stent::builder().codec(stent::Codec::Json).open(stent.store().clone()).await.expect("opens");
        let id = json.dispatch_by_name("dispatching.plain", &[8_u64]).await.expect("dispatched");
        assert_eq!(json.wait_for(id).timeout("20s").await.expect("runs").decode::<u64>().expect("a number"), 8);
        let wrong = stent.dispatch_by_name("dispatching.plain", &("eight",)).await.expect("dispatched");
        let error = stent.wait_for(wrong).timeout("20s").await.expect_err("it is no number");
        assert!(error.failure().is_some_and(|failure| failure.is(stent::Failure::CODEC)), "{error}");
        worker.drain().await.expect("drains");
    }

    async fn a_dispatch_by_name_shares_keys_and_ids_with_dispatches_of_the_function(world) {
        let stent = &world.stent;
        let first = stent.dispatch(plain(1)).idempotency_key("one").await.expect("dispatched");
        let again = stent.dispatch_by_name("dispatching.plain", &(2_u64,)).idempotency_key("one");
        assert_eq!(again.await.expect("dispatched"), first.id());
        let named = stent.dispatch_by_name("dispatching.plain", &(2_u64,)).id(first.id()).await;
        assert_eq!(named.expect("dispatched"), first.id());
        let count = stent.inspect().count().await.expect("counted");
        assert_eq!(count.get(&ExecutionStatus::Pending), Some(&1));
        for (dispatch, option) in [
            (stent.dispatch_by_name("", &()), "function"),
            (stent.dispatch_by_name("f", &()).queue(""), "queue"),
            (stent.dispatch_by_name("f", &()).tag(""), "tag"),
            (stent.dispatch_by_name("f", &()).retry(stent::RetryPolicy::default().max_attempts(0)), "retry"),
        ] {
            let error = dispatch.await.expect_err("it is wrong");
            assert!(matches!(error, Error::Option { option: wrong, .. } if wrong == option), "{option}: {error}");
        }
        let error = stent.dispatch_by_name("f", &()).delay("soon").await.expect_err("no duration");
        assert!(matches!(error, Error::Duration(_)), "{error}");
    }

    async fn a_call_that_cannot_be_stored_ends_a_bulk_dispatch_after_the_batches_before_it(world) {
        let calls = (0..700).map(|n| if n == 600 { plain(n).queue("") } else { plain(n) });
        let error = world.stent.dispatch_all(calls).await.expect_err("a queue has a name");
        assert!(matches!(error, Error::Option { option: "queue", .. }), "{error}");
        let count = world.stent.inspect().count().await.expect("counted");
        assert_eq!(count.get(&ExecutionStatus::Pending), Some(&(EXCHANGE_TRANSITIONS_MAX as u64)));
    }
}

/// Dispatches this many calls from an iterator that measures how far it is ahead of the writes.
async fn dispatches_many(world: &crate::World, many: u64) {
    let rigged = Rigged::new(world.stent.store());
    let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
    let ahead = Arc::new(AtomicU64::new(0));
    let calls = {
        let (rigged, ahead) = (rigged.clone(), ahead.clone());
        (0..many).map(move |n| {
            ahead.fetch_max(n + 1 - rigged.written.load(Ordering::SeqCst), Ordering::SeqCst);
            plain(n).priority((n % 1_000) as i16)
        })
    };

    let runs = stent.dispatch_all(calls).await.expect("dispatched");

    let ahead = ahead.load(Ordering::SeqCst);
    assert!(ahead <= EXCHANGE_TRANSITIONS_MAX as u64, "{ahead} calls were drawn and not written");
    assert_eq!(runs.iter().map(Handle::id).collect::<HashSet<_>>().len() as u64, many);
    for (n, run) in runs.iter().enumerate().step_by(997) {
        let view = stent.inspect().describe(run.id()).await.expect("known");
        assert_eq!(view.priority, (n % 1_000) as i16, "handles stand in the order of the calls");
    }
    let count = stent.inspect().count().await.expect("counted");
    assert_eq!(count, [(ExecutionStatus::Pending, many)].into());
}

#[test]
fn many_calls_are_dispatched_in_order_and_drawn_no_further_ahead_than_a_batch_in_memory() {
    run(crate::World::memory(), async |world| dispatches_many(&world, 20_000).await);
}

#[cfg(feature = "sqlite")]
#[test]
fn many_calls_are_dispatched_in_order_and_drawn_no_further_ahead_than_a_batch_in_sqlite() {
    run(crate::World::sqlite(), async |world| dispatches_many(&world, 5_000).await);
}

#[cfg(feature = "postgres")]
#[test]
fn many_calls_are_dispatched_in_order_and_drawn_no_further_ahead_than_a_batch_in_postgres() {
    run(crate::World::postgres(), async |world| dispatches_many(&world, 5_000).await);
}

#[durable(name = "dispatching.large")]
async fn large(_text: String) -> Result<(), String> {
    Ok(())
}

#[test]
fn large_calls_are_drawn_less_far_ahead() {
    run(crate::World::memory(), async |world| {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        let ahead = Arc::new(AtomicU64::new(0));
        let calls = {
            let ahead = ahead.clone();
            (1..=100).map(move |n| {
                ahead.fetch_max(n - rigged.written.load(Ordering::SeqCst), Ordering::SeqCst);
                large("x".repeat(400_000))
            })
        };

        let runs = stent.dispatch_all(calls).await.expect("dispatched");

        assert_eq!(runs.len(), 100);
        let ahead = ahead.load(Ordering::SeqCst);
        assert!(ahead <= 30, "{ahead} calls of 400 kB each were drawn and not written");
    });
}
