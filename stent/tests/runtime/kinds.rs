//! Kinds of failures: the type of an error in a store, in a policy and in a box.

use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::{Error, Failure};

use crate::{on_every_store, ran, unique};

/// Two types of one name, each of which can decode the other.
mod bank {
    use super::*;

    #[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    #[error("the bank said {0}")]
    pub(super) struct Error(pub(super) u16);
}

mod parcel {
    use super::*;

    #[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    #[error("the carrier said {0}")]
    pub(super) struct Error(pub(super) u16);
}

/// Moved here from `billing`, which is in the kind of its older failures.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("moved")]
struct Moved;

impl stent::Classify for Moved {
    const KIND: Option<&'static str> = Some("billing::errors::Moved");

    fn variant(&self) -> Option<&'static str> {
        Some("Late")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a panic, it says")]
struct Panic;

#[durable(retry(max_attempts = 2, initial_delay = "1ms", retry_for = [bank::Error]))]
async fn bank_again(key: u64, bank: bool) -> anyhow::Result<()> {
    ran::note(key, "bank");
    if bank { Err(bank::Error(51))? } else { Err(parcel::Error(51))? }
}

#[durable(retry(max_attempts = 2, initial_delay = "1ms", retry_for = [Panic]))]
async fn panics_anyway(key: u64) -> Result<(), Panic> {
    ran::note(key, "panics");
    if ran::count(key, "panics") < 9 { panic!("once") } else { Err(Panic) }
}

#[durable(retry(max_attempts = 2, initial_delay = "1ms", retry_for = ["stent::Panic"]))]
async fn says_panic(key: u64) -> Result<(), Failure> {
    ran::note(key, "says");
    Err(Failure::new("stent::Panic", "not at all"))
}

#[durable(retry(max_attempts = 1))]
async fn fails_parcel(code: u16) -> Result<(), parcel::Error> {
    Err(parcel::Error(code))
}

#[durable]
async fn through_anyhow(code: u16) -> anyhow::Result<()> {
    fails_parcel(code).await?;
    Ok(())
}

#[durable]
async fn through_more_anyhow(code: u16) -> anyhow::Result<()> {
    use anyhow::Context as _;
    through_anyhow(code).await.context("at checkout")?;
    Ok(())
}

#[durable]
async fn in_a_step(code: u16) -> anyhow::Result<()> {
    stent::step("carrier", async || Err::<(), anyhow::Error>(parcel::Error(code).into())).await?;
    Ok(())
}

#[durable(retry(max_attempts = 2, initial_delay = "1ms"))]
async fn moved(key: u64) -> Result<(), Moved> {
    ran::note(key, "moved");
    Err(Moved)
}

#[durable(retry(max_attempts = 2, initial_delay = "1ms", retry_for = ["stent::Untyped"]))]
async fn says_text(key: u64) -> Result<(), String> {
    ran::note(key, "text");
    Err("no".to_owned())
}

/// Cannot be encoded by serde.
#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refused;

impl stent::Classify for Refused {
    fn variant(&self) -> Option<&'static str> {
        Some("Refused")
    }

    fn is_fatal(&self) -> bool {
        true
    }
}

#[durable(retry(max_attempts = 2, initial_delay = "1ms", retry_for = [bank::Error, "Refused"]))]
async fn refuses(key: u64, how: u8) -> anyhow::Result<()> {
    ran::note(key, "refuses");
    match how {
        0 => Err(refuses_typed().await)?,
        1 => stent::step("refuse", async || Err::<(), _>(Refused)).await?,
        2 => Err(anyhow::Error::from(Refused).context("told"))?,
        _ => Err(stent::fatal(Refused))?,
    };
    Ok(())
}

async fn refuses_typed() -> anyhow::Error {
    refused().await.expect_err("it fails").into()
}

#[durable(retry(max_attempts = 2, initial_delay = "1ms"))]
async fn refused() -> Result<(), Refused> {
    Err(Refused)
}

fn policy(kind: &str) -> stent::RetryPolicy {
    stent::RetryPolicy::default()
        .max_attempts(2)
        .initial_delay(std::time::Duration::from_millis(1))
        .retry_for([kind])
}

