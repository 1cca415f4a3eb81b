//! Errors name the thing that failed, and the remedy.

use stent::prelude::*;
use stent::{Error, Registry};

use crate::{Db, on_every_store};

#[durable]
async fn known(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable]
async fn unknown(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable]
async fn calls_unknown() -> Result<u64, stent::Error> {
    unknown(1).await
}

#[durable]
async fn needs_db(State(db): State<Db>) -> Result<(), String> {
    let Db = db;
    Ok(())
}

#[durable]
async fn bytes(len: usize) -> Result<Vec<u8>, String> {
    Ok(vec![0; len])
}

#[durable]
async fn takes(_bytes: Vec<u8>) -> Result<(), String> {
    Ok(())
}

#[durable]
async fn sleeps(duration: String) -> Result<(), stent::Error> {
    stent::sleep(duration.as_str()).await
}

mod twin {
    use stent::prelude::*;

    #[durable(name = "errors.twin")]
    pub async fn one() {}
}

fn never_tried(dispatch: stent::Dispatch<known>) -> stent::Dispatch<known> {
    dispatch.retry(stent::RetryPolicy::default().max_attempts(0))
}

#[test]
fn what_main_prints_has_the_code_and_the_causes_that_the_text_does_not_name() {
    let closed = Error::Closed;
    assert_eq!(format!("{closed:?}"), "this Stent is closed [stent::Closed]");
    assert_eq!(format!("{closed:#?}"), "Closed(\n    \"this Stent is closed\",\n)");

    let own = Error::from(stent::Failure::new("shop::Declined", "no funds"));
    assert_eq!(
        format!("{own:?}"),
        format!("{own} [stent::Failed]"),
        "the text of an application has no code"
    );
    assert!(format!("{own:#?}").starts_with("Failed(\n    Failure {"), "{own:#?}");

    let cause = std::io::Error::other("connection refused");
    let store = stent::StoreError::new(stent::StoreErrorKind::Unavailable, "claim").with_source(cause);
    let store = Error::from(store);
    let shown =
        "claim: store is unavailable [stent::store::Unavailable]\n\nCaused by:\n    connection refused";
    assert_eq!(format!("{store:?}"), shown);
    assert!(format!("{store:#?}").contains("kind: Unavailable"), "{store:#?}");
}

