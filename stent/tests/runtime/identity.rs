//! The identity of a recorded step: its kind, its name and its arguments.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use stent::Codec;
use stent::prelude::*;
use stent::{Error, Failure, StentBuilder};

use crate::{on_every_store, ran, unique};

/// Enough entries that no two maps have the same iteration order.
const NAMES: [&str; 16] = [
    "ada", "alan", "alice", "barbara", "bob", "carol", "dave", "donald", "edsger", "eve", "frances", "grace",
    "john", "kim", "leslie", "tony",
];

#[durable(name = "identity.charge")]
async fn charge(name: String) -> Result<String, String> {
    Ok(name)
}

/// A new map each time, with an order of its own.
fn shuffled() -> HashMap<String, u32> {
    NAMES.iter().map(|name| (*name).to_owned()).zip(0..).collect()
}

fn shuffled_names() -> Vec<String> {
    shuffled().into_keys().collect()
}

/// The mismatch that an execution ended with.
async fn mismatch<T: serde::de::DeserializeOwned + std::fmt::Debug + 'static>(run: &Handle<T>) -> String {
    // A map of 17,000 items takes most of 20 s in memory when it is replayed at each wake, on a busy machine.
    let error = run.result().timeout("60s").await.expect_err("a mismatch");
    let Error::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.kind, Failure::MISMATCH, "{failure}");
    failure.message
}

/// The recorded and the requested step, as a mismatch shows them.
fn both(message: &str) -> [String; 2] {
    ["  - recorded: ", "  + the code:  "].map(|of| {
        let line = message.lines().find_map(|line| line.strip_prefix(of));
        line.unwrap_or_else(|| panic!("{message}")).to_owned()
    })
}

#[durable]
async fn charges_in_any_order() -> Result<Vec<(String, String)>, Error> {
    let mut got = Vec::new();
    for name in shuffled().keys() {
        got.push((name.clone(), charge(name.clone()).await?));
        stent::sleep("1ms").await?;
    }
    Ok(got)
}

#[durable]
async fn total(prices: HashMap<String, u32>) -> Result<u32, String> {
    Ok(prices.values().sum())
}

#[durable]
async fn gives_maps() -> Result<u32, Error> {
    let mut sum = 0;
    for _ in 0..3 {
        sum += total(shuffled()).await?;
        sum += total::map(vec![shuffled(), shuffled()]).await?.iter().sum::<u32>();
        sum += stent::spawn(total(shuffled())).await?.result().await?;
        stent::sleep("1ms").await?;
    }
    Ok(sum)
}

#[durable]
async fn size(names: HashSet<String>) -> Result<usize, String> {
    Ok(names.len())
}

#[durable(unchecked_args)]
async fn unchecked_size(names: HashSet<String>) -> Result<usize, String> {
    Ok(names.len())
}

#[durable]
async fn gives_a_set() -> Result<usize, Error> {
    let size = size(shuffled().into_keys().collect()).await?;
    stent::sleep("1ms").await?;
    Ok(size)
}

#[durable]
async fn gives_an_unchecked_set() -> Result<usize, Error> {
    let set = || shuffled().into_keys().collect::<HashSet<_>>();
    let size = unchecked_size(set()).await?;
    stent::sleep("1ms").await?;
    let sizes = unchecked_size::map(vec![set(), set()]).await?;
    stent::sleep("1ms").await?;
    Ok(size + sizes.iter().sum::<usize>())
}

#[durable]
async fn maps_in_any_order() -> Result<Vec<String>, Error> {
    let charged = charge::map(shuffled_names()).await?;
    stent::sleep("1ms").await?;
    Ok(charged)
}

#[durable]
async fn gathers_while_it_sleeps(key: u64) -> Result<(), Error> {
    ran::note(key, "run");
    let names = if ran::count(key, "run") == 1 { vec!["ada", "bob"] } else { vec!["ada", "eve"] };
    let names: Vec<_> = names.into_iter().map(|name| (key, name.to_owned())).collect();
    let (gathered, slept) = stent::join!(held::map(names).outcomes(), stent::sleep("1ms"));
    slept?;
    gathered?.into_iter().try_for_each(|outcome| outcome.map(drop))
}

/// Waits until its map was asked for twice.
#[durable(name = "identity.held")]
async fn held(key: u64, _name: String) -> Result<(), Error> {
    crate::until(|| ran::count(key, "run") > 1).await;
    Ok(())
}

/// Yields other items in the second run, more than can be open at once.
#[durable]
async fn feeds_others(key: u64) -> Result<usize, Error> {
    ran::note(key, "run");
    let first = u32::from(ran::count(key, "run") > 1);
    let items = (first..first + 17_000).map(|n| n.to_string());
    Ok(charge::map(items).await?.len())
}