on_every_store! {
    async fn types_of_one_name_are_told_apart(world) {
        let worker = world.worker().await;
        for (bank, ran) in [(true, 2), (false, 1)] {
            let key = unique();
            let error = world.stent.run(bank_again(key, bank)).await.expect_err("it fails");
            assert_eq!(ran::count(key, "bank"), ran, "{error}");
            assert_eq!(error.downcast::<bank::Error>(), bank.then_some(bank::Error(51)));
            assert_eq!(error.downcast::<parcel::Error>(), (!bank).then_some(parcel::Error(51)));
            let module = if bank { "bank" } else { "parcel" };
            assert_eq!(error.failure().expect("a failure").kind, format!("runtime::kinds::{module}::Error"));
        }
        worker.drain().await.expect("drains");
    }

    async fn kinds_of_stents_own_and_of_the_application_never_meet(world) {
        let worker = world.worker().await;
        let key = unique();
        world.stent.run(panics_anyway(key)).await.expect_err("it panics");
        assert_eq!(ran::count(key, "panics"), 1, "a type named Panic is no panic");
        let error = world.stent.run(says_panic(key)).await.expect_err("it fails");
        assert_eq!(ran::count(key, "says"), 1);
        assert_eq!(error.failure().expect("a failure").kind, "user::stent::Panic");

        let error = world.stent.dispatch(says_panic(key)).retry(policy("stent::Panik")).await.expect_err("there is no such kind");
        assert!(error.to_string().contains("not one of Stent's"), "{error}");
        worker.drain().await.expect("drains");
    }

    async fn an_error_stays_what_it_is_through_anyhow_and_no_text_grows(world) {
        let worker = world.worker().await;
        let near = world.stent.run(fails_parcel(7)).await.expect_err("it fails");
        let far = world.stent.run(through_anyhow(7)).await.expect_err("it fails");
        assert_eq!(far.failure(), near.failure());
        assert_eq!(far.to_string(), "Error: the carrier said 7");

        let told = world.stent.run(through_more_anyhow(7)).await.expect_err("it fails");
        assert_eq!(told.to_string(), "Error: at checkout: the carrier said 7");
        let (told, near) = (told.failure().expect("a failure"), near.failure().expect("a failure"));
        assert_eq!((&told.kind, &told.data, &told.trace), (&near.kind, &near.data, &near.trace));
        assert_eq!(told.downcast(), Some(parcel::Error(7)));

        let step = world.stent.run(in_a_step(7)).await.expect_err("it fails");
        assert_eq!((step.to_string(), step.downcast()), ("Error: the carrier said 7".into(), Some(parcel::Error(7))));
        worker.drain().await.expect("drains");
    }

    async fn a_type_that_moved_keeps_its_name_in_what_is_stored_and_its_policy(world) {
        let worker = world.worker().await;
        for (kind, attempts) in [
            // As the macro stored it before the move, as people write it, and as older versions stored it.
            ("::billing::errors::Moved", 2),
            ("::billing::errors::Moved::Late", 2),
            ("errors::Moved", 2),
            ("Moved", 2),
            ("Moved::Late", 2),
            ("Moved::Early", 1),
            ("::runtime::kinds::Moved", 1),
        ] {
            let key = unique();
            let run = world.stent.dispatch(moved(key)).retry(policy(kind)).await.expect("dispatched");
            let error = run.result().timeout("20s").await.expect_err("it fails");
            assert_eq!(ran::count(key, "moved"), attempts, "{kind}");
            let failure = error.failure().expect("a failure");
            assert_eq!((failure.kind.as_str(), failure.data_type.as_deref()), ("billing::errors::Moved::Late", Some("billing::errors::Moved")));
            assert_eq!(error.downcast(), Some(Moved));
        }
        worker.drain().await.expect("drains");
    }

    async fn a_type_says_the_same_of_itself_wherever_its_error_comes_from(world) {
        let worker = world.worker().await;
        for how in 0..4 {
            let key = unique();
            let error = world.stent.run(refuses(key, how)).await.expect_err("it fails");
            let failure = error.failure().expect("a failure");
            assert_eq!((failure.kind.as_str(), failure.fatal), ("runtime::kinds::Refused::Refused", true), "{how}");
            assert_eq!(ran::count(key, "refuses"), 1, "{how}: fatal errors are not retried");
        }
        worker.drain().await.expect("drains");
    }

    async fn a_text_has_a_kind_that_no_type_has(world) {
        let worker = world.worker().await;
        for (kind, attempts) in [("stent::Untyped", 2), ("Error", 2), ("bank::Error", 1)] {
            let key = unique();
            let run = world.stent.dispatch(says_text(key)).retry(policy(kind)).await.expect("dispatched");
            let error = run.result().timeout("20s").await.expect_err("it fails");
            assert_eq!((ran::count(key, "text"), error.to_string().as_str()), (attempts, "no"), "{kind}");
            assert_eq!(error.failure().map(|failure| failure.kind.as_str()), Some(Failure::UNTYPED));
            assert!(matches!(error, Error::Failed(_)));
        }
        worker.drain().await.expect("drains");
    }
}
