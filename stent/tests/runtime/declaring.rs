//! The options of a function's attribute: options, keys, versions, and which functions a `Stent` knows.

use std::time::Duration;

use stent::prelude::*;
use stent::{Cached, ExecutionStatus, Function, Rate, Registry};

use crate::{on_every_store, ran, unique};

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Order {
    number: u64,
}

fn order_number(order: &Order, _express: &bool) -> u64 {
    order.number
}

#[durable(
    tags = ["gpu", "eu"],
    max_concurrent = 10,
    rate = "100/10s",
    idempotent,
    cached = "1h",
    key = order_number,
    max_duration = "10m",
    queue = "declaring",
    priority = 3
)]
async fn declared(order: Order, State(_db): State<crate::Db>, _express: bool) -> Result<u64, String> {
    Ok(order.number)
}

fn shout(name: &str) -> String {
    name.to_uppercase()
}

#[durable(cached, key = shout)]
async fn cached_for_ever(_name: String) {}

#[durable(idempotent, max_duration = "0s")]
async fn keyed_by_arguments(_name: String) {}

#[durable(name = "declaring.ship")]
async fn ship_1(key: u64) -> Result<u32, stent::Error> {
    ran::note(key, "1");
    stent::sleep("1ms").await?;
    Ok(1)
}

#[durable(name = "declaring.ship", version = "2")]
async fn ship_2(key: u64) -> Result<u32, stent::Error> {
    ran::note(key, "2");
    stent::sleep("1ms").await?;
    Ok(2)
}

async fn runs_one_and_leaves_the_other(stent: &Stent, one: &Handle<u32>, other: &Handle<u32>) -> u32 {
    let worker = stent.worker().start().await.expect("starts");
    let ran = one.result().timeout("20s").await.expect("runs");
    assert_eq!(other.status().await.expect("known"), ExecutionStatus::Pending);
    worker.drain().await.expect("drains");
    ran
}

mod usurper {
    use stent::prelude::*;

    /// Another function of the same name and version, implemented by hand, so that it is only in this test's registry.
    pub(super) struct Ship2;

    impl stent::Function for Ship2 {
        type Args = (u64,);
        type Output = u32;
        const NAME: &'static str = "declaring.ship@2";

        fn options() -> stent::FunctionOptions {
            stent::FunctionOptions::new()
        }

        fn needs() -> Vec<stent::functions::StateKey> {
            Vec::new()
        }

        fn invoke(
            _: Self::Args,
            _: &stent::functions::States,
        ) -> stent::functions::BoxFuture<'static, Result<u32, stent::Failure>> {
            Box::pin(async { Ok(3) })
        }
    }

    /// Its options let nothing run, which the attribute would refuse.
    pub(super) struct Idle;

    impl stent::Function for Idle {
        type Args = ();
        type Output = ();
        const NAME: &'static str = "declaring.idle";

        fn options() -> stent::FunctionOptions {
            stent::FunctionOptions::new().max_concurrent(0)
        }

        fn needs() -> Vec<stent::functions::StateKey> {
            Vec::new()
        }

        fn invoke(
            (): (),
            _: &stent::functions::States,
        ) -> stent::functions::BoxFuture<'static, Result<(), stent::Failure>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[durable]
    async fn somebody() {}

    pub(super) fn registry() -> stent::Registry {
        stent::Registry::new().with::<somebody>()
    }
}

#[test]
fn a_registry_shows_what_attributes_say() {
    let registry = Registry::new().with::<declared>().with::<cached_for_ever>().with::<ship_2>();

    let options = registry.options("declared").expect("it is there");
    assert_eq!(options.tags, ["gpu", "eu"]);
    assert_eq!(options.max_concurrent, Some(10));
    assert_eq!(options.rate, Some(Rate { max: 100, per: Duration::from_secs(10) }));
    assert!(options.idempotent);
    assert_eq!(options.cached, Some(Cached::For(Duration::from_secs(3_600))));
    assert_eq!(options.max_duration, Some(Duration::from_secs(600)));
    assert_eq!((options.queue, options.priority), (Some("declaring"), 3));

    let options =
        Registry::new().with::<keyed_by_arguments>().options("keyed_by_arguments").expect("it is there");
    assert_eq!(options.max_duration, None, "zero is no limit");
    let options = registry.options("cached_for_ever").expect("it is there");
    assert_eq!(options.cached, Some(Cached::Forever));
    assert_eq!(registry.options("declaring.ship@2"), Some(stent::FunctionOptions::new()));
    assert_eq!(registry.options("declaring.ship"), None);
}

#[test]
fn a_registry_is_a_value_of_its_own() {
    let mut names = Registry::new().with::<declared>().with::<ship_2>();
    let copy = names.clone();
    names = names.with::<cached_for_ever>();
    assert_eq!(names.names().collect::<Vec<_>>(), ["cached_for_ever", "declared", "declaring.ship@2"]);
    assert_eq!(copy.names().collect::<Vec<_>>(), ["declared", "declaring.ship@2"]);
    assert_eq!(Registry::new().names().count(), 0);
    let linked = Registry::linked();
    assert!(linked.names().any(|name| name == "declaring.ship@2"), "what is linked is there unasked");
    assert!(linked.names().all(|name| name != "declaring.idle"), "and what is registered by hand is not");
}

