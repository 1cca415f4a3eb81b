//! Values that a codec would write and could not read again, wherever they are passed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::{Codec, Error, ExecutionStatus, Failure};

use crate::{on_every_store, ran, unique};

/// Values that cannot be read back, each with a name by which a function is asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Odd {
    nested: Option<Option<u8>>,
    #[serde(flatten)]
    wide: Wide,
    deep: Option<Chain>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Wide {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    amount: Option<u128>,
}

impl Odd {
    fn all() -> [(&'static str, Self); 3] {
        let plain = Self { nested: None, wide: Wide::default(), deep: None };
        [
            ("Some(None)", Self { nested: Some(None), ..plain.clone() }),
            ("u128", Self { wide: Wide { amount: Some(7) }, ..plain.clone() }),
            ("levels deep", Self { deep: Some(Chain::new(300)), ..plain }),
        ]
    }

    fn of(which: &str) -> Self {
        Self::all().into_iter().find(|(name, _)| *name == which).expect("one of these").1
    }
}

/// Dropped level by level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Chain {
    next: Option<Box<Self>>,
}

impl Chain {
    fn new(levels: usize) -> Self {
        (1..levels).fold(Self { next: None }, |chain, _| Self { next: Some(Box::new(chain)) })
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut chain) = next {
            next = chain.next.take();
        }
    }
}

/// Dropped by the compiler's drop glue, which uses more of the stack with each level.
#[derive(Debug, Serialize, Deserialize)]
struct Naive {
    next: Option<Box<Self>>,
}

impl Naive {
    fn new(levels: usize) -> Self {
        (1..levels).fold(Self { next: None }, |chain, _| Self { next: Some(Box::new(chain)) })
    }
}

#[durable]
async fn takes_odd(key: u64, odd: Odd) -> Result<(), String> {
    ran::note(key, "takes");
    drop(odd);
    Ok(())
}

#[durable]
async fn takes_odd_item(odd: Odd) -> Result<(), String> {
    drop(odd);
    Ok(())
}

#[durable(retry(max_attempts = 3, initial_delay = "1ms"))]
async fn gives_odd(key: u64, which: String) -> Result<Odd, String> {
    ran::note(key, "gives");
    Ok(Odd::of(&which))
}

#[durable]
async fn gives_unlimited(levels: usize) -> Result<Naive, String> {
    Ok(Naive::new(levels))
}

#[durable]
async fn takes_unlimited(naive: Naive) -> Result<(), String> {
    drop(naive);
    Ok(())
}

/// Uses everything that takes or returns a value inside of a function, and returns the errors.
#[durable]
async fn tries_all_odd(key: u64, which: String) -> Result<BTreeMap<String, String>, Error> {
    let mut said = BTreeMap::new();
    let mut note = |what: &str, error: Option<Error>| {
        said.insert(what.to_owned(), error.map_or_else(String::new, |e| e.to_string()))
    };
    note("step", takes_odd(key, Odd::of(&which)).await.err());
    note("result of a step", gives_odd(key, which.clone()).await.err());
    note("item", takes_odd_item::map(vec![Odd::of(&which)]).await.err());
    let inline = stent::step("inline", async || Ok::<_, Error>(Odd::of(&which)));
    note("inline", inline.await.err());
    note("state", stent::execution()?.state("odd").set(&Odd::of(&which)).err());
    Ok(said)
}

#[durable]
async fn spawns_odd(which: String) -> Result<String, Error> {
    Ok(stent::spawn(takes_odd_item(Odd::of(&which)))
        .await
        .err()
        .map_or_else(String::new, |error| error.to_string()))
}

#[durable]
async fn waits_for_go() -> Result<u64, Error> {
    stent::signal("go").await
}

fn codec_failure(error: &Error, says: &str) -> bool {
    error.failure().is_some_and(|failure| {
        failure.kind == Failure::CODEC && failure.fatal && failure.message.contains(says)
    })
}

/// The readers of a signal and a state are not known.
fn says_why(said: &str, which: &str) -> bool {
    said.contains(which) || (which == "u128" && said.contains("a 128-bit integer"))
}

