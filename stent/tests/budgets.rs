//! Counted costs for the store: the budgets of the design, on every store that has a database.

#![cfg(feature = "sql")]

#[cfg(feature = "postgres")]
#[path = "../../stent-postgres/tests/schema/mod.rs"]
mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stent::backend::limits::{MAP_CHUNK, MAP_WINDOW_CHUNKS};
use stent::prelude::*;
use stent::{Timestamp, WorkerBuilder, WorkerState};

#[durable]
async fn add(n: u64) -> Result<u64, String> {
    Ok(n + 1)
}

#[durable]
async fn chain(steps: u64) -> Result<u64, stent::Error> {
    let mut n = 0;
    for _ in 0..steps {
        n = add(n).await?;
    }
    Ok(n)
}

#[durable]
async fn waits(rounds: u64) -> Result<(), stent::Error> {
    for _ in 0..rounds {
        let (a, b) = stent::join!(add(1), add(2));
        a?;
        b?;
    }
    Ok(())
}

#[durable]
async fn forever() -> Result<(), stent::Error> {
    stent::signal("never").await
}

#[durable]
async fn fans(items: u64) -> Result<usize, stent::Error> {
    Ok(add::map(0..items).await?.len())
}

#[durable(idempotent)]
async fn kept(n: u64) -> Result<u64, String> {
    Ok(n)
}

/// A chunk of items that no worker runs.
#[durable]
async fn feeds(from: u64, items: u64, keyed: bool) -> Result<usize, stent::Error> {
    let items = from..from + items;
    match keyed {
        true => Ok(kept::map(items).queue("nobody").await?.len()),
        false => Ok(add::map(items).queue("nobody").await?.len()),
    }
}

/// The progress of a map's items. Each test has its own, because tests run concurrently.
#[derive(Debug)]
struct Items {
    drawn: AtomicU64,
    ran: AtomicU64,
    /// The maximum number of items that were drawn and had not run.
    most: AtomicU64,
}

static ITEMS: [Items; 2] =
    [const { Items { drawn: AtomicU64::new(0), ran: AtomicU64::new(0), most: AtomicU64::new(0) } }; 2];

#[durable]
async fn item(test: usize, _n: u64) -> Result<(), String> {
    ITEMS[test].ran.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

#[durable]
async fn fans_items(test: usize, count: u64) -> Result<usize, stent::Error> {
    let items = &ITEMS[test];
    let calls = (0..count).map(move |n| {
        let drawn = items.drawn.fetch_add(1, Ordering::SeqCst) + 1;
        items.most.fetch_max(drawn.saturating_sub(items.ran.load(Ordering::SeqCst)), Ordering::SeqCst);
        (test, n)
    });
    Ok(item::map(calls).await?.len())
}

/// The store's work since a moment.
#[derive(Debug)]
struct Cost {
    transactions: u64,
    statements: u64,
    rows: u64,
}

struct Bench {
    stent: Stent,
    /// Another handle on the same store, whose reads are not counted: how often a test looks depends on the machine.
    observer: Stent,
    counters: Box<dyn Fn() -> (u64, u64, u64) + Send + Sync>,
    /// The index of this bench's entry in [`ITEMS`].
    items: usize,
    #[allow(dead_code, reason = "held for its destructor")]
    place: Place,
}

/// The location of a test's store.
#[allow(dead_code, reason = "held for their destructors")]
enum Place {
    #[cfg(feature = "sqlite")]
    Folder(tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Schema(schema::Schema),
}

/// A bench on an open SQL store. The counters have the same type in every store, which has no name here.
macro_rules! bench {
    ($store:expr, $url:expr, $items:literal, $place:expr) => {{
        let store = $store;
        let counted = Arc::clone(&store);
        let counters = Box::new(move || {
            let counters = counted.counters();
            (counters.transactions, counters.statements, counters.rows_written)
        });
        let stent = Stent::builder().open(store).await.expect("opens");
        let observer = Stent::connect($url).await.expect("opens");
        Self { stent, observer, counters, items: $items, place: $place }
    }};
}

impl Bench {
    #[cfg(feature = "sqlite")]
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}?durability=normal", folder.path().join("test.db").display());
        let store = stent::sqlite::SqliteStore::open(url.parse().expect("a store")).await.expect("opens");
        bench!(store, &url, 0, Place::Folder(folder))
    }

    #[cfg(feature = "postgres")]
    async fn postgres() -> Self {
        let schema = schema::Schema::new();
        let options = schema.url().parse().expect("a store");
        let store = stent::postgres::PostgresStore::open(options).await.expect("opens");
        bench!(store, &schema.url(), 1, Place::Schema(schema))
    }

    /// Starts a worker, and waits until its store knows that it is ready: from then on it reports every 30 s, so that no report
    /// comes between two counts.
    async fn start(&self, worker: WorkerBuilder) -> Worker {
        let worker = worker.start().await.expect("starts");
        let is_known = async || {
            let known = self.observer.inspect().workers(None, 9).await.expect("read");
            known.iter().any(|known| known.id == worker.id() && known.state == WorkerState::Ready)
        };
        while !is_known().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        worker
    }

    /// When the worker reported last.
    async fn seen(&self, worker: &Worker) -> Option<Timestamp> {
        let known = self.observer.inspect().workers(None, 9).await.expect("read");
        known.iter().find(|known| known.id == worker.id()).map(|known| known.seen_at)
    }

    async fn cost<F: Future>(&self, what: F) -> (F::Output, Cost) {
        let before = (self.counters)();
        let output = what.await;
        let after = (self.counters)();
        (
            output,
            Cost {
                transactions: after.0 - before.0,
                statements: after.1 - before.1,
                rows: after.2 - before.2,
            },
        )
    }
}

