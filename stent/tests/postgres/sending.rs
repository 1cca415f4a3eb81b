//! Results of turns reach a real server in spite of locked rows, timeouts, and a proxy that refuses clients for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stent::backend::model::Nonce;
use stent::backend::{Backend, ClaimRequest, Migrate, NoStickyCache, Renewal};
use stent::postgres::{PostgresOptions, PostgresStore};
use stent::prelude::*;
use stent::sea_orm::sqlx::{self, Connection, Executor, PgConnection};
use stent::{ExecutionId, WorkerId};
use tokio::sync::watch;

use crate::database::TestDatabase;
use crate::proxy::Proxy;

const LEASE: Duration = Duration::from_secs(2);

/// Every stage, by its number. It is not a state of workers, because the workers of other tests in this program do not
/// provide it.
static STAGES: Mutex<Vec<Stage>> = Mutex::new(Vec::new());

/// The bodies that have run, and how often; and the bodies that may end.
#[derive(Clone, Debug)]
struct Stage {
    number: usize,
    ran: Arc<Mutex<BTreeMap<u64, u32>>>,
    open: watch::Sender<bool>,
}

impl Stage {
    fn new() -> Self {
        let mut stages = STAGES.lock().unwrap();
        let stage = Self { number: stages.len(), ran: Arc::default(), open: watch::Sender::new(false) };
        stages.push(stage.clone());
        stage
    }

    fn ran(&self) -> BTreeMap<u64, u32> {
        self.ran.lock().unwrap().clone()
    }

    async fn ran_all(&self, count: usize) {
        while self.ran().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn worker(stent: &Stent, lease: Duration) -> Worker {
        stent.worker().lease(lease).concurrency(256).start().await.unwrap()
    }
}

/// Returns this many bytes once it may end.
#[durable(name = "sending.gated", retry(max_attempts = 1))]
async fn gated(stage: usize, n: u64, bytes: usize) -> Result<String, String> {
    let stage = STAGES.lock().unwrap()[stage].clone();
    *stage.ran.lock().unwrap().entry(n).or_default() += 1;
    let mut open = stage.open.subscribe();
    open.wait_for(|open| *open).await.map_err(|error| error.to_string())?;
    Ok("x".repeat(bytes))
}

/// Another client's transaction that locks a task's row.
async fn hold(database: &TestDatabase, execution: ExecutionId) -> PgConnection {
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    connection.execute("BEGIN").await.unwrap();
    let row = sqlx::query("SELECT 1 FROM stent_task WHERE id = $1 FOR UPDATE");
    row.bind(*execution.root().as_uuid()).fetch_one(&mut connection).await.unwrap();
    connection
}

#[test]
fn a_renewal_passes_over_what_another_transaction_holds_and_extends_the_rest() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let store = PostgresStore::open(database.url().parse::<PostgresOptions>().unwrap()).await.unwrap();
        store.migrate().await.unwrap();
        let stent = Stent::builder().open(store.clone()).await.unwrap();
        let ids = [
            stent.dispatch(gated(0, 1, 1)).await.unwrap().id(),
            stent.dispatch(gated(0, 2, 1)).await.unwrap().id(),
        ];
        let now = store.clock().await.unwrap();
        let functions = ["sending.gated".to_owned()];
        let request = ClaimRequest {
            worker: WorkerId::from_uuid(*ids[0].root().as_uuid()),
            nonce: Nonce::new(7),
            now,
            until: now + LEASE,
            max: 2,
            functions: &functions,
            queues: None,
            tags: &[],
            limits: &[],
            cache: &NoStickyCache,
        };
        let claimed = store.exchange(&[], Some(&request)).await.unwrap().claimed;
        let mut leases: Vec<_> = claimed.iter().map(|claimed| claimed.lease).collect();
        leases.sort_by_key(|lease| lease.task != ids[0].root());

        let mut holder = hold(&database, ids[0]).await;
        let mut gone = leases[1];
        gone.epoch = gone.epoch.next(Nonce::new(9));
        let asked = [leases[0], leases[1], gone];
        let answers = store.renew(&asked, now, now + 2 * LEASE).await.unwrap();
        assert_eq!(answers, [Renewal::Held, Renewal::Renewed, Renewal::Lost]);

        holder.execute("ROLLBACK").await.unwrap();
        let answers = store.renew(&leases, now, now + 2 * LEASE).await.unwrap();
        assert_eq!(answers, [Renewal::Renewed, Renewal::Renewed]);
    });
}

