//! Steps that are transactions.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, DbBackend, DbErr, RuntimeErr, sqlx};
use stent::view::{StepKind, TaskStatus};
use stent::{Error, ExecutionStatus};

use crate::rigged::Rigged;
use crate::{Tries, World, on_every_database, order, ran, unique};

#[durable(name = "step.double")]
async fn double(n: i64) -> Result<i64, String> {
    Ok(n * 2)
}

/// Inserts orders one by one, each in its own transaction, and sleeps between them.
#[durable(name = "step.orders")]
async fn orders(test: i64, count: i64) -> Result<i64, stent::Error> {
    let mut sum = 0;
    for id in 0..count {
        sum += stent::transaction(async |txn| {
            ran::note(test);
            order(&txn, id).await?;
            Ok::<_, DbErr>(id)
        })
        .name("order")
        .await?;
        stent::sleep("1ms").await?;
    }
    Ok(sum)
}

#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("sold out")]
    SoldOut,
    #[error(transparent)]
    Database(#[from] DbErr),
}

#[durable(name = "step.sold_out")]
async fn sold_out(test: i64) -> Result<String, stent::Error> {
    let failed = stent::transaction(async |txn| {
        ran::note(test);
        order(&txn, 1).await?;
        Err::<(), _>(OrderError::SoldOut)
    })
    .await;
    stent::sleep("1ms").await?;
    Ok(failed.unwrap_err().to_string())
}

/// Fails in its first attempt after its transaction, and is retried.
#[durable(name = "step.retried", retry(max_attempts = 3, initial_delay = "1ms"))]
async fn retried(test: i64) -> Result<i64, stent::Error> {
    let first = stent::transaction(async |txn| {
        order(&txn, 5).await?;
        Ok::<_, DbErr>(5)
    })
    .await?;
    stent::step("stumble", || async move { if ran::note(test) < 3 { Err("stumbled") } else { Ok(()) } })
        .await?;
    Ok(first)
}

/// Fails like a transaction that conflicts with others.
async fn contend(txn: &stent::Transaction) -> Result<(), DbErr> {
    match txn.get_database_backend() {
        DbBackend::Postgres => {
            let deadlock =
                "DO $$ BEGIN RAISE EXCEPTION 'met another' USING ERRCODE = 'deadlock_detected'; END $$";
            txn.execute_unprepared(deadlock).await.map(drop)
        }
        _ => Err(DbErr::Exec(RuntimeErr::SqlxError(sqlx::Error::PoolTimedOut.into()))),
    }
}

/// Conflicts with others at first.
#[durable(name = "step.contended")]
async fn contended(test: i64, times: u32) -> Result<u32, stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, test).await?;
        let runs = ran::note(test);
        if runs <= times {
            contend(&txn).await?;
        }
        Ok::<_, OrderError>(runs)
    })
    .await
}

/// Never ends in its first run.
#[durable(name = "step.hangs")]
async fn hangs(test: i64, timeout_ms: u64) -> Result<u32, stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, test).await?;
        let runs = ran::note(test);
        if runs == 1 {
            std::future::pending::<()>().await;
        }
        Ok::<_, DbErr>(runs)
    })
    .timeout(Duration::from_millis(timeout_ms))
    .await
}

/// Takes a while.
#[durable(name = "step.lasts", retry(max_attempts = 1))]
async fn lasts(test: i64, timeout: Duration) -> Result<i64, stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, test).await?;
        tokio::time::sleep(Duration::from_millis(30)).await;
        Ok::<_, DbErr>(test)
    })
    .timeout(timeout)
    .await
}

/// Tries everything that is allowed in a transaction and everything that is not, and returns the errors.
#[durable(name = "step.inside")]
async fn inside(test: i64, State(stent): State<Stent>) -> Result<Vec<String>, stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, test).await?;
        let told = vec![
            double(1).await.unwrap_err().to_string(),
            stent::sleep("1ms").await.unwrap_err().to_string(),
            stent::step("inner", || async { Ok::<_, String>(()) }).await.unwrap_err().to_string(),
            stent::transaction(async |_| Ok::<_, String>(())).await.unwrap_err().to_string(),
            stent.dispatch(double(2)).await.unwrap_err().to_string(),
            stent.dispatch_all([double(2)]).await.unwrap_err().to_string(),
        ];
        stent.dispatch(double(3)).within(&txn).await?;
        Ok::<_, stent::Error>(told)
    })
    .await
}

#[durable(name = "step.beside")]
async fn beside(test: i64) -> Result<i64, stent::Error> {
    let put = |txn: stent::Transaction, gives: i64| async move {
        order(&txn, test).await?;
        Ok::<i64, DbErr>(gives)
    };
    let one = stent::transaction(move |txn| put(txn, 1));
    let two = stent::transaction(move |txn| put(txn, 2));
    let (one, four, two) = stent::join!(one, double(2), two);
    Ok(one? + four? + two?)
}

