//! A channel of hints beside the store: `StentBuilder::hints` with a Redis server.
//!
//! Each `Stent` here is like a process of its own: its store sends no hints to the others, so only the channel does. Where polls come
//! once an hour, a test that ends has proved that a hint came.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stent::backend::{Announced, ExecutionView, Forward, HintChannel, Hints, Listener, Store, Topic};
use stent::metrics::HintsLost;
use stent::prelude::*;
use stent::redis::{RedisHints, RedisOptions};
use stent::{Error, ExecutionId, ExecutionStatus, Metrics, PollOptions, Worker};
use tokio::sync::{Semaphore, watch};
use tracing::Level;

use crate::logs::{self, Line};
use crate::redis_server::Server;
use crate::rigged::Rigged;
use crate::{Db, eventually, on_every_store, ran, unique};

/// For an expected event on a busy machine.
const PATIENCE: &str = "40s";

const HOUR: Duration = Duration::from_secs(3_600);

#[durable(name = "wake.add", queue = "wake")]
async fn add(a: u64, b: u64) -> Result<u64, String> {
    Ok(a + b)
}

/// Waits, parked, for a signal and then for a step on another worker.
#[durable(name = "wake.approved", queue = "wake")]
async fn approved(n: u64) -> Result<u64, Error> {
    let more: u64 = stent::signal("more").await?;
    add(n, more).queue("elsewhere").await
}

#[durable(name = "wake.runs_on", queue = "wake")]
async fn runs_on(key: u64) -> Result<(), Error> {
    struct Dropped(u64);
    impl Drop for Dropped {
        fn drop(&mut self) {
            ran::note(self.0, "dropped");
        }
    }
    let _dropped = Dropped(key);
    ran::note(key, "runs");
    std::future::pending().await
}

/// Ends with a wait, so that nothing ends after the transaction.
#[cfg(feature = "sql")]
#[durable(name = "wake.transacts", queue = "wake")]
async fn transacts() -> Result<(), Error> {
    stent::transaction(async |_txn| Ok::<_, String>(())).await?;
    stent::signal("never").await
}

/// The outages that were reported.
#[derive(Clone, Debug, Default)]
struct Losses(Arc<Mutex<Vec<u64>>>);

impl Losses {
    fn so_far(&self) -> Vec<u64> {
        self.0.lock().expect("not poisoned").clone()
    }
}

impl Metrics for Losses {
    fn hints_lost(&self, event: &HintsLost) {
        self.0.lock().expect("not poisoned").push(event.outages);
    }
}

/// A server that passes on hints. They may be lost, so it keeps no file.
fn server() -> Server {
    Server::start(&[("appendonly", "no")])
}

fn never_polls() -> PollOptions {
    PollOptions::default().min(HOUR).max(HOUR)
}

fn polls_often() -> PollOptions {
    PollOptions::default().min(Duration::from_millis(5)).max(Duration::from_millis(40))
}

/// A store that wakes its own process and no other, like Postgres behind a pooler that loses notifications.
fn alone(store: &Arc<dyn Store>) -> Arc<dyn Store> {
    Arc::new(Announced::new(Rigged::deaf(store), Arc::new(Own::default())))
}

/// A channel that notifies its own listeners only.
#[derive(Debug, Default)]
struct Own {
    work: watch::Sender<()>,
    ended: watch::Sender<()>,
}

impl Own {
    const fn topic(&self, topic: Topic) -> &watch::Sender<()> {
        match topic {
            Topic::Work => &self.work,
            Topic::Ended => &self.ended,
        }
    }
}

#[derive(Debug)]
struct Heard(watch::Receiver<()>);

#[async_trait]
impl Listener for Heard {
    async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Hints for Own {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        Box::new(Heard(self.topic(topic).subscribe()))
    }
}

#[async_trait]
impl HintChannel for Own {
    fn notify(&self, topic: Topic) {
        self.topic(topic).send_replace(());
    }

    async fn outages(&self, _seen: u64) -> u64 {
        std::future::pending().await
    }

    async fn close(&self) {}
}

async fn channel(server: &Server) -> RedisHints {
    let options = RedisOptions::server("127.0.0.1", server.port()).namespace("test");
    RedisHints::open(&options.response_timeout(Duration::from_secs(5))).await.expect("connects")
}