#[durable]
async fn maps_fewer_or_more(key: u64, then: usize) -> Result<usize, Error> {
    ran::note(key, "run");
    let items = if ran::count(key, "run") == 1 { 3 } else { then };
    let charged = charge::map(NAMES[..items].iter().map(|name| (*name).to_owned())).await?;
    stent::sleep("1ms").await?;
    Ok(charged.len())
}

#[durable]
async fn spawns_in_any_order() -> Result<Vec<String>, Error> {
    let mut got = Vec::new();
    for name in shuffled_names() {
        stent::spawn(charge(name)).await?;
        stent::sleep("1ms").await?;
        got.push("spawned".to_owned());
    }
    Ok(got)
}

#[durable]
async fn joins_in_any_order() -> Result<Vec<(String, String)>, Error> {
    let mut runs = BTreeMap::new();
    for name in NAMES {
        runs.insert(name.to_owned(), stent::spawn(charge(name.to_owned())).await?);
    }
    let mut got = Vec::new();
    for name in shuffled_names() {
        let result = runs[&name].result().await?;
        got.push((name, result));
        stent::sleep("1ms").await?;
    }
    Ok(got)
}

#[durable(name = "identity.ping")]
async fn ping() -> Result<u64, Error> {
    Ok(7)
}

#[durable]
async fn keys_in_any_order() -> Result<(), Error> {
    let run = stent::execution()?.id();
    for name in shuffled_names() {
        ping().idempotency_key(format!("{run} {name}")).await?;
        stent::sleep("1ms").await?;
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Box { sides: [f32; 2], label: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Odd {
    shapes: Vec<Shape>,
    bytes: Vec<u8>,
    at: std::time::SystemTime,
    long: u128,
    deep: Option<Box<Self>>,
    letter: char,
    unit: (),
    pairs: BTreeMap<(u8, bool), i64>,
}

fn odd() -> Odd {
    let flat = Odd {
        shapes: vec![Shape::Point, Shape::Circle(f64::NAN), Shape::Circle(-0.0)],
        bytes: vec![0, 255],
        at: std::time::UNIX_EPOCH,
        long: u128::MAX,
        deep: None,
        letter: 'é',
        unit: (),
        pairs: BTreeMap::from([((1, true), i64::MIN)]),
    };
    let shapes = vec![Shape::Box { sides: [0.1, f32::INFINITY], label: Some(String::new()) }];
    Odd { shapes, deep: Some(Box::new(flat.clone())), ..flat }
}

#[durable]
async fn takes_odd_things(odd: Odd, nan: f32) -> Result<usize, String> {
    Ok(odd.shapes.len() + usize::from(nan.is_nan()))
}

#[durable]
async fn gives_odd_things() -> Result<usize, Error> {
    let mut sum = 0;
    for _ in 0..3 {
        sum += takes_odd_things(odd(), 0.0_f32 / std::hint::black_box(0.0)).await?;
        stent::sleep("1ms").await?;
    }
    Ok(sum)
}

#[durable(name = "identity.deployed")]
async fn pay(name: String, cents: u32) -> Result<u32, String> {
    drop(name);
    Ok(cents)
}

#[durable(name = "identity.deployed", version = "2")]
async fn pay_2(name: String, cents: u32) -> Result<u32, String> {
    pay(name, cents).local().await.map_err(|error| error.to_string())
}

#[durable(name = "identity.pack")]
async fn pack(key: u64) -> Result<(), String> {
    ran::note(key, "packed");
    Ok(())
}

#[durable(name = "identity.label", retry(max_attempts = 1))]
async fn label(address: String) -> Result<String, String> {
    if address.is_empty() { Err("no address".to_owned()) } else { Ok(address) }
}

fn address(key: u64) -> String {
    if ran::count(key, "mended") == 0 { String::new() } else { "street 7".to_owned() }
}

/// Passes its label the wrong argument until it is fixed.
#[durable(name = "identity.labels")]
async fn labels(key: u64) -> Result<String, Error> {
    pack(key).await?;
    label(address(key)).await
}

/// Fails with the failure of its label; once it is fixed, treats the failure as an answer.
#[durable(name = "identity.shrugs")]
async fn shrugs(key: u64) -> Result<String, Error> {
    match label(address(key)).await {
        Err(error) if ran::count(key, "mended") == 0 => Err(error),
        labelled => {
            stent::sleep("1ms").await?;
            Ok(labelled.unwrap_or_else(|_| "no label".to_owned()))
        }
    }
}

/// The changes that a deploy makes to `caller`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Deploy {
    Nothing,
    OtherArguments,
    OtherVersion,
}

/// Code that changes once its deploy is noted.
#[durable(name = "identity.caller")]
async fn caller(key: u64, deploy: Deploy) -> Result<u32, Error> {
    let deploy = if ran::count(key, "deployed") == 0 { Deploy::Nothing } else { deploy };
    let paid = match deploy {
        Deploy::Nothing => pay("alice".to_owned(), 7).await?,
        Deploy::OtherArguments => pay("bob".to_owned(), 7).await?,
        Deploy::OtherVersion => pay_2("bob".to_owned(), 7).await?,
    };
    stent::signal::<()>("go").await?;
    Ok(paid)
}

/// Runs `caller` up to its wait before a deploy, and on after it.
async fn deployed(
    world: &crate::World,
    deploy: Deploy,
    old: StentBuilder,
    new: StentBuilder,
) -> (Handle<u32>, stent::Worker) {
    let key = unique();
    let old = old.open(world.stent.store().clone()).await.expect("opens");
    let worker = old.worker().state(crate::Db).start().await.expect("starts");
    let run = old.dispatch(caller(key, deploy)).await.expect("dispatched");
    let waits = async || {
        let tasks = old.store().tasks(run.id(), None, 9).await.expect("tasks");
        tasks.iter().any(|task| task.kind == stent::view::StepKind::Signal)
    };
    crate::eventually(waits).await;
    worker.drain().await.expect("drains");
    ran::note(key, "deployed");
    let new = new.open(world.stent.store().clone()).await.expect("opens");
    run.signal("go", &()).await.expect("sent");
    let worker = new.worker().state(crate::Db).start().await.expect("starts");
    (run, worker)
}

/// A weak cipher.
#[derive(Debug)]
struct Flip;

impl stent::PayloadTransform for Flip {
    fn name(&self) -> &str {
        "flip"
    }

    fn seal(&self, bytes: Vec<u8>) -> Result<Vec<u8>, stent::TransformError> {
        Ok(bytes.into_iter().map(|byte| !byte).collect())
    }

    fn open(&self, bytes: Vec<u8>) -> Result<Vec<u8>, stent::TransformError> {
        self.seal(bytes)
    }
}

on_every_store! {
    async fn a_loop_over_a_hash_map_is_a_mismatch_that_shows_both_arguments(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(charges_in_any_order()).await.expect("dispatched");

        let message = mismatch(&run).await;

        let [recorded, asked] = both(&message);
        assert_ne!(recorded, asked);
        for shown in [recorded, asked] {
            let name = shown.strip_prefix("call `identity.charge(\"").and_then(|rest| rest.strip_suffix("\")`"));
            assert!(name.is_some_and(|name| NAMES.contains(&name)), "{message}");
        }
        assert!(message.contains("identity.rs:") && message.contains("a hash map's order"), "{message}");
        worker.drain().await.expect("drains");
    }

    async fn an_argument_that_contains_a_hash_map_does_not_differ_from_itself(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(gives_maps()).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), 3 * 4 * 120);
        worker.drain().await.expect("drains");
    }

    async fn an_argument_of_any_shape_does_not_differ_from_itself(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(gives_odd_things()).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), 3 * 2);
        worker.drain().await.expect("drains");
    }

    async fn a_hash_set_in_an_argument_is_a_mismatch_that_says_so(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(gives_a_set()).await.expect("dispatched");
        let message = mismatch(&run).await;
        for part in ["HashSet", "BTreeSet", "#[durable(unchecked_args)]"] {
            assert!(message.contains(part), "{message}");
        }
        worker.drain().await.expect("drains");
    }

    async fn a_function_can_leave_its_arguments_uncompared(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(gives_an_unchecked_set()).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), 3 * NAMES.len());
        worker.drain().await.expect("drains");
    }

    async fn a_map_over_items_in_another_order_is_a_mismatch_even_when_it_is_done(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(maps_in_any_order()).await.expect("dispatched");

        let message = mismatch(&run).await;

        let [recorded, asked] = both(&message);
        assert!(recorded.starts_with("map `identity.charge` over 16 items, item "), "{message}");
        assert!(asked.starts_with("map `identity.charge` over other items, item "), "{message}");
        assert_ne!(recorded.split_once(": "), asked.split_once(": "), "{message}");
        worker.drain().await.expect("drains");
    }

    async fn a_map_over_other_items_while_it_is_open_is_a_mismatch(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let run = world.stent.dispatch(gathers_while_it_sleeps(key)).await.expect("dispatched");

        let message = mismatch(&run).await;

        let [recorded, asked] = both(&message);
        assert_eq!(recorded, format!("gather `identity.held` over 2 items, item 1: ({key},\"bob\")"));
        assert_eq!(asked, format!("gather `identity.held` over other items, item 1: ({key},\"eve\")"));
        worker.drain().await.expect("drains");
    }

    async fn a_map_that_is_half_fed_is_compared_before_it_goes_on(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let run = world.stent.dispatch(feeds_others(key)).await.expect("dispatched");

        let message = mismatch(&run).await;

        let [recorded, asked] = both(&message);
        assert_eq!(recorded, "map `identity.charge` over 16000 or more items, item 0: (\"0\")");
        assert_eq!(asked, "map `identity.charge` over other items, item 0: (\"1\")");
        worker.drain().await.expect("drains");
    }

    async fn a_map_over_fewer_or_more_items_is_a_mismatch(world) {
        let worker = world.forgetful_worker().await;
        for (then, shown) in [(2, "2 items"), (4, "4 or more items")] {
            let run = world.stent.dispatch(maps_fewer_or_more(unique(), then)).await.expect("dispatched");
            let [recorded, asked] = both(&mismatch(&run).await);
            assert_eq!(recorded, "map `identity.charge` over 3 items");
            assert_eq!(asked, format!("map `identity.charge` over {shown}"));
        }
        worker.drain().await.expect("drains");
    }

    async fn spawns_in_another_order_are_a_mismatch(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(spawns_in_any_order()).await.expect("dispatched");
        for shown in both(&mismatch(&run).await) {
            assert!(NAMES.iter().any(|name| shown == format!("spawn `identity.charge(\"{name}\")`")), "{shown}");
        }
        worker.drain().await.expect("drains");
    }

    async fn waits_for_executions_in_another_order_are_a_mismatch(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(joins_in_any_order()).await.expect("dispatched");
        let [recorded, asked] = both(&mismatch(&run).await);
        assert_ne!(recorded, asked);
        for shown in [recorded, asked] {
            assert!(shown.starts_with("join `execution(\"0"), "{shown}");
        }
        worker.drain().await.expect("drains");
    }

    async fn another_idempotency_key_is_a_mismatch(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(keys_in_any_order()).await.expect("dispatched");
        let message = mismatch(&run).await;
        assert!(message.contains("the idempotency keys differ"), "{message}");
        worker.drain().await.expect("drains");
    }

    async fn arguments_that_a_deploy_changes_are_a_mismatch(world) {
        let (run, worker) = deployed(&world, Deploy::OtherArguments, Stent::builder(), Stent::builder()).await;
        let [recorded, asked] = both(&mismatch(&run).await);
        assert_eq!(recorded, "call `identity.deployed(\"alice\",7)`");
        assert_eq!(asked, "call `identity.deployed(\"bob\",7)`");
        worker.drain().await.expect("drains");
    }

    async fn a_dead_letter_goes_on_with_arguments_that_a_deploy_has_mended(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(labels(key)).await.expect("dispatched");
        let failed = run.result().timeout("20s").await.expect_err("the label is empty");
        assert!(failed.to_string().contains("no address"), "{failed}");

        ran::note(key, "mended");
        world.stent.dead_letters().retry(run.id()).await.expect("is tried again");
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), "street 7");
        assert_eq!(ran::count(key, "packed"), 1, "what had gone well is kept");
        worker.drain().await.expect("drains");
    }

    async fn a_failure_that_mended_code_takes_for_an_answer_is_no_answer_to_other_arguments(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(shrugs(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("the label is empty");

        ran::note(key, "mended");
        world.stent.dead_letters().retry(run.id()).await.expect("is tried again");
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), "street 7");
        worker.drain().await.expect("drains");
    }

    async fn a_new_version_of_a_function_may_be_given_other_arguments(world) {
        let (run, worker) = deployed(&world, Deploy::OtherVersion, Stent::builder(), Stent::builder()).await;
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), 7);
        worker.drain().await.expect("drains");
    }

    async fn another_codec_and_a_cipher_are_no_difference(world) {
        for (deploy, differs) in [(Deploy::Nothing, false), (Deploy::OtherArguments, true)] {
            let (old, new) = (Stent::builder().transform(Flip), Stent::builder().codec(Codec::Json).transform(Flip));
            let (run, worker) = deployed(&world, deploy, old, new).await;
            if differs {
                // Failures are not sealed, so this one must not show sealed data.
                let message = mismatch(&run).await;
                let [recorded, asked] = both(&message);
                assert_eq!(recorded, "call `identity.deployed` with other arguments");
                assert_eq!(
                    asked,
                    "call `identity.deployed` (arguments are sealed in this store, and not shown)"
                );
                assert!(!message.contains("alice") && !message.contains("bob"), "{message}");
            } else {
                assert_eq!(run.result().timeout("20s").await.expect("goes on"), 7);
            }
            worker.drain().await.expect("drains");
        }
    }
}