on_every_store! {
    async fn what_would_not_come_back_is_refused_where_it_is_given(world) {
        let worker = world.worker().await;
        for (which, odd) in Odd::all() {
            let key = unique();
            let dispatched = world.stent.dispatch(takes_odd(key, odd.clone())).await.expect_err("is refused");
            assert!(matches!(dispatched, Error::Codec { .. }) && dispatched.to_string().contains(which), "{dispatched}");
            assert_eq!(ran::count(key, "takes"), 0);

            // The result of a root, and of a step: a failure that is not retried, and never a `Completed` that cannot be
            // read.
            let run = world.stent.dispatch(gives_odd(key, which.into())).await.expect("dispatched");
            let error = run.result().timeout("20s").await.expect_err("cannot be stored");
            assert!(codec_failure(&error, which) && error.to_string().contains("result of `gives_odd`"), "{error}");
            assert_eq!(run.status().await.expect("is there"), ExecutionStatus::Failed);
            assert_eq!(ran::count(key, "gives"), 1);

            let said = world.stent.run(tries_all_odd(key, which.into())).await.expect("each error is handled");
            assert_eq!(said.len(), 5);
            assert!(said.values().all(|said| says_why(said, which)), "{said:#?}");
            let said = world.stent.run(spawns_odd(which.into())).await.expect("the error is handled");
            assert!(said.contains(which), "{said}");

            let run = world.stent.dispatch(waits_for_go()).await.expect("dispatched");
            let error = run.signal("go", &odd).await.expect_err("is refused");
            assert!(error.to_string().starts_with("signal `go`: ") && says_why(&error.to_string(), which), "{error}");
            run.signal("go", &7).await.expect("is sent");
            assert_eq!(run.result().timeout("20s").await.expect("nothing else was sent"), 7);
        }
        worker.drain().await.expect("drains");
    }

    async fn a_value_too_deep_to_be_dropped_ends_no_process(world) {
        let worker = world.worker().await;
        let error = world.stent.run(gives_unlimited(100_000)).await.expect_err("too deep");
        assert!(codec_failure(&error, "levels deep"), "{error}");
        let error = world.stent.dispatch(takes_unlimited(Naive::new(100_000))).await.expect_err("too deep");
        assert!(error.to_string().contains("levels deep"), "{error}");
        assert!(world.stent.run(gives_unlimited(200)).await.is_ok());
        worker.drain().await.expect("drains");
    }

    async fn a_recorded_value_of_another_type_is_the_callers_error(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(waits_for_go()).await.expect("dispatched");
        run.signal("go", &"a text").await.expect("is sent");
        let error = run.result().timeout("20s").await.expect_err("it is no number");
        assert!(error.to_string().contains("cannot decode as u64"), "{error}");

        let run = world.stent.dispatch(waits_for_go()).await.expect("dispatched");
        run.signal("go", &7).await.expect("is sent");
        let other = world.stent.handle::<String>(run.id());
        let error = other.result().timeout("20s").await.expect_err("it is no text");
        assert!(matches!(error, Error::Codec { .. }), "{error}");
        worker.drain().await.expect("drains");
    }
}

#[tokio::test]
async fn a_body_that_runs_locally_refuses_what_a_store_refuses() {
    for (which, odd) in Odd::all() {
        let key = unique();
        let error = takes_odd(key, odd).local().await.expect_err("is refused");
        assert!(matches!(error, Error::Codec { .. }) && error.to_string().contains(which), "{error}");
        assert_eq!(ran::count(key, "takes"), 0);

        let error = gives_odd(key, which.into()).local().await.expect_err("is refused");
        assert!(codec_failure(&error, which), "{error}");

        let said = tries_all_odd(key, which.into()).local().await.expect("each error is handled");
        assert!(said.values().all(|said| says_why(said, which)), "{said:#?}");
    }
    gives_unlimited(100_000).local().await.expect_err("too deep");
    takes_unlimited(Naive::new(100_000)).local().await.expect_err("too deep");
}

#[durable]
async fn half_of(n: f64) -> Result<f64, String> {
    Ok(n / 2.0)
}

#[tokio::test]
async fn a_body_runs_locally_with_the_codec_of_its_store() {
    assert!(half_of(f64::NAN).local().await.expect("CBOR has it").is_nan());
    let error = half_of(f64::NAN).local().codec(Codec::Json).await.expect_err("JSON has not");
    assert!(error.to_string().contains("not a JSON number"), "{error}");
    assert_eq!(half_of(3.0).local().codec(Codec::Json).await.expect("runs"), 1.5);
}
