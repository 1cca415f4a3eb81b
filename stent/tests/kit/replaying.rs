//! Recordings are replayed against today's code, and the difference is shown.

use std::cell::Cell;

use stent::prelude::*;
use stent::testing::{self, Recording, ReplayError, Testing};
use stent::view::TaskStatus;
use stent::{ExecutionId, Registry};

use crate::within_a_minute;

thread_local! {
    /// How often a body of a step has run in this test, which has one thread.
    static EFFECTS: Cell<u64> = const { Cell::new(0) };
}

fn effect() {
    EFFECTS.set(EFFECTS.get() + 1);
}

#[durable(name = "charge", retry(max_attempts = 1))]
async fn charge(cents: u64) -> Result<u64, String> {
    effect();
    if cents == 13 { Err("declined".to_owned()) } else { Ok(cents) }
}

#[durable(name = "ship")]
async fn ship(parcel: u64) -> Result<u64, String> {
    effect();
    Ok(parcel)
}

/// A function with a step of its own, as an item and as a child.
#[durable(name = "pack")]
async fn pack(parcel: u64) -> Result<u64, stent::Error> {
    ship(parcel).await
}

/// The code that was recorded.
mod recorded {
    use super::*;

    #[durable(name = "order")]
    pub(super) async fn order(cents: u64) -> Result<String, stent::Error> {
        let paid = charge(cents).await?;
        let note = stent::step("render", || async {
            effect();
            format!("paid {paid}")
        });
        let note = note.await?;
        ship(7).await?;
        Ok(note)
    }

    #[durable(name = "everything")]
    pub(super) async fn everything(cents: u64) -> Result<u64, stent::Error> {
        let paid = charge(cents).await?;
        stent::sleep("1ms").await?;
        let id = stent::uuid();
        let named = stent::step("name", || async { id.to_string() }).await?;
        assert_eq!(named, id.to_string());
        let (one, two) = stent::join!(charge(1), pack(2));
        let sum = one? + two?;
        let packed: u64 = pack::map(vec![1, 2, 3]).await?.into_iter().sum();
        let outcomes = charge::map(vec![13, 14]).outcomes().await?;
        assert!(outcomes[0].is_err() && outcomes[1].is_ok());
        let spawned = stent::spawn(charge(20)).await?.result().await?;
        assert!(charge(13).await.is_err());
        let approved: u64 = stent::signal("approval").timeout("1h").await?;
        Ok(paid + sum + packed + spawned + approved)
    }

    #[durable(name = "waits")]
    pub(super) async fn waits(cents: u64) -> Result<u64, stent::Error> {
        let paid = charge(cents).await?;
        let approved: u64 = stent::signal("approval").await?;
        Ok(paid + approved)
    }

    #[durable(name = "starts")]
    pub(super) async fn starts(cents: u64) -> Result<u64, stent::Error> {
        charge(cents).delay("1h").idempotency_key("a").await
    }

    #[durable(name = "bulk")]
    pub(super) async fn bulk(parcels: Vec<u64>) -> Result<u64, stent::Error> {
        Ok(ship::map(parcels).await?.into_iter().sum())
    }
}

/// The same functions, changed one by one.
mod changed {
    use super::*;

    macro_rules! order {
        ($($module:ident($cents:ident) $body:block)+) => {
            $(
                pub(super) mod $module {
                    use super::*;

                    #[allow(dead_code, reason = "nobody maps it")]
                    #[durable(name = "order")]
                    pub(in super::super) async fn order($cents: u64) -> Result<String, stent::Error> $body
                }
            )+
        };
    }