/// The transaction never ends, and loses the race.
#[durable(name = "step.loses")]
async fn loses(test: i64) -> Result<String, stent::Error> {
    let notify = &tokio::sync::Notify::new();
    let winner = stent::select! {
        () = notify.notified() => "world".to_owned(),
        done = stent::transaction(|txn| async move {
            order(&txn, test).await?;
            notify.notify_one();
            std::future::pending::<Result<String, DbErr>>().await
        }) => done?,
    };
    // It no longer blocks the store's one writer, either.
    double(1).await?;
    Ok(winner)
}

#[durable(name = "step.parent")]
async fn parent(test: i64) -> Result<i64, stent::Error> {
    orders(test, 2).await
}

#[durable(name = "step.panics")]
async fn panics() -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, 1).await?;
        if true {
            panic!("in the middle");
        }
        Ok::<_, DbErr>(())
    })
    .await
}

static KEPT: Mutex<Option<stent::Transaction>> = Mutex::new(None);

#[durable(name = "step.keeps")]
async fn keeps() -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, 1).await?;
        *KEPT.lock().unwrap() = Some(txn);
        tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            *KEPT.lock().unwrap() = None;
        });
        Ok::<_, DbErr>(())
    })
    .await
}

/// A `Stent` on a rigged store, and its worker.
async fn rigged(world: &World) -> (std::sync::Arc<Rigged>, Stent, stent::Worker) {
    let rigged = Rigged::new(world.stent.store());
    let stent = Stent::builder().open(rigged.clone()).await.unwrap();
    let worker = stent.worker().state(stent.clone()).state(Tries::nowhere()).lease("600ms");
    (rigged, stent, worker.start().await.unwrap())
}

/// Begins a dispatch within its transaction and drops it in the middle.
#[durable(name = "step.lets_go", retry(max_attempts = 1))]
async fn lets_go(State(stent): State<Stent>) -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, 1).await?;
        // SQLite may answer before each poll, so that a dispatch takes one poll only.
        for _ in 0..10_000 {
            let mut dispatch = std::pin::pin!(stent.dispatch(double(1)).within(&txn).into_future());
            let ended = std::future::poll_fn(|cx| Poll::Ready(dispatch.as_mut().poll(cx).is_ready())).await;
            if !ended {
                return Ok::<_, DbErr>(());
            }
        }
        panic!("no dispatch takes longer than one poll");
    })
    .await
}