/// A `Stent` that hears of others through the server only.
async fn process(store: &Arc<dyn Store>, server: &Server, poll: PollOptions) -> (Stent, Losses) {
    let (hints, losses) = (channel(server).await, Losses::default());
    let builder = Stent::builder().poll(poll).metrics(losses.clone()).hints(hints);
    (builder.open(alone(store)).await.expect("the store is open"), losses)
}

/// A worker that neither polls nor renews while a test runs.
async fn worker(stent: &Stent, queue: &str) -> Worker {
    let worker = stent.worker().state(Db).queues([queue]).lease("1h").start().await.expect("starts");
    worker.wait_until_ready().await.expect("becomes ready");
    worker
}

/// Whether a line of the log is about this server.
fn is_of(server: &Server, line: &Line) -> bool {
    line.field("server").starts_with(&format!("127.0.0.1:{}/", server.port()))
}

/// The number of warnings about this server.
fn warnings(server: &Server) -> usize {
    logs::lines(|line| is_of(server, line) && line.level <= Level::WARN).len()
}

/// A store whose look at executions ends only when the test lets it.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn Store>,
    /// Looks that have read the store.
    looks: Semaphore,
    /// Looks that may return.
    goes_on: Semaphore,
}

#[async_trait]
impl Forward for Slow {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn executions(&self, ids: &[ExecutionId]) -> stent::backend::Result<Vec<ExecutionView>> {
        let views = self.inner.executions(ids).await;
        self.looks.add_permits(1);
        self.goes_on.acquire().await.expect("never closed").forget();
        views
    }
}

/// A channel to which the test listens, too.
#[derive(Debug)]
struct Shared(Arc<RedisHints>);

impl Hints for Shared {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        self.0.listen(topic)
    }
}

#[async_trait]
impl HintChannel for Shared {
    fn notify(&self, topic: Topic) {
        self.0.notify(topic);
    }

