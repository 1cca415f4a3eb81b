//! Retention: old ended data is deleted, each kind by its own age, in bounded steps, periodically.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stent::backend::Purge;
use stent::prelude::*;
use stent::view::TaskStatus;
use stent::{Error, ExecutionStatus, Retention, RetentionReport};

use crate::rigged::Rigged;
use crate::{eventually, on_every_store, ran, unique};

/// An age that all data here has reached when it is used. Zero would keep everything.
const NONE: Option<Duration> = Some(Duration::from_micros(1));
const WEEK: Option<Duration> = Some(Duration::from_secs(7 * 24 * 3_600));

#[durable(name = "cleaning.good")]
async fn good(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable(name = "cleaning.bad", retry(max_attempts = 1))]
async fn bad(_n: u64) -> Result<u64, String> {
    Err("on purpose".to_owned())
}

#[durable(name = "cleaning.kept", idempotent)]
async fn kept(key: u64) -> Result<u64, String> {
    ran::note(key, "kept");
    Ok(key)
}

#[durable(name = "cleaning.steps", retry(max_attempts = 1))]
async fn steps(key: u64) -> Result<u64, Error> {
    let execution = stent::execution()?;
    execution.counter("rows").add(5)?;
    execution.state("phase").set(&"end")?;
    execution.progress("began")?;
    for n in 0..3 {
        good(n).await?;
    }
    bad(1).await.expect_err("it always fails");
    kept(key).await
}

/// Longer than the age of a microsecond.
async fn later() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

/// A completed execution, a failed one, and one that has not begun.
async fn one_of_each(world: &crate::World, key: u64) -> [stent::ExecutionId; 3] {
    let worker = world.worker().await;
    let fine = world.stent.dispatch(steps(key)).await.expect("dispatched");
    assert_eq!(fine.result().timeout("20s").await.expect("runs"), key);
    let failed = world.stent.dispatch(bad(key)).await.expect("dispatched");
    failed.result().timeout("20s").await.expect_err("it always fails");
    worker.drain().await.expect("drains");
    let open = world.stent.dispatch(steps(key)).delay("1h").await.expect("dispatched");
    later().await;
    [fine.id(), failed.id(), open.id()]
}

/// The report of a run that deletes only what `only` counts.
fn report(only: impl FnOnce(&mut RetentionReport)) -> RetentionReport {
    let mut report = RetentionReport::default();
    only(&mut report);
    report
}