on_every_database! {
    async fn what_a_dropped_dispatch_may_have_torn_is_not_recorded(world) {
        let worker = world.worker_with(|worker| worker.state(world.stent.clone())).await;
        let run = world.stent.dispatch(lets_go()).await.unwrap();
        let failed = run.result().timeout("30s").await.unwrap_err();
        assert!(failed.to_string().contains("dropped a dispatch or a signal"), "{failed}");
        assert_eq!((world.orders().await.len(), world.executions().await), (0, 1));
        worker.drain().await.unwrap();
    }

    async fn effects_and_record_are_there_once_however_often_the_code_runs(world) {
        for cache in [0, 100] {
            let (test, before) = (unique(), world.orders().await.len());
            let worker = world.worker_with(|worker| worker.cache(cache)).await;
            let run = world.stent.dispatch(orders(test, 5)).await.unwrap();
            assert_eq!(run.result().timeout("30s").await.unwrap(), 10);
            assert_eq!(ran::count(test), 5);
            assert_eq!(world.orders().await.len(), before + 5);
            let steps = world.stent.inspect().timeline(run.id()).await.unwrap();
            let steps: Vec<_> = steps.iter().filter(|step| step.kind == StepKind::Inline).collect();
            assert_eq!(steps.len(), 5);
            assert!(steps.iter().all(|step| step.name == "order" && step.status == TaskStatus::Completed));
            worker.drain().await.unwrap();
        }
    }

    async fn a_function_that_is_called_has_transactions_too(world) {
        let (test, worker) = (unique(), world.worker().await);
        let run = world.stent.dispatch(parent(test)).await.unwrap();
        assert_eq!(run.result().timeout("30s").await.unwrap(), 1);
        assert_eq!((ran::count(test), world.orders().await), (2, vec![0, 1]));
        worker.drain().await.unwrap();
    }

    async fn an_error_rolls_back_and_is_recorded(world) {
        let (test, worker) = (unique(), world.worker_with(|worker| worker.cache(0)).await);
        let run = world.stent.dispatch(sold_out(test)).await.unwrap();
        let told = run.result().timeout("30s").await.unwrap();
        assert!(told.contains("sold out"), "{told}");
        assert_eq!((ran::count(test), world.orders().await.len()), (1, 0));
        worker.drain().await.unwrap();
    }

    async fn a_panic_rolls_back(world) {
        let worker = world.worker().await;
        let error = world.stent.run(panics()).await.unwrap_err();
        assert!(error.to_string().contains("in the middle"), "{error}");
        assert!(world.orders().await.is_empty());
        worker.drain().await.unwrap();
    }

    async fn another_attempt_of_the_function_does_not_do_it_again(world) {
        let (test, worker) = (unique(), world.worker().await);
        let run = world.stent.dispatch(retried(test)).await.unwrap();
        assert_eq!(run.result().timeout("30s").await.unwrap(), 5);
        assert_eq!((ran::count(test), world.orders().await), (3, vec![5]));
        worker.drain().await.unwrap();
    }

    async fn it_is_run_again_while_others_are_in_the_way_and_not_for_ever(world) {
        let worker = world.worker().await;
        let test = unique();
        let run = world.stent.dispatch(contended(test, 3)).await.unwrap();
        assert_eq!(run.result().timeout("30s").await.unwrap(), 4);
        assert_eq!(world.orders().await, [test]);

        let test = unique();
        let run = world.stent.dispatch(contended(test, u32::MAX)).await.unwrap();
        run.result().timeout("60s").await.unwrap_err();
        assert_eq!((ran::count(test), world.orders().await.len()), (10, 1));
        worker.drain().await.unwrap();
    }

    async fn one_that_takes_too_long_is_rolled_back_and_says_so(world) {
        let (test, worker) = (unique(), world.worker().await);
        let error = world.stent.run(hangs(test, 50)).await.unwrap_err();
        assert_eq!(error.failure().unwrap().kind, "stent::TransactionTimeout");
        assert!(error.to_string().contains("was rolled back"), "{error}");
        assert!(world.orders().await.is_empty());
        worker.drain().await.unwrap();
    }

    async fn a_lease_that_runs_out_rolls_back_and_the_next_claim_does_it(world) {
        let (test, (rigged, stent, worker)) = (unique(), rigged(&world).await);
        // On SQLite, renewals wait for the transaction anyway.
        rigged.lapses.store(u64::MAX, Ordering::SeqCst);
        let run = stent.dispatch(hangs(test, 60_000)).await.unwrap();
        assert_eq!(run.result().timeout("60s").await.unwrap(), 2);
        assert_eq!(world.orders().await, [test]);
        worker.drain().await.unwrap();
    }

    async fn a_stale_claim_rolls_back(world) {
        let (test, (rigged, stent, worker)) = (unique(), rigged(&world).await);
        rigged.fences.store(1, Ordering::SeqCst);
        let run = stent.dispatch(orders(test, 2)).await.unwrap();
        assert_eq!(run.result().timeout("60s").await.unwrap(), 1);
        assert_eq!((ran::count(test), world.orders().await), (3, vec![0, 1]));
        worker.drain().await.unwrap();
    }

    async fn a_commit_whose_fate_is_unknown_is_looked_after(world) {
        let (rigged, stent, worker) = rigged(&world).await;
        let test = unique();
        rigged.lies.store(1, Ordering::SeqCst);
        let run = stent.dispatch(orders(test, 2)).await.unwrap();
        assert_eq!(run.result().timeout("60s").await.unwrap(), 1);
        assert_eq!((ran::count(test), world.orders().await), (2, vec![0, 1]), "it was committed");

        let test = unique();
        rigged.fails.store(2, Ordering::SeqCst);
        let run = stent.dispatch(orders(test, 2)).await.unwrap();
        assert_eq!(run.result().timeout("60s").await.unwrap(), 1);
        assert_eq!((ran::count(test), world.orders().await), (4, vec![0, 0, 1, 1]), "it was not");
        worker.drain().await.unwrap();
    }

    async fn a_store_that_is_busy_is_waited_for(world) {
        let (test, (rigged, stent, worker)) = (unique(), rigged(&world).await);
        rigged.busy.store(4, Ordering::SeqCst);
        let run = stent.dispatch(orders(test, 1)).await.unwrap();
        assert_eq!(run.result().timeout("60s").await.unwrap(), 0);
        assert_eq!((ran::count(test), world.orders().await), (1, vec![0]));
        assert_eq!(rigged.busy.load(Ordering::SeqCst), 0, "it was busy");
        worker.drain().await.unwrap();
    }

    async fn what_would_go_past_it_is_refused_and_what_is_within_is_committed_with_it(world) {
        let (test, worker) = (unique(), world.worker().await);
        let told = world.stent.run(inside(test)).await.unwrap();
        for (told, name) in told.iter().zip(["step.double", "stent::sleep", "inner", "stent::transaction"]) {
            assert!(told.contains(name) && told.contains("cannot be a step"), "{told}");
        }
        assert_eq!(told.iter().filter(|told| told.contains("add .within(&txn)")).count(), 2, "{told:?}");
        assert_eq!((world.orders().await, world.executions().await), (vec![test], 2));
        worker.drain().await.unwrap();
    }

    async fn two_at_once_take_turns_and_other_steps_go_on(world) {
        let (test, worker) = (unique(), world.worker().await);
        assert_eq!(world.stent.run(beside(test)).await.unwrap(), 7);
        assert_eq!(world.orders().await, [test, test]);
        worker.drain().await.unwrap();
    }

    async fn one_that_is_given_up_is_rolled_back(world) {
        let (test, worker) = (unique(), world.worker().await);
        assert_eq!(world.stent.run(loses(test)).await.unwrap(), "world");
        assert!(world.orders().await.is_empty());
        worker.drain().await.unwrap();
    }

    async fn cancelling_rolls_back(world) {
        let (test, worker) = (unique(), world.worker_with(|worker| worker.lease("2s")).await);
        let run = world.stent.dispatch(hangs(test, 1_500)).await.unwrap();
        while ran::count(test) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // On SQLite, not before the transaction has ended.
        run.cancel().await.unwrap();
        run.result().timeout("30s").await.unwrap_err();
        assert!(matches!(run.status().await.unwrap(), ExecutionStatus::Cancelled | ExecutionStatus::Failed));
        assert!(world.orders().await.is_empty());
        worker.drain().await.unwrap();
    }

    async fn one_has_no_limit_or_runs_out_of_the_shortest(world) {
        let worker = world.worker().await;
        for timeout in [Duration::ZERO, Duration::MAX] {
            let test = unique();
            assert_eq!(world.stent.run(lasts(test, timeout)).await.unwrap(), test, "{timeout:?}");
        }
        let error = world.stent.run(lasts(unique(), Duration::from_nanos(1))).await.unwrap_err();
        assert_eq!(error.failure().unwrap().kind, "stent::TransactionTimeout", "{error}");
        assert_eq!(world.orders().await.len(), 2);
        worker.drain().await.unwrap();
    }

    async fn one_that_outlives_its_closure_is_refused(world) {
        let worker = world.worker().await;
        let error = world.stent.run(keeps()).await.unwrap_err();
        assert_eq!(error.failure().unwrap().kind, "stent::TransactionKept");
        assert!(world.orders().await.is_empty());
        worker.drain().await.unwrap();
    }

    async fn a_transform_seals_what_it_gives(world) {
        let test = unique();
        let stent = Stent::builder().transform(Flipped).open(world.stent.store().clone()).await.unwrap();
        let worker = stent.worker().state(stent.clone()).state(Tries::nowhere()).cache(0).start().await.unwrap();
        let txn = world.begin().await;
        let run = stent.dispatch(orders(test, 2)).within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!(run.result().timeout("30s").await.unwrap(), 1);
        assert_eq!(ran::count(test), 2);
        // A reader that cannot open it cannot have sealed it.
        let error = world.stent.handle::<i64>(run.id()).result().await.unwrap_err().to_string();
        assert!(error.contains("flipped"), "{error}");
        worker.drain().await.unwrap();
    }

    async fn a_store_without_a_database_says_so(world) {
        let memory = Stent::connect("memory:").await.unwrap();
        let worker = memory.worker().state(world.stent.clone()).state(Tries::nowhere()).start().await.unwrap();
        let error = memory.run(orders(unique(), 1)).await.unwrap_err();
        assert!(error.to_string().contains("(memory) takes no part in the application's transactions"), "{error}");
        worker.drain().await.unwrap();

        let error = orders(unique(), 1).local().await.unwrap_err();
        assert!(error.to_string().contains("sqlite::memory:"), "{error}");
        let error = stent::transaction(async |_| Ok::<_, String>(())).await.unwrap_err();
        assert!(matches!(error, Error::OutsideDurable { .. }), "{error}");
    }
}

struct Flipped;

impl stent::PayloadTransform for Flipped {
    fn name(&self) -> &str {
        "flipped"
    }

    fn seal(&self, bytes: Vec<u8>) -> Result<Vec<u8>, stent::TransformError> {
        Ok(bytes.iter().map(|byte| !byte).collect())
    }

    fn open(&self, bytes: Vec<u8>) -> Result<Vec<u8>, stent::TransformError> {
        self.seal(bytes)
    }
}