/// Declares tests that run on every store that has a database.
macro_rules! on_every_store {
    ($(async fn $name:ident($bench:ident) $body:block)+) => {
        $(
            mod $name {
                use super::*;

                async fn body($bench: Bench) $body

                #[cfg(feature = "sqlite")]
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    body(Bench::sqlite().await).await;
                }

                #[cfg(feature = "postgres")]
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    body(Bench::postgres().await).await;
                }
            }
        )+
    };
}

on_every_store! {
    async fn a_local_step_is_one_row_and_one_transaction(bench) {
        let worker = bench.start(bench.stent.worker()).await;
        let cost = async |steps| {
            let (n, cost) = bench.cost(bench.stent.run(chain(steps))).await;
            assert_eq!(n.expect("runs"), steps);
            cost
        };

        let (short, long) = (cost(10).await, cost(110).await);

        // The step's row, and the row of the parent that counts it: two writes. Nothing else grows with the number of
        // steps.
        assert_eq!(long.transactions - short.transactions, 100, "one transaction a step");
        assert!(long.rows - short.rows <= 200, "one row a step beside its parent's: {short:?}, {long:?}");
        worker.drain().await.expect("drains");
    }

    async fn an_execution_of_one_step_is_two_transactions(bench) {
        let worker = bench.start(bench.stent.worker()).await;
        bench.stent.run(chain(1)).await.expect("runs");
        let mut least = (u64::MAX, 0);
        for _ in 0..20 {
            let (n, cost) = bench.cost(bench.stent.run(chain(1))).await;
            assert_eq!(n.expect("runs"), 1);
            // On a slow machine, the worker may be polling when the execution is dispatched; then it claims afterwards.
            assert!(cost.transactions <= 3, "{cost:?}");
            least = least.min((cost.transactions, cost.rows));
        }

        // The dispatch, with the claim; and the step's row, with the end of its parent. Four rows are written: the root three
        // times, and the step once.
        assert_eq!(least, (2, 4));
        worker.drain().await.expect("drains");
    }

    async fn the_nth_step_costs_what_the_first_one_did(bench) {
        let worker = bench.start(bench.stent.worker()).await;
        // How many commits share a transaction depends on the load of the machine: the cheapest of three runs counts.
        let cost = async |rounds| {
            let mut least: Option<Cost> = None;
            for _ in 0..3 {
                let (ran, cost) = bench.cost(bench.stent.run(waits(rounds))).await;
                ran.expect("runs");
                least = Some(match least {
                    Some(least) if least.statements <= cost.statements => least,
                    _ => cost,
                });
            }
            least.expect("it ran")
        };

        let (few, many) = (cost(20).await, cost(200).await);

        // Parked and claimed again each round, from memory: ten times the rounds cost ten times as much, not a hundred.
        assert!(many.statements <= few.statements * 12, "{few:?}, {many:?}");
        assert!(many.rows <= few.rows * 12, "{few:?}, {many:?}");
        worker.drain().await.expect("drains");
    }

    async fn many_executions_share_transactions(bench) {
        let worker = bench.start(bench.stent.worker().concurrency(256)).await;

        let (_, cost) = bench
            .cost(async {
                let runs = bench.stent.dispatch_all((0..1_000).map(add)).await.expect("dispatched");
                for run in runs {
                    run.result().await.expect("runs");
                }
            })
            .await;

        assert!(cost.transactions <= 200, "a thousand executions in {cost:?}");
        // Dispatched, claimed, completed.
        assert!(cost.rows <= 3_000 + 10, "{cost:?}");
        worker.drain().await.expect("drains");
    }

    async fn an_item_of_a_map_is_three_rows_and_wakes_its_parent_once_a_window(bench) {
        let worker = bench.start(bench.stent.worker().concurrency(512)).await;

        let (items, cost) = bench.cost(bench.stent.run(fans(20_000))).await;

        assert_eq!(items.expect("runs"), 20_000);
        // Three writes for each item; the rows of the map and of the parent are written at most once per exchange.
        let own = cost.rows - 3 * 20_000;
        assert!(own <= 3 * cost.transactions, "{own} rows beside the items' in {cost:?}");
        // And exchanges are few: otherwise the items would be counted one by one after all. Most carry some hundred
        // items.
        assert!(cost.transactions <= 20_000 / 20, "{cost:?}");
        worker.drain().await.expect("drains");
    }

    async fn the_items_of_a_chunk_are_looked_up_and_written_in_one_transaction(bench) {
        const CHUNK: u64 = MAP_CHUNK as u64;
        let worker = bench.start(bench.stent.worker().queues(["default"])).await;
        let mut parked = 0;
        let mut from = 0;
        let mut feed = async |items, keyed| {
            parked += 1;
            let fed = async {
                bench.stent.dispatch(feeds(from, items, keyed)).await.expect("dispatched");
                while worker.status().parked < parked {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                // Waits for the store: the parking is reported a little earlier.
                while bench.observer.inspect().queue_depth(Some("nobody")).await.expect("counted") < from + items {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            let ((), cost) = bench.cost(fed).await;
            from += items;
            cost
        };
        // On a slow machine, the worker's report every 30 s may come while a cost is counted, which is then counted again.
        let mut cost = async |items, keyed| loop {
            let before = bench.seen(&worker).await;
            let cost = feed(items, keyed).await;
            if bench.seen(&worker).await == before {
                return cost;
            }
        };

        for keyed in [false, true] {
            // The first dispatch writes the lanes.
            cost(1, keyed).await;
            let (one, chunk) = (cost(1, keyed).await, cost(CHUNK, keyed).await);

            // An item with a key has a key entry, too.
            let rows = if keyed { 2 } else { 1 };
            assert_eq!(chunk.rows - one.rows, rows * (CHUNK - 1), "{one:?}, {chunk:?}");
            assert!(chunk.transactions <= one.transactions + 1, "{one:?}, {chunk:?}");
            // A few exchanges check whether the chunk was written, and whether there is work.
            assert!(chunk.statements <= 100, "{one:?}, {chunk:?}");
        }
        worker.drain().await.expect("drains");
    }

    async fn a_map_costs_as_many_times_more_as_it_has_items_and_draws_no_further_than_its_window(bench) {
        const FEW: u64 = 5_000;
        const MANY: u64 = 20_000;
        let worker = bench.start(bench.stent.worker().concurrency(512)).await;
        let cost = async |items| {
            let (ran, cost) = bench.cost(bench.stent.run(fans_items(bench.items, items))).await;
            assert_eq!(ran.expect("runs") as u64, items);
            cost
        };

        let (few, many) = (cost(FEW).await, cost(MANY).await);

        // Four times the items. The size of transactions depends on the load of the machine, so the bound leaves some
        // room.
        assert!(many.rows <= few.rows * 5, "{few:?}, {many:?}");
        assert!(many.statements <= few.statements * 6, "{few:?}, {many:?}");
        assert!(many.transactions <= few.transactions * 6, "{few:?}, {many:?}");
        // Any number of items is written in chunks, and at most the window's chunks are open.
        let items = &ITEMS[bench.items];
        assert_eq!(items.drawn.load(Ordering::SeqCst), FEW + MANY, "each item is drawn once");
        let most = items.most.load(Ordering::SeqCst);
        // One more item is drawn, to find out whether there is one.
        assert!(most <= (MAP_CHUNK * MAP_WINDOW_CHUNKS) as u64 + 1, "{most} items were drawn and had not run");
        worker.drain().await.expect("drains");
    }

    async fn counting_costs_as_much_however_much_there_is(bench) {
        let counted = async || {
            let (count, cost) = bench
                .cost(async {
                    let count = bench.stent.inspect().count().await.expect("counted").values().sum::<u64>();
                    let depth = bench.stent.inspect().queue_depth(Some("counted")).await.expect("counted");
                    let letters = bench.stent.dead_letters().stats().await.expect("counted").len();
                    (count, depth, letters)
                })
                .await;
            (count, cost.statements)
        };
        let dispatch = async |count| {
            let calls = (0..count).map(|n| add(n).queue("counted"));
            bench.stent.dispatch_all(calls).await.expect("dispatched");
        };

        dispatch(1).await;
        let ((few, depth, _), cost) = counted().await;
        assert_eq!((few, depth), (1, 1));
        dispatch(2_500).await;
        let ((many, depth, letters), more) = counted().await;

        assert_eq!((many, depth, letters), (2_501, 2_501, 0));
        assert_eq!(more, cost, "no page is read, and nothing is read one by one");
        assert!(cost <= 4, "{cost} statements");
    }

    async fn an_idle_process_asks_at_most_once_a_second_and_writes_only_that_it_lives(bench) {
        let worker = bench.start(bench.stent.worker()).await;
        // Parked functions, sleeps and waiters are idle too.
        let sleeping = bench.stent.dispatch(chain(1)).delay("1h").await.expect("dispatched");
        let waiting = tokio::spawn(async move { sleeping.result().timeout("1h").await });
        bench.stent.dispatch(forever()).await.expect("dispatched");
        while worker.status().parked == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The pauses between polls have grown to their longest after this.
        tokio::time::sleep(Duration::from_secs(4)).await;

        let (_, cost) = bench.cost(tokio::time::sleep(Duration::from_secs(4))).await;

        // Nothing but the worker's report that it lives, every 30 s: one statement that writes one row.
        assert_eq!((cost.rows, cost.transactions), (0, 0), "{cost:?}");
        assert!(cost.statements <= 4, "{cost:?}");
        waiting.abort();
        worker.drain().await.expect("drains");
    }

    async fn ten_thousand_waiters_cost_the_store_what_one_costs(bench) {
        const WAITERS: u64 = 10_000;
        let calls = (0..WAITERS).map(|n| add(n).delay("1h"));
        let runs = bench.stent.dispatch_all(calls).await.expect("dispatched");
        let wait = |run: &stent::Handle<u64>| tokio::spawn(run.result().into_future());
        // Waits until the pauses between polls have grown to their longest, two seconds.
        let settle = async || {
            loop {
                let (_, cost) = bench.cost(tokio::time::sleep(Duration::from_secs(2))).await;
                if cost.statements <= 1 {
                    break;
                }
            }
        };

        let first = wait(&runs[0]);
        settle().await;
        let (_, one) = bench.cost(tokio::time::sleep(Duration::from_secs(4))).await;
        let others: Vec<_> = runs[1..].iter().map(wait).collect();
        settle().await;
        let (_, all) = bench.cost(tokio::time::sleep(Duration::from_secs(4))).await;

        assert!(one.statements >= 1, "it is counted: {one:?}");
        // A poll more or less, depending on the window.
        assert!(all.statements <= one.statements + 1, "{WAITERS} waiters {all:?}, one {one:?}");
        assert_eq!((all.rows, all.transactions), (0, 0), "{all:?}");
        others.into_iter().chain([first]).for_each(|wait| wait.abort());
    }

    async fn an_exchange_takes_as_many_statements_however_much_it_writes(bench) {
        let dispatch = async |count| {
            let runs = bench.stent.dispatch_all((0..count).map(add)).await.expect("dispatched");
            assert_eq!(runs.len() as u64, count);
        };
        // The first dispatch stores the lane as well.
        dispatch(1).await;

        let (((), one), ((), many)) = (bench.cost(dispatch(1)).await, bench.cost(dispatch(500)).await);

        // The many dispatches may take more than one batch.
        assert_eq!((one.transactions, one.rows, many.rows), (1, 1, 500));
        assert_eq!(many.statements, one.statements * many.transactions, "{one:?}, {many:?}");
        assert!(many.transactions <= 10, "{many:?}");
    }
}