    order! {
        added(cents) {
            let paid = charge(cents).await?;
            let note = stent::step("render", || async { format!("paid {paid}") }).await?;
            ship(7).await?;
            stent::step("mail", || async { effect() }).await?;
            charge(1).await?;
            Ok(note)
        }
        renamed(cents) {
            let paid = charge(cents).await?;
            let note = stent::step("draw", || async { format!("paid {paid}") }).await?;
            ship(7).await?;
            Ok(note)
        }
        removed(cents) {
            let paid = charge(cents).await?;
            ship(7).await?;
            Ok(format!("paid {paid}"))
        }
        removed_at_the_end(cents) {
            let paid = charge(cents).await?;
            stent::step("render", || async { format!("paid {paid}") }).await
        }
        swapped(cents) {
            ship(7).await?;
            let paid = charge(cents).await?;
            stent::step("render", || async { format!("paid {paid}") }).await
        }
        inserted(cents) {
            stent::step("check", || async { effect() }).await?;
            let paid = charge(cents).await?;
            let note = stent::step("render", || async { format!("paid {paid}") }).await?;
            ship(7).await?;
            Ok(note)
        }
        other_arguments(cents) {
            let paid = charge(cents + 1).await?;
            let note = stent::step("render", || async { format!("paid {paid}") }).await?;
            ship(7).await?;
            Ok(note)
        }
        other_result(cents) {
            charge(cents).await?;
            let note: u64 = stent::step("render", || async { 1_u64 }).await?;
            ship(7).await?;
            Ok(note.to_string())
        }
        strict(cents) {
            if cents > 100 {
                return Err(stent::Failure::new("shop::TooMuch", "too much").into());
            }
            Ok(String::new())
        }
    }

    pub(super) mod parameters {
        use super::*;

        #[durable(name = "order")]
        pub(in super::super) async fn order(cents: String) -> Result<String, stent::Error> {
            Ok(cents)
        }
    }

    pub(super) mod waiting {
        use super::*;

        #[durable(name = "waits")]
        pub(in super::super) async fn waits(cents: u64) -> Result<u64, stent::Error> {
            let paid = charge(cents).await?;
            let approved: u64 = stent::signal("consent").await?;
            Ok(paid + approved)
        }
    }

    pub(super) mod starting {
        use super::*;

        #[durable(name = "starts")]
        pub(in super::super) async fn starts(cents: u64) -> Result<u64, stent::Error> {
            charge(cents + 1).delay("1h").idempotency_key("a").await
        }
    }

    pub(super) mod bulk {
        use super::*;

        #[durable(name = "bulk")]
        pub(in super::super) async fn bulk(parcels: Vec<u64>) -> Result<u64, stent::Error> {
            Ok(ship::map(parcels.into_iter().rev().collect::<Vec<_>>()).await?.into_iter().sum())
        }
    }

    pub(super) mod packing {
        use super::*;

        #[durable(name = "pack")]
        pub(in super::super) async fn pack(parcel: u64) -> Result<u64, stent::Error> {
            charge(parcel).await
        }
    }
}

/// The functions that do not change.
fn leaves() -> Registry {
    Registry::new().with::<charge>().with::<ship>()
}

fn today() -> Registry {
    leaves()
        .with::<pack>()
        .with::<recorded::order>()
        .with::<recorded::everything>()
        .with::<recorded::waits>()
        .with::<recorded::starts>()
        .with::<recorded::bulk>()
}

async fn start() -> Testing {
    testing::builder().registry(today()).start().await.expect("starts")
}

async fn recorded<F: stent::Function>(call: stent::Call<F>) -> Recording {
    let test = start().await;
    let run = test.stent.dispatch(call).await.expect("dispatched");
    let _ = run.result().await;
    Recording::of(&test.stent, run.id()).await.expect("exported")
}

/// Records an execution as soon as a task of this name has this status.
async fn in_flight<F: stent::Function>(call: stent::Call<F>, name: &str, status: TaskStatus) -> Recording {
    let test = start().await;
    let run = test.stent.dispatch(call).await.expect("dispatched");
    has_task(&test, run.id(), name, status).await;
    Recording::of(&test.stent, run.id()).await.expect("exported")
}

