//! Steps that run twice, because their first run was cut off, and the ids and numbers that they get in each run.
//!
//! They write these to a file outside the store, as they would send a key to a payment service.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use stent::prelude::*;

use crate::ledger::{Ledger, Place};
use crate::stage::{Life, Stage};
use crate::{PATIENCE, SHORT_LEASE};

/// The worker process in which the steps do not end.
const FIRST: usize = 0;
const SECOND: usize = 1;

/// The end of the first worker.
#[derive(Clone, Copy)]
enum Cut {
    Killed,
    /// Its grace runs out while the steps are still running.
    Drained,
}

/// Reports its id. Never returns in the first worker.
async fn tell(place: &Place, ledger: &Ledger) -> io::Result<u64> {
    let task = stent::execution().map_err(io::Error::other)?.task();
    tell_draws(place, task, ledger).await
}

async fn tell_draws(place: &Place, task: impl std::fmt::Display, ledger: &Ledger) -> io::Result<u64> {
    let draws = [stent::uuid().to_string(), stent::random().to_string(), stent::uuid().to_string()];
    ledger.tell(place, &format!("{task} {} {}", draws.join(" "), stent::now()))?;
    if ledger.life == FIRST {
        std::future::pending::<()>().await;
    }
    Ok(1)
}

#[durable(name = "again.leaf")]
async fn leaf(place: Place, State(ledger): State<Ledger>) -> io::Result<u64> {
    tell(&place, &ledger).await
}

/// Runs in its parent's turn, and has no row before its step is recorded.
#[durable(name = "again.in_step")]
async fn in_step(place: Place, State(ledger): State<Ledger>) -> stent::Result<u64> {
    stent::step("tell", || tell(&place, &ledger)).await
}

#[durable(name = "again.alone")]
async fn alone(place: Place) -> stent::Result<u64> {
    leaf(place.at(0)).await
}

/// A step after others, and after non-durable work.
#[durable(name = "again.later")]
async fn later(place: Place) -> stent::Result<u64> {
    stent::step("first", || async { Ok::<_, io::Error>(()) }).await?;
    stent::sleep("5ms").await?;
    tokio::time::sleep(Duration::from_millis(2)).await;
    leaf(place.at(0)).await
}

#[durable(name = "again.below")]
async fn below(place: Place) -> stent::Result<u64> {
    alone(place.at(0)).await
}

#[durable(name = "again.beside")]
async fn beside(place: Place) -> stent::Result<u64> {
    let (one, two) = stent::join!(leaf(place.at(0)), leaf(place.at(1)));
    Ok(one? + two?)
}

#[durable(name = "again.race")]
async fn race(place: Place) -> stent::Result<u64> {
    stent::select! {
        told = leaf(place.at(0)) => told,
        slept = stent::sleep("10h") => slept.map(|()| 0),
    }
}

#[durable(name = "again.items")]
async fn items(place: Place) -> stent::Result<u64> {
    Ok(leaf::map((0..3).map(move |item| place.at(item))).await?.iter().sum())
}

#[durable(name = "again.closure")]
async fn closure(place: Place) -> stent::Result<u64> {
    in_step(place.at(0)).await
}

#[durable(name = "again.spawns")]
async fn spawns(place: Place) -> stent::Result<u64> {
    stent::spawn(alone(place.at(0))).await?.result().await
}

#[durable(name = "again.transaction")]
async fn transaction(place: Place, State(ledger): State<Ledger>) -> stent::Result<u64> {
    let task = stent::execution()?.task();
    // While the transaction is open, there are no other writes to an SQLite store.
    stent::transaction(async |_| tell_draws(&place, task, &ledger).await).timeout("1h").await
}

/// Dispatches the executions, ends the first worker once this many steps have reported, and lets a second one finish.
async fn cut_off(stage: &Stage, cut: Cut, runs: Vec<Handle<u64>>, steps: usize) {
    let life = Life { lease: SHORT_LEASE, grace: Some(Duration::from_millis(50)), ..Life::number(FIRST) };
    let first = stage.start(life);
    stage.until_told(PATIENCE, steps).await;
    match cut {
        Cut::Killed => drop(first.kill()),
        Cut::Drained => first.finish(),
    }
    let second = stage.start(Life::number(SECOND));
    for run in &runs {
        run.result().timeout(PATIENCE).await.unwrap();
    }
    second.finish();

    let mut told: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for line in stage.told() {
        let known = told.entry(line.place.clone()).or_default().insert(line.life, line.text.clone());
        assert!(known.is_none_or(|known| known == line.text), "one worker ran it twice: {line:?}");
    }
    println!("{told:#?}");
    assert_eq!(told.len(), steps);
    let differ: BTreeMap<_, _> =
        told.iter().filter(|(_, lives)| lives.get(&FIRST) != lives.get(&SECOND)).collect();
    assert!(differ.is_empty(), "the second run was told otherwise than the first: {differ:#?}");
    let ids: std::collections::BTreeSet<_> = told.values().map(|lives| &lives[&FIRST]).collect();
    assert_eq!(ids.len(), steps, "no two steps are told the same");
}

async fn every_kind(stage: Stage, cut: Cut) {
    let stent = Stent::connect(&stage.url()).await.unwrap();
    let runs = vec![
        stent.dispatch(leaf(Place::root(0))).await.unwrap(),
        stent.dispatch(alone(Place::root(1))).await.unwrap(),
        stent.dispatch(later(Place::root(2))).await.unwrap(),
        stent.dispatch(below(Place::root(3))).await.unwrap(),
        stent.dispatch(beside(Place::root(4))).await.unwrap(),
        stent.dispatch(race(Place::root(5))).await.unwrap(),
        stent.dispatch(items(Place::root(6))).await.unwrap(),
        stent.dispatch(closure(Place::root(7))).await.unwrap(),
        stent.dispatch(spawns(Place::root(8))).await.unwrap(),
    ];
    cut_off(&stage, cut, runs, 12).await;
}

on_every_store! {
    async fn a_step_whose_process_is_killed_has_the_same_id_and_draws_when_it_runs_again(stage) {
        every_kind(stage, Cut::Killed).await;
    }

    async fn a_step_that_outlasts_the_grace_of_a_drain_has_the_same_id_and_draws_when_it_runs_again(stage) {
        every_kind(stage, Cut::Drained).await;
    }
}

on_every_database! {
    async fn a_transaction_whose_process_is_killed_draws_the_same_when_it_runs_again(stage) {
        let stent = Stent::connect(&stage.url()).await.unwrap();
        let run = stent.dispatch(transaction(Place::root(0))).await.unwrap();
        cut_off(&stage, Cut::Killed, vec![run], 1).await;
    }
}
