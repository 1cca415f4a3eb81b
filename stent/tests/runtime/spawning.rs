//! Child executions, and durable waits for executions.

use stent::prelude::*;
use stent::{Error, ExecutionId, ExecutionStatus};

use crate::{on_every_store, ran, unique};

#[durable]
async fn child(key: u64, n: u64) -> Result<u64, String> {
    ran::note(key, "child");
    if n == 0 { Err("nothing to double".to_owned()) } else { Ok(2 * n) }
}

#[durable]
async fn endless() -> Result<(), Error> {
    stent::sleep("1w").await
}

#[durable]
async fn parent(key: u64, n: u64) -> Result<(ExecutionId, u64), Error> {
    let run = stent::spawn(child(key, n)).await?;
    ran::note(key, format!("spawned {}", run.id()));
    let doubled = run.result().timeout("1h").await?;
    stent::sleep("1ms").await?;
    Ok((run.id(), doubled + run.result().await?))
}

#[durable]
async fn impatient() -> Result<ExecutionId, Error> {
    let run = stent::spawn(endless()).await?;
    match run.result().timeout("20ms").await {
        Err(Error::WaitTimeout { execution, .. }) => Ok(execution),
        outcome => panic!("{outcome:?}"),
    }
}

#[durable]
async fn waits_for(id: ExecutionId, stent: State<Waits>) -> Result<String, Error> {
    let _ = stent;
    Ok(match HANDLES.with_handle(id).result().await {
        Ok(()) => "done".to_owned(),
        Err(error) => error.to_string(),
    })
}

type Waits = crate::Db;

/// Handles come from a `Stent`, which these functions get through a static.
struct Handles(std::sync::Mutex<Vec<stent::Handle<()>>>);

static HANDLES: Handles = Handles(std::sync::Mutex::new(Vec::new()));

impl Handles {
    fn add(&self, handle: stent::Handle<()>) {
        self.0.lock().expect("not poisoned").push(handle);
    }

    fn with_handle(&self, id: ExecutionId) -> stent::Handle<()> {
        let handles = self.0.lock().expect("not poisoned");
        handles.iter().find(|handle| handle.id() == id).expect("was added").clone()
    }
}

on_every_store! {
    async fn a_spawned_execution_is_one_of_its_own_and_starts_once(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(parent(key, 21)).await.expect("dispatched");
        let (child, doubled) = run.result().timeout("20s").await.expect("runs");
        assert_eq!(doubled, 84);
        assert_ne!(child, run.id());
        assert_eq!(ran::count(key, "child"), 1);
        assert_eq!(ran::count(key, &format!("spawned {child}")), ran::list(key).len() - 1, "the same id in every run");
        assert_eq!(world.stent.status(child).await.expect("known"), ExecutionStatus::Completed);
        worker.drain().await.expect("drains");
    }

    async fn its_failure_is_the_waiters(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(parent(key, 0)).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("there is nothing to double");
        assert!(error.to_string().contains("nothing to double"), "{error}");
        worker.drain().await.expect("drains");
    }

    async fn a_wait_for_it_may_end_before_it_does(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(impatient()).await.expect("dispatched");
        let child = run.result().timeout("20s").await.expect("runs");
        assert_eq!(world.stent.status(child).await.expect("goes on"), ExecutionStatus::Running);
        worker.drain().await.expect("drains");
    }

    async fn a_recorded_wait_hears_of_cancellation_expiry_and_of_what_is_not_there(world) {
        let worker = world.forgetful_worker().await;
        let cancelled = world.stent.dispatch(endless()).await.expect("dispatched");
        let expired = world.stent.dispatch(endless()).max_duration("50ms").await.expect("dispatched");
        let unknown = world.stent.handle::<()>(ExecutionId::from_uuid(uuid::Uuid::now_v7()));
        let mut runs = Vec::new();
        for handle in [&cancelled, &expired, &unknown] {
            HANDLES.add(handle.clone());
            runs.push(world.stent.dispatch(waits_for(handle.id())).await.expect("dispatched"));
        }
        cancelled.cancel().await.expect("asked");
        let mut told = Vec::new();
        for run in runs {
            told.push(run.result().timeout("20s").await.expect("runs"));
        }
        assert_eq!(told[0], Error::Cancelled.to_string());
        assert_eq!(told[1], Error::TimedOut.to_string());
        assert_eq!(told[2], Error::NotFound(unknown.id()).to_string());
        worker.drain().await.expect("drains");
    }
}