on_every_store! {
    async fn each_kind_goes_by_its_own_age(world) {
        let key = unique();
        let [fine, failed, open] = one_of_each(&world, key).await;
        let clean = async |retention: Retention| world.stent.apply_retention(&retention).await.expect("cleans");

        assert_eq!(clean(Retention::default()).await, RetentionReport::default(), "everything is kept for good");
        let week = Retention::default().executions(WEEK).dead_letters(WEEK).details(WEEK).results(WEEK);
        assert_eq!(clean(week).await, RetentionReport::default(), "nothing is a week old");

        let cleaned = clean(Retention::default().details(NONE)).await;
        assert_eq!(cleaned, report(|report| report.details = 1));
        let cleaned = clean(Retention::default().results(NONE)).await;
        assert_eq!(cleaned, report(|report| report.results = 1));
        let cleaned = clean(Retention::default().executions(NONE).dead_letters(WEEK)).await;
        assert_eq!(cleaned, report(|report| report.executions = 1));
        assert!(matches!(world.stent.status(fine).await, Err(Error::NotFound(_))));
        assert_eq!(world.stent.status(failed).await.expect("a dead letter"), ExecutionStatus::Failed);
        let cleaned = clean(Retention::default().executions(WEEK).dead_letters(NONE)).await;
        assert_eq!(cleaned, report(|report| report.dead_letters = 1));
        assert!(matches!(world.stent.status(failed).await, Err(Error::NotFound(_))));
        assert_eq!(world.stent.status(open).await.expect("has yet to begin"), ExecutionStatus::Pending);
    }

    async fn of_details_their_counts_and_what_the_code_said_in_numbers_stay(world) {
        let key = unique();
        let [fine, ..] = one_of_each(&world, key).await;
        assert_eq!(world.stent.inspect().timeline(fine).await.expect("a timeline").len(), 6);

        world.stent.apply_retention(&Retention::default().details(NONE)).await.expect("cleans");

        assert_eq!(world.stent.inspect().timeline(fine).await.expect("a timeline").len(), 1, "the root stays");
        let notes = world.stent.notes(fine).await.expect("read");
        let summary: Vec<_> =
            notes.summary.iter().map(|alike| (alike.name.as_str(), alike.status, alike.count)).collect();
        assert_eq!(summary, [
            ("cleaning.bad", TaskStatus::Failed, 1),
            ("cleaning.good", TaskStatus::Completed, 3),
            ("cleaning.kept", TaskStatus::Completed, 1),
        ]);
        assert_eq!((notes.counters["rows"], notes.progress.len()), (5, 0));
        assert_eq!(notes.states["phase"].decode::<String>().expect("a text"), "end");
        assert_eq!(world.stent.result_of(fine).await.expect("known").expect("ended").decode::<u64>().expect("a number"), key);
    }

    async fn what_is_much_goes_in_bounded_steps(world) {
        const MANY: u64 = 1_200;
        let worker = world.worker_with(|worker| worker.concurrency(512)).await;
        for run in world.stent.dispatch_all((0..MANY).map(good)).await.expect("dispatched") {
            run.result().timeout("40s").await.expect("runs");
        }
        worker.drain().await.expect("drains");
        later().await;
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");

        let cleaned = stent.apply_retention(&Retention::default().executions(NONE)).await.expect("cleans");

        assert_eq!(cleaned, report(|report| report.executions = MANY));
        let purges = rigged.purges.lock().expect("not poisoned");
        let of_executions = purges.iter().filter(|purge| purge.what == Purge::Executions).count();
        assert!(purges.iter().all(|purge| purge.max <= 500) && of_executions >= 3, "{purges:#?}");
    }

    async fn a_process_cleans_again_and_again_and_goes_on_after_a_failure(world) {
        let key = unique();
        let [fine, failed, open] = one_of_each(&world, key).await;
        let rigged: Arc<Rigged> = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        let retention = Retention::default().executions(NONE).dead_letters(NONE);
        rigged.failing_purges.store(3, Ordering::SeqCst);

        let cleaner = stent.start_retention(retention.clone(), "5ms").expect("starts");

        let is_gone = async |id| matches!(stent.status(id).await, Err(Error::NotFound(_)));
        eventually(async || is_gone(fine).await && is_gone(failed).await).await;
        assert_eq!(rigged.failing_purges.load(Ordering::SeqCst), 0, "it failed before");
        assert_eq!(stent.status(open).await.expect("has yet to begin"), ExecutionStatus::Pending);
        // What ends meanwhile is deleted at once, perhaps before anybody could read its result.
        let worker = world.worker().await;
        let fine = world.stent.dispatch(steps(unique())).await.expect("dispatched").id();
        let failed = world.stent.dispatch(bad(unique())).await.expect("dispatched").id();
        eventually(async || is_gone(fine).await && is_gone(failed).await).await;
        worker.drain().await.expect("drains");

        drop(cleaner);
        let error = stent.start_retention(retention, "0s").expect_err("that would be all the time");
        assert!(matches!(error, Error::Option { option: "every", .. }), "{error}");
    }

    async fn a_program_with_a_retention_cleans_by_itself_while_anything_of_it_lives(world) {
        let [fine, failed, open] = one_of_each(&world, unique()).await;
        later().await;
        let rigged: Arc<Rigged> = Rigged::new(world.stent.store());

        let stent = Stent::builder().retention(Retention::default().executions(NONE)).open(rigged.clone());
        let stent = stent.await.expect("opens");

        let is_gone = async |id| matches!(world.stent.status(id).await, Err(Error::NotFound(_)));
        eventually(async || is_gone(fine).await).await;
        assert_eq!(world.stent.status(failed).await.expect("a dead letter is kept"), ExecutionStatus::Failed);
        assert_eq!(world.stent.status(open).await.expect("has yet to begin"), ExecutionStatus::Pending);

        // The task in the background does not hold the store open.
        drop(stent);
        eventually(async || Arc::strong_count(&rigged) == 1).await;
    }
}