fn says(error: &Error, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

on_every_store! {
    async fn a_function_that_is_not_registered_is_named_with_the_ones_that_are(world) {
        let stent = world.with_registry(Registry::new().with::<known>().with::<calls_unknown>()).await;
        let error = stent.dispatch(unknown(1)).await.expect_err("it is not registered");
        says(&error, &["`unknown`", "registered functions: calls_unknown, known;", "Registry::with"]);
        assert!(matches!(error, Error::NotRegistered { .. }));

        let empty = world.with_registry(Registry::new()).await;
        let error = empty.dispatch(unknown(1)).await.expect_err("nothing is registered").to_string();
        assert!(error.contains("`unknown` is not registered; mark it with #[durable]"), "{error}");

        let worker = stent.worker().start().await.expect("starts");
        let error = stent.run(calls_unknown()).await.expect_err("its step is not registered");
        says(&error, &["`unknown`"]);
        worker.drain().await.expect("drains");
    }

    async fn a_worker_without_a_state_does_not_start(world) {
        let stent = world.with_registry(Registry::new().with::<needs_db>()).await;
        let error = stent.worker().start().await.expect_err("the state is missing");
        says(&error, &["`needs_db`", "Db", ".state("]);

        let worker = stent.worker().state(Db).start().await.expect("starts");
        stent.run(needs_db()).await.expect("runs");
        worker.drain().await.expect("drains");
    }

    async fn payloads_over_the_limit_are_refused_by_name(world) {
        let worker = world.worker().await;
        let error = world.stent.dispatch(takes(vec![255; 2 << 20])).await.expect_err("too large");
        says(&error, &["arguments of `takes`", "2097152"]);
        assert!(matches!(error, Error::PayloadTooLarge { .. }));

        let error = world.stent.run(bytes(3 << 20)).await.expect_err("its result is too large");
        says(&error, &["PayloadTooLarge", "result of `bytes`"]);
        worker.drain().await.expect("drains");
    }

    async fn a_duration_that_does_not_read_shows_where(world) {
        let worker = world.worker().await;
        let error = world.stent.dispatch(known(1)).delay("10sfoo").await.expect_err("no duration");
        says(&error, &["\"10sfoo\"", "position 2"]);
        let error = world.stent.run(sleeps("soon".into())).await.expect_err("no duration");
        says(&error, &["\"soon\"", "position 0"]);
        worker.drain().await.expect("drains");
    }

    async fn an_unknown_execution_is_not_found(world) {
        let id = "0192f3c8-0000-7000-8000-000000000000".parse().expect("an id");
        for error in [
            world.stent.status(id).await.expect_err("unknown"),
            world.stent.result_of(id).await.expect_err("unknown"),
            world.stent.wait_for(id).await.expect_err("unknown"),
            world.stent.handle::<u64>(id).result().await.expect_err("unknown"),
        ] {
            says(&error, &["0192f3c8-0000-7000-8000-000000000000"]);
            assert!(matches!(error, Error::NotFound(_)));
        }
    }

    async fn options_that_do_not_fit_are_named(world) {
        let worker = || world.stent.worker().state(Db);
        for (error, parts) in [
            (worker().concurrency(0).start().await.expect_err("0"), ["`concurrency`", "at least 1"]),
            (worker().lease("1ms").start().await.expect_err("short"), ["`lease`", "too short"]),
            (worker().lease("3s").heartbeat("2s").start().await.expect_err("long"), ["`heartbeat`", "at most half"]),
            (never_tried(world.stent.dispatch(known(1))).await.expect_err("0"), ["`retry`", "use 1 or more"]),
            (world.stent.dispatch(known(1)).queue("").await.expect_err("empty"), ["`queue`", "empty"]),
            (world.stent.dispatch(known(1)).queue("q".repeat(256)).await.expect_err("long"), ["`queue`", "255"]),
        ] {
            says(&error, &parts);
        }
    }
}

#[tokio::test]
async fn awaited_outside_of_a_durable_function_a_call_says_what_to_do() {
    let dispatch = ["stent.dispatch", ".local()"].as_slice();
    for (error, remedy) in [
        (known(1).await.expect_err("outside"), dispatch),
        (known::map([1, 2]).await.map(|_| ()).expect_err("outside"), dispatch),
        (stent::sleep("1s").await.expect_err("outside"), &["`stent::sleep`", "tokio::time::sleep"]),
        (
            stent::step("total", || async { Ok::<_, String>(1) }).await.expect_err("outside"),
            &["`stent::step(\"total\")`", "call its closure directly"],
        ),
        (stent::signal::<u64>("approval").await.expect_err("outside"), &["stent.send_signal"]),
        (stent::spawn(known(1)).await.map(|_| ()).expect_err("outside"), &["use stent.dispatch"]),
        (stent::execution().map(|_| ()).expect_err("outside"), &["stent.inspect()"]),
    ] {
        says(&error, &["outside a durable function", "stent::join!", "[stent::OutsideDurable]"]);
        says(&error, remedy);
    }
    known(1).detach().expect_err("outside");
}

#[tokio::test]
async fn a_name_given_twice_is_an_error() {
    assert_eq!(Registry::new().with::<known>().with::<known>().names().count(), 1);
    let registry = Registry::new().with::<twin::one>().with::<Impostor>();
    let error = Stent::builder().registry(registry).connect("memory:").await.expect_err("two of a name");
    says(&error, &["errors.twin", "twin::one", "Impostor"]);
}

/// A function that is implemented by hand, under a name that is taken.
struct Impostor;

impl stent::Function for Impostor {
    type Args = ();
    type Output = ();
    const NAME: &'static str = "errors.twin";

    fn options() -> stent::FunctionOptions {
        stent::FunctionOptions::new()
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

#[tokio::test]
async fn urls_that_name_no_store_say_what_would() {
    says(&Stent::connect("mysql://x").await.expect_err("unknown"), &["`mysql`", "known schemes: memory"]);
    says(
        &Stent::connect("orders.db").await.expect_err("no scheme"),
        &["\"orders.db\"", "sqlite://orders.db"],
    );
    says(&Stent::connect("mysql://:secret@host").await.expect_err("unknown"), &["mysql", "***"]);
}

#[test]
fn a_stent_whose_runtime_has_ended_says_so() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let first = runtime();
    let (stent, run) = first.block_on(async {
        let stent = Stent::connect("memory:").await.expect("memory opens");
        let run = stent.dispatch(known(1)).await.expect("dispatched");
        (stent, run)
    });
    drop(first);

    runtime().block_on(async {
        let remedy = [
            "runtime in which this Stent was connected has shut down",
            "connect in the runtime that uses it",
        ];
        says(&stent.dispatch(known(1)).await.expect_err("nobody writes"), &remedy);
        says(&stent.dispatch_all([known(1)]).await.expect_err("nobody writes"), &remedy);
        says(&run.result().timeout("20s").await.expect_err("nobody looks"), &remedy);
    });
}
