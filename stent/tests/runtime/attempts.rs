//! The ids and random numbers of steps in later attempts of their function.

use std::collections::BTreeSet;

use stent::Error;
use stent::prelude::*;

use crate::{on_every_store, ran, unique};

fn say(key: u64, what: &str) {
    let task = stent::execution().expect("in a function").task();
    ran::note(key, format!("{what} {task} {} {}", stent::uuid(), stent::random_u64()));
}

/// The notes that begin with a word.
fn said(key: u64, what: &str) -> Vec<String> {
    ran::list(key).into_iter().filter(|note| note.starts_with(what)).collect()
}

fn distinct(notes: &[String]) -> usize {
    notes.iter().collect::<BTreeSet<_>>().len()
}

#[durable(name = "attempts.charge", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn charge(key: u64) -> Result<u64, String> {
    say(key, "charge");
    if said(key, "mended").is_empty() { Err("declined".to_owned()) } else { Ok(1) }
}

/// Still runs when its caller gives it up.
#[durable(name = "attempts.refund")]
async fn refund(key: u64) -> Result<u64, String> {
    say(key, "refund");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    Ok(1)
}

#[durable(name = "attempts.ship")]
async fn ship(key: u64) -> Result<u64, String> {
    say(key, "ship");
    Ok(1)
}

/// Charges, and asks for another step at the same position if the charge has failed.
#[durable(name = "attempts.order", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn order(key: u64) -> Result<u64, Error> {
    stent::step("reserve", || async { Ok::<_, String>(()) }).await?;
    ran::note(key, format!("before {}", stent::uuid()));
    let charged = charge(key).await;
    ran::note(key, format!("after {}", stent::uuid()));
    if let Err(error) = charged {
        let begun = said(key, "refund").len();
        let is_under_way = async {
            while said(key, "refund").len() == begun {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            biased;
            refunded = refund(key) => drop(refunded),
            () = is_under_way => {}
        }
        return Err(error);
    }
    ship(key).await
}

on_every_store! {
    async fn a_failed_step_is_the_same_one_in_every_attempt_and_what_comes_after_it_is_not(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(order(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it is declined");
        ran::note(key, "mended");
        world.stent.dead_letters().retry(run.id()).await.expect("is a dead letter");
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), 1);

        // Two attempts of the function with two attempts of the step each, and one more of both in the retry.
        let charges = said(key, "charge");
        assert_eq!((charges.len(), distinct(&charges)), (5, 1), "{charges:#?}");
        assert_eq!(distinct(&said(key, "before")), 1, "the code before the failure draws the same");
        // A replay that reaches the failure again draws the same numbers as the attempt, and gives up there.
        let after = said(key, "after");
        assert_eq!(distinct(&after), 3, "what each attempt draws after it is its own: {after:#?}");
        let (refunds, ships) = (said(key, "refund"), said(key, "ship"));
        assert_eq!(distinct(&refunds), 2, "{refunds:#?}");
        let id = |note: &String| note.split(' ').nth(1).map(ToOwned::to_owned);
        assert!(refunds.iter().chain(&charges).all(|note| id(note) != id(&ships[0])), "{ships:#?}");
        worker.drain().await.expect("drains");
    }
}