#[test]
fn a_key_is_what_the_users_function_says_of_the_arguments() {
    let args = (Order { number: 7 }, true);
    assert_eq!(declared::key(&args).as_deref(), Some("7"));
    assert_eq!(cached_for_ever::key(&("kim".to_owned(),)).as_deref(), Some("KIM"));
    assert_eq!(cached_for_ever::key(&(String::new(),)).as_deref(), Some(""));
    assert_eq!(keyed_by_arguments::key(&("kim".to_owned(),)), None);
}

#[tokio::test]
async fn a_version_given_twice_is_an_error_that_names_both_places() {
    let registry = Registry::new().with::<ship_1>().with::<ship_2>().with::<usurper::Ship2>();
    let error = Stent::builder().registry(registry).connect("memory:").await.expect_err("two of a version");
    for part in ["`declaring.ship@2`", "declaring::ship_2", "usurper::Ship2", "version"] {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
}

#[tokio::test]
async fn options_by_hand_are_checked_when_the_stent_is_built() {
    let registry = Registry::new().with::<usurper::Idle>();
    let error = Stent::builder().registry(registry).connect("memory:").await.expect_err("nothing would run");
    for part in ["`max_concurrent`", "`declaring.idle`", "1 or more"] {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
}

/// Calls the old version until the new version is deployed.
#[durable]
async fn upgraded_caller(key: u64) -> Result<u32, stent::Error> {
    let shipped = if ran::count(key, "upgraded") == 0 { ship_1(key).await? } else { ship_2(key).await? };
    ran::note(key, "called");
    stent::signal::<()>("go").await?;
    Ok(shipped)
}

on_every_store! {
    async fn a_worker_leaves_the_work_of_versions_that_it_does_not_know(world) {
        let knows_1 = world.with_registry(Registry::new().with::<ship_1>()).await;
        let knows_2 = world.with_registry(Registry::new().with::<ship_2>()).await;
        let key = unique();

        // The tasks that a worker must not claim are older each time, so they would be claimed first.
        let strange = knows_2.dispatch(ship_2(key)).await.expect("dispatched");
        let known = knows_1.dispatch(ship_1(key)).await.expect("dispatched");
        assert_eq!(runs_one_and_leaves_the_other(&knows_1, &known, &strange).await, 1);

        let strange = knows_1.dispatch(ship_1(key)).await.expect("dispatched");
        assert_eq!(runs_one_and_leaves_the_other(&knows_2, &known, &strange).await, 1);
        let known = knows_2.dispatch(ship_2(key)).await.expect("dispatched");
        assert_eq!(runs_one_and_leaves_the_other(&knows_2, &known, &strange).await, 2);

        let worker = knows_1.worker().start().await.expect("starts");
        assert_eq!(strange.result().timeout("20s").await.expect("runs"), 1);
        worker.drain().await.expect("drains");
    }

    async fn a_caller_may_call_another_version_of_what_is_on_record(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(upgraded_caller(key)).await.expect("dispatched");
        crate::eventually(async || ran::count(key, "called") == 1).await;
        ran::note(key, "upgraded");
        run.signal("go", &()).await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 1, "what is on record stands");
        worker.drain().await.expect("drains");
    }

    async fn work_that_nobody_here_knows_is_reported(world) {
        let knows_1 = world.with_registry(Registry::new().with::<ship_1>()).await;
        let knows_2 = world.with_registry(Registry::new().with::<ship_2>()).await;
        knows_2.dispatch(ship_2(unique())).await.expect("dispatched");
        let unknown = knows_1.inspect().unknown_work().await.expect("read");
        assert_eq!(unknown.len(), 1, "{unknown:?}");
        assert_eq!((unknown[0].lane.function.as_str(), unknown[0].due), ("declaring.ship@2", 1));
        assert!(knows_2.inspect().unknown_work().await.expect("read").is_empty());
    }

    async fn what_an_old_version_began_it_ends_beside_the_new_one(world) {
        let key = unique();
        let both = world.with_registry(Registry::new().with::<ship_1>().with::<ship_2>()).await;
        let old = both.dispatch(ship_1(key)).await.expect("dispatched");
        let new = both.dispatch(ship_2(key)).await.expect("dispatched");
        let worker = both.worker().cache(0).start().await.expect("starts");
        assert_eq!(old.result().timeout("20s").await.expect("runs"), 1);
        assert_eq!(new.result().timeout("20s").await.expect("runs"), 2);
        worker.drain().await.expect("drains");
    }

    async fn two_stents_do_not_see_each_others_functions(world) {
        let ours = world.with_registry(Registry::new().with::<ship_1>()).await;
        let theirs = world.with_registry(usurper::registry()).await;

        let error = theirs.dispatch(ship_1(unique())).await.expect_err("theirs has somebody only");
        let message = error.to_string();
        assert!(message.contains("`declaring.ship`") && message.contains("registered functions: somebody"), "{message}");

        let run = ours.dispatch(ship_1(unique())).await.expect("ours has it");
        let worker = theirs.worker().start().await.expect("starts");
        let error = run.result().timeout("50ms").await.expect_err("their worker does not run it");
        assert!(matches!(error, stent::Error::WaitTimeout { .. }), "{error}");
        worker.drain().await.expect("drains");
    }
}