    async fn outages(&self, seen: u64) -> u64 {
        self.0.outages(seen).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// A channel that leads nowhere, and counts.
#[cfg(feature = "sql")]
#[derive(Clone, Debug, Default)]
struct Counted {
    ends: Arc<AtomicU64>,
}

#[cfg(feature = "sql")]
#[derive(Debug)]
struct Silent;

#[cfg(feature = "sql")]
#[async_trait]
impl Listener for Silent {
    async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(feature = "sql")]
impl Hints for Counted {
    fn listen(&self, _topic: Topic) -> Box<dyn Listener> {
        Box::new(Silent)
    }
}

#[cfg(feature = "sql")]
#[async_trait]
impl HintChannel for Counted {
    fn notify(&self, topic: Topic) {
        if topic == Topic::Ended {
            self.ends.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn outages(&self, _seen: u64) -> u64 {
        std::future::pending().await
    }

    async fn close(&self) {}
}

/// The commit of a transaction step is announced. No exchange here ends anything, so no other change notifies of an end.
#[cfg(feature = "sql")]
async fn a_transaction_is_announced(world: Arc<crate::World>) {
    let channel = Counted::default();
    let stent =
        Stent::builder().hints(channel.clone()).open(world.stent.store().clone()).await.expect("opens");
    let worker = worker(&stent, "wake").await;
    let run = stent.dispatch(transacts()).await.expect("dispatched");
    let waits = async || run.status().await.expect("known") == ExecutionStatus::Running;
    eventually(async || channel.ends.load(Ordering::SeqCst) == 1 && waits().await).await;
    worker.drain().await.expect("drains");
    assert_eq!(channel.ends.load(Ordering::SeqCst), 1);
}

#[cfg(feature = "sqlite")]
#[test]
fn the_commit_of_a_transaction_step_is_announced_on_sqlite() {
    crate::run(crate::World::sqlite(), a_transaction_is_announced);
}

#[cfg(feature = "postgres")]
#[test]
fn the_commit_of_a_transaction_step_is_announced_on_postgres() {
    crate::run(crate::World::postgres(), a_transaction_is_announced);
}

on_every_store! {
    async fn processes_wake_each_other_through_the_channel(world) {
        let (server, store) = (server(), world.stent.store());
        let (calls, _) = process(store, &server, never_polls()).await;
        let (works, _) = process(store, &server, never_polls()).await;
        let (helps, _) = process(store, &server, never_polls()).await;
        let (first, second) = (worker(&works, "wake").await, worker(&helps, "elsewhere").await);

        // A dispatch wakes a worker, and an end wakes a wait.
        assert_eq!(calls.dispatch(add(1, 2)).await.expect("dispatched").result().timeout(PATIENCE).await.expect("runs"), 3);

        // A signal wakes a function, its step wakes another worker, and the end of that step wakes the function again.
        let run = calls.dispatch(approved(40)).await.expect("dispatched");
        run.signal("more", &2_u64).await.expect("sent");
        assert_eq!(run.result().timeout(PATIENCE).await.expect("runs"), 42);

        // A cancellation reaches running code.
        let key = unique();
        let run = calls.dispatch(runs_on(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "runs") == 1).await;
        calls.cancel(run.id()).await.expect("asked");
        let error = run.result().timeout(PATIENCE).await.expect_err("it is cancelled");
        assert!(matches!(error, Error::Cancelled), "{error}");
        eventually(async || ran::count(key, "dropped") == 1).await;

        first.drain().await.expect("drains");
        second.drain().await.expect("drains");
    }

    async fn an_outage_in_the_middle_of_a_thousand_executions_costs_one_warning_and_no_execution(world) {
        /// Dispatched and waited for one after the other, by each of several callers: so workers and waits are idle in between.
        const EACH: u64 = 100;
        const CALLERS: u64 = 10;
        let (mut server, store) = (server(), world.stent.store());
        let (calls, our_losses) = process(store, &server, polls_often()).await;
        let (works, their_losses) = process(store, &server, polls_often()).await;
        let losses = || [our_losses.so_far(), their_losses.so_far()];
        let worker = worker(&works, "wake").await;
        let ended = Arc::new(AtomicU64::new(0));
        let callers = (0..CALLERS).map(|caller| {
            let (calls, ended) = (calls.clone(), ended.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    assert_eq!(calls.run(add(caller, n)).await.expect("no outage of hints fails a call"), caller + n);
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        let reached = async |count| eventually(async || ended.load(Ordering::SeqCst) >= count).await;

        reached(300).await;
        assert_eq!((losses(), warnings(&server)), ([vec![], vec![]], 0));
        server.kill();
        eventually(async || losses() == [[1], [1]]).await;
        // Work goes on by polling.
        reached(ended.load(Ordering::SeqCst) + 300).await;
        server.run().expect("it comes up again");
        for caller in callers {
            caller.await.expect("all executions end");
        }

        assert_eq!(ended.load(Ordering::SeqCst), EACH * CALLERS);
        assert_eq!(losses(), [[1], [1]]);
        assert_eq!(warnings(&server), 2, "one for each process");
        worker.drain().await.expect("drains");
    }

    async fn a_channel_that_comes_back_wakes_again_and_its_next_outage_counts_anew(world) {
        let (mut server, store) = (server(), world.stent.store());
        let (calls, our_losses) = process(store, &server, never_polls()).await;
        let (works, their_losses) = process(store, &server, never_polls()).await;
        let losses = || [our_losses.so_far(), their_losses.so_far()];
        let worker = worker(&works, "wake").await;

        for outages in [vec![1], vec![1, 2]] {
            server.kill();
            eventually(async || losses() == [outages.clone(), outages.clone()]).await;
            let missed = calls.dispatch(add(1, 2)).await.expect("no outage of hints fails a call");
            server.run().expect("it comes up again");

            // The hint of this dispatch could not be sent.
            assert_eq!(missed.result().timeout(PATIENCE).await.expect("runs"), 3);
            let next = calls.dispatch(add(2, 3)).await.expect("dispatched");
            assert_eq!(next.result().timeout(PATIENCE).await.expect("runs"), 5);
            // Both processes say that hints get through again.
            let is_over = |line: &Line| is_of(&server, line) && line.message().contains("again");
            eventually(async || logs::lines(is_over).len() == 2 * outages.len()).await;
            assert_eq!(losses(), [outages.clone(), outages.clone()]);
            assert_eq!(warnings(&server), 2 * outages.len());
        }
        worker.drain().await.expect("drains");
    }

    async fn a_wait_times_out_the_same_with_hints_without_them_and_by_polling(world) {
        let (mut down, up, store) = (server(), server(), world.stent.store());
        let (hinted, _) = process(store, &up, never_polls()).await;
        let (other, _) = process(store, &up, never_polls()).await;
        let (cut_off, losses) = process(store, &down, never_polls()).await;
        down.kill();
        eventually(async || losses.so_far() == [1]).await;
        let polls = Stent::builder().poll(polls_often()).open(alone(store)).await.expect("opens");
        // Hints of other executions make a wait look, and must not prolong it.
        let chatter = tokio::spawn(async move {
            loop {
                let run = other.dispatch(add(0, 0)).delay("1h").await.expect("dispatched");
                other.cancel(run.id()).await.expect("asked");
            }
        });

        for stent in [&hinted, &cut_off, &polls] {
            let run = stent.dispatch(add(1, 2)).delay("1h").await.expect("dispatched");
            let limit = Duration::from_millis(60);
            for error in [
                run.result().timeout(limit).await.expect_err("nobody runs it"),
                stent.wait_for(run.id()).timeout(limit).await.expect_err("nobody runs it"),
            ] {
                assert!(
                    matches!(&error, Error::WaitTimeout { execution, waited } if *execution == run.id() && *waited == limit),
                    "{error}"
                );
            }
            assert_eq!(run.status().await.expect("known"), ExecutionStatus::Pending);

            // The deadline of an execution passes without a worker, and its wait ends it.
            let run = stent.dispatch(approved(1)).max_duration("50ms").await.expect("dispatched");
            let error = run.result().timeout(PATIENCE).await.expect_err("nobody runs it in time");
            assert!(matches!(error, Error::TimedOut), "{error}");
        }
        chatter.abort();
    }

    async fn a_hint_between_the_look_and_the_wait_is_not_lost(world) {
        let (server, store) = (server(), world.stent.store());
        let hints = Arc::new(channel(&server).await);
        let slow = Arc::new(Slow { inner: alone(store), looks: Semaphore::new(0), goes_on: Semaphore::new(0) });
        let builder = Stent::builder().poll(never_polls()).hints(Shared(hints.clone()));
        let waits = builder.open(slow.clone()).await.expect("opens");
        let (works, _) = process(store, &server, never_polls()).await;
        let run = works.dispatch(add(1, 2)).await.expect("dispatched");
        let waiting = tokio::spawn(waits.handle::<u64>(run.id()).result().timeout(PATIENCE).into_future());
        // The wait has read that the execution has not ended, and does not know it yet.
        slow.looks.acquire().await.expect("open").forget();

        let mut beside = hints.listen(Topic::Ended);
        let worker = worker(&works, "wake").await;
        // It ends, and the hint arrives in the process that waits.
        beside.changed().await;
        slow.goes_on.add_permits(1_000);

        assert_eq!(waiting.await.expect("no panic").expect("hears of the end"), 3);
        worker.drain().await.expect("drains");
    }

    async fn a_server_that_is_not_there_yet_fails_no_call_and_wakes_from_its_start_on(world) {
        let mut server = Server::prepare(&[("appendonly", "no")]);
        let store = world.stent.store();
        let (calls, our_losses) = process(store, &server, never_polls()).await;
        let (works, their_losses) = process(store, &server, never_polls()).await;
        let worker = worker(&works, "wake").await;
        let run = calls.dispatch(add(1, 2)).await.expect("dispatched");
        eventually(async || [our_losses.so_far(), their_losses.so_far()] == [[1], [1]]).await;

        server.run().expect("it comes up");

        assert_eq!(run.result().timeout(PATIENCE).await.expect("runs"), 3);
        assert_eq!(warnings(&server), 2, "one for each process");
        worker.drain().await.expect("drains");
    }

    async fn a_channel_is_for_one_store_and_closes_with_it(world) {
        let (server, store) = (server(), world.stent.store());
        let hints = channel(&server).await;
        let builder = Stent::builder().hints(hints);
        let stent = builder.clone().open(store.clone()).await.expect("opens");

        let error = builder.open(store.clone()).await.expect_err("the channel is taken");
        assert!(error.to_string().starts_with("option `hints`: a clone of this builder"), "{error}");

        stent.close().await.expect("closes");
        eventually(async || !server.ask::<String>(&["CLIENT", "LIST"]).contains("name=stent ")).await;
    }
}