#[test]
fn a_row_that_somebody_holds_costs_no_other_its_lease_and_its_own_task_no_second_run() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let stage = Stage::new();
        let stent = Stent::connect(&database.url()).await.unwrap();
        let worker = Stage::worker(&stent, LEASE).await;
        let number = stage.number;
        let runs = stent.dispatch_all((0..7).map(move |n| gated(number, n, 1))).await.unwrap();
        stage.ran_all(7).await;
        // This worker would take over tasks whose leases are not renewed.
        let others = Stent::connect(&database.url()).await.unwrap();
        let other = Stage::worker(&others, LEASE).await;

        // Locked while they run, and while they end: each time for longer than their leases.
        let mut holder = hold(&database, runs[3].id()).await;
        tokio::time::sleep(2 * LEASE).await;
        stage.open.send_replace(true);
        for (n, run) in runs.iter().enumerate().filter(|(n, _)| *n != 3) {
            run.result().timeout("60s").await.unwrap_or_else(|error| panic!("{n}: {error}"));
        }
        tokio::time::sleep(2 * LEASE).await;
        assert!(!stent.status(runs[3].id()).await.unwrap().is_terminal());
        holder.execute("ROLLBACK").await.unwrap();

        runs[3].result().timeout("60s").await.unwrap();
        assert_eq!(stage.ran(), (0..7).map(|n| (n, 1)).collect());
        worker.drain().await.unwrap();
        other.drain().await.unwrap();
    });
}

#[test]
fn results_that_do_not_fit_into_a_statement_timeout_together_are_sent_in_smaller_units() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let stent = Stent::connect(&database.url()).await.unwrap();
        database.set("statement_timeout = '400ms'").await;
        let stage = Stage::new();
        let limited = Stent::connect(&database.url()).await.unwrap();
        let worker = Stage::worker(&limited, 5 * LEASE).await;
        let number = stage.number;
        let runs = stent.dispatch_all((0..200).map(move |n| gated(number, n, 176 * 1024))).await.unwrap();
        stage.ran_all(200).await;

        stage.open.send_replace(true);

        for run in runs {
            run.result().timeout("60s").await.unwrap();
        }
        assert_eq!(stage.ran(), (0..200).map(|n| (n, 1)).collect());
        worker.drain().await.unwrap();
    });
}

#[test]
fn a_pooler_that_turns_everybody_away_for_a_while_costs_no_effect_and_no_dispatch() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let direct = Stent::connect(&database.url()).await.unwrap();
        let proxy = Proxy::start(&database).await;
        let stage = Stage::new();
        let stent = Stent::connect(proxy.url()).await.unwrap();
        let worker = Stage::worker(&stent, 5 * LEASE).await;
        let run = direct.dispatch(gated(stage.number, 1, 1)).await.unwrap();
        stage.ran_all(1).await;

        for (code, message) in
            [("08P01", "server conn crashed?"), ("28000", "role is not permitted to log in")]
        {
            proxy.turn_away(code, message);
            stage.open.send_replace(true);
            let dispatched = tokio::spawn(stent.dispatch(gated(stage.number, 2, 1)).into_future());
            proxy.turned_away(3).await;
            proxy.let_pass();

            dispatched.await.unwrap().unwrap().result().timeout("60s").await.unwrap();
            run.result().timeout("60s").await.unwrap();
        }

        assert_eq!(stage.ran().get(&1), Some(&1));
        assert_eq!(direct.store().ended_claims(run.id().root()).await.unwrap(), []);
        worker.drain().await.unwrap();
    });
}

#[test]
fn connections_that_fall_silent_are_given_up_and_what_was_sent_on_them_is_sent_again() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let proxy = Proxy::start(&database).await;
        let stage = Stage::new();
        let stent = Stent::connect(proxy.url()).await.unwrap();
        let worker = Stage::worker(&stent, Duration::from_secs(40)).await;
        let number = stage.number;
        let runs = stent.dispatch_all((0..12).map(move |n| gated(number, n, 1))).await.unwrap();
        stage.ran_all(12).await;
        let waits: Vec<_> =
            runs.iter().map(|run| tokio::spawn(run.result().timeout("100s").into_future())).collect();

        proxy.fall_silent();
        stage.open.send_replace(true);
        let writes = (12..15).map(|n| {
            let stent = stent.clone();
            tokio::spawn(async move { stent.dispatch(gated(number, n, 1)).await })
        });
        let writes: Vec<_> = writes.collect();
        // A caller whose timeout is shorter than the store's.
        for run in &runs {
            let asked = tokio::time::timeout(Duration::from_millis(100), stent.status(run.id())).await;
            assert!(asked.is_err(), "nothing is answered");
        }
        proxy.let_pass();

        for wait in waits {
            wait.await.unwrap().expect("its result is written, and read");
        }
        for write in writes {
            // A call that has waited for too long may have failed with a transient error.
            let ended = write.await.unwrap();
            assert!(ended.as_ref().map_or_else(stent::Error::is_transient, |_| true), "{ended:?}");
        }
        stent.dispatch(gated(number, 20, 1)).await.unwrap().result().timeout("20s").await.unwrap();
        let ran = stage.ran();
        assert!((0..12).all(|n| ran[&n] == 1), "each ran once: {ran:?}");
        worker.drain().await.unwrap();
    });
}