async fn has_task(test: &Testing, id: ExecutionId, name: &str, status: TaskStatus) {
    loop {
        let tasks = test.stent.inspect().timeline(id).await.expect("read");
        if tasks.iter().any(|task| task.name == name && task.status == status) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The text of the difference between a recording of `order` and this code.
async fn difference(registry: Registry) -> String {
    let recording = recorded(recorded::order(5)).await;
    let error = testing::replay(&recording).registry(registry).await.expect_err("it differs");
    assert!(matches!(error, ReplayError::Differs { .. }), "{error}");
    error.to_string()
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[tokio::test]
async fn code_that_has_not_changed_agrees_with_every_kind_of_step_and_runs_none() {
    within_a_minute(async {
        let test = start().await;
        let run = test.stent.dispatch(recorded::everything(5)).await.expect("dispatched");
        run.signal("approval", &1_u64).await.expect("sent");
        run.result().await.expect("runs");
        let recording = Recording::of(&test.stent, run.id()).await.expect("exported");
        let text = recording.to_string();
        assert_eq!(text.parse::<Recording>().expect("reads").to_string(), text);

        let before = EFFECTS.get();
        assert_ne!(before, 0);
        let replayed = testing::replay(&text).registry(today()).await.expect("agrees");
        assert_eq!(EFFECTS.get(), before);
        assert_eq!((replayed.execution, replayed.functions), (run.id(), 5));
        assert!(replayed.steps >= 14, "{replayed:?}");
    })
    .await;
}

#[tokio::test]
async fn steps_that_were_added_at_the_end_are_no_difference_and_do_not_run() {
    within_a_minute(async {
        let recording = recorded(recorded::order(5)).await;
        let before = EFFECTS.get();
        let registry = leaves().with::<changed::added::order>();
        let replayed = testing::replay(&recording).registry(registry).await.expect("agrees");
        assert_eq!((replayed.functions, replayed.steps), (1, 3));
        assert_eq!(EFFECTS.get(), before);
    })
    .await;
}

#[tokio::test]
async fn a_renamed_step_is_a_difference() {
    let text = within_a_minute(difference(leaves().with::<changed::renamed::order>())).await;
    assert_has(&text, &["step 1", "recorded: inline `render`", "the code:  inline `draw`", "replaying.rs"]);
}

#[tokio::test]
async fn a_removed_step_is_a_difference() {
    let text = within_a_minute(difference(leaves().with::<changed::removed::order>())).await;
    assert_has(&text, &["step 1", "recorded: inline `render`", "the code:  call `ship"]);
    let text = within_a_minute(difference(leaves().with::<changed::removed_at_the_end::order>())).await;
    assert_has(&text, &["step 2", "recorded: call `ship`", "ended without this step"]);
}

#[tokio::test]
async fn swapped_steps_are_a_difference() {
    let text = within_a_minute(difference(leaves().with::<changed::swapped::order>())).await;
    assert_has(&text, &["step 0", "recorded: call `charge`", "the code:  call `ship"]);
}

#[tokio::test]
async fn a_step_that_was_inserted_is_a_difference_and_does_not_run() {
    let text = within_a_minute(difference(leaves().with::<changed::inserted::order>())).await;
    assert_has(&text, &["step 0", "recorded: call `charge`", "the code:  inline `check`"]);
}

#[tokio::test]
async fn changed_arguments_are_a_difference_and_are_shown() {
    let text = within_a_minute(difference(leaves().with::<changed::other_arguments::order>())).await;
    assert_has(&text, &["step 0", "charge(5)", "charge(6)"]);
}

#[tokio::test]
async fn a_result_that_no_longer_decodes_is_a_difference() {
    let text = within_a_minute(difference(leaves().with::<changed::other_result::order>())).await;
    assert_has(&text, &["`order` (task", "the recorded code completed", "result of `render`"]);
}

#[tokio::test]
async fn arguments_that_no_longer_decode_are_a_difference() {
    let text = within_a_minute(difference(leaves().with::<changed::parameters::order>())).await;
    assert_has(&text, &["do not decode as its parameters"]);
}

#[tokio::test]
async fn a_function_that_is_gone_is_a_difference() {
    let text = within_a_minute(difference(leaves())).await;
    assert_has(&text, &["function `order` is not registered"]);
}

#[tokio::test]
async fn code_that_fails_where_the_recorded_code_went_on_is_a_difference() {
    within_a_minute(async {
        let recording = recorded(recorded::order(500)).await;
        let registry = leaves().with::<changed::strict::order>();
        let error = testing::replay(&recording).registry(registry).await.expect_err("differs").to_string();
        assert_has(&error, &["the recorded code completed", "too much"]);
    })
    .await;
}

#[tokio::test]
async fn an_execution_in_progress_is_replayed_up_to_its_waits() {
    within_a_minute(async {
        let recording = in_flight(recorded::waits(5), "approval", TaskStatus::Waiting).await;
        testing::replay(&recording).registry(today()).await.expect("agrees");

        let registry = leaves().with::<changed::waiting::waits>();
        let error = testing::replay(&recording).registry(registry).await.expect_err("differs").to_string();
        assert_has(&error, &["recorded: signal `approval`", "the code:  signal `consent`"]);
    })
    .await;
}

#[tokio::test]
async fn the_arguments_of_a_step_in_progress_are_compared_whatever_its_key() {
    within_a_minute(async {
        let recording = in_flight(recorded::starts(5), "charge", TaskStatus::Pending).await;
        testing::replay(&recording).registry(today()).await.expect("agrees");

        let registry = leaves().with::<changed::starting::starts>();
        let error = testing::replay(&recording).registry(registry).await.expect_err("differs").to_string();
        assert_has(&error, &["charge(5)", "charge(6)"]);
    })
    .await;
}

#[tokio::test]
async fn a_failed_execution_is_replayed_up_to_its_failure() {
    within_a_minute(async {
        let recording = recorded(recorded::order(13)).await;
        testing::replay(&recording).registry(today()).await.expect("agrees");
        let registry = leaves().with::<changed::swapped::order>();
        let error = testing::replay(&recording).registry(registry).await.expect_err("differs").to_string();
        assert_has(&error, &["recorded: call `charge`"]);
        // A dead letter is retried from the step that failed, which may then have other arguments.
        let registry = leaves().with::<changed::other_arguments::order>();
        testing::replay(&recording).registry(registry).await.expect("agrees");
    })
    .await;
}

#[tokio::test]
async fn items_of_a_map_are_compared_and_so_are_the_steps_of_items_and_children() {
    within_a_minute(async {
        let recording = recorded(recorded::bulk(vec![1, 2, 3])).await;
        let registry = leaves().with::<changed::bulk::bulk>();
        let error = testing::replay(&recording).registry(registry).await.expect_err("differs").to_string();
        assert_has(&error, &["map `ship` over 3 items", "item 0: (1)", "item 0: (3)"]);

        let test = start().await;
        let run = test.stent.dispatch(recorded::everything(5)).await.expect("dispatched");
        run.signal("approval", &1_u64).await.expect("sent");
        run.result().await.expect("runs");
        let recording = Recording::of(&test.stent, run.id()).await.expect("exported");
        let registry = leaves().with::<changed::packing::pack>().with::<recorded::everything>();
        let error = testing::replay(&recording).registry(registry).await.expect_err("differs");
        let ReplayError::Differs { differences, .. } = error else { panic!("{error}") };
        let functions: Vec<_> = differences.iter().map(|difference| difference.function.as_str()).collect();
        assert_eq!(functions, ["pack"; 4]);
    })
    .await;
}

#[tokio::test]
async fn a_recording_that_is_cut_short_is_refused() {
    within_a_minute(async {
        let text = recorded(recorded::order(5)).await.to_string();
        let cut: Vec<_> = text.lines().take(2).collect();
        let error = testing::replay(cut.join("\n")).registry(today()).await.expect_err("refused").to_string();
        assert_has(&error, &["cut short", "Recording::of"]);
        let error = testing::replay("{\"x\":").registry(today()).await.expect_err("refused").to_string();
        assert_has(&error, &["line 1"]);
    })
    .await;
}
