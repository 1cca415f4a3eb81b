//! Processes that are killed around the commit of a transaction: each step's rows are there once, and so is its record.
//!
//! The tables of the application have no keys that would refuse a second insert. A worker process is this test program,
//! started again for the one test that turns it into a worker.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::sea_orm::ConnectionTrait;
use stent::view::{Filter, StepKind, TaskStatus};

use crate::{Tries, World, numbers, on_every_database};

/// Kills in all, in rounds. A round ends with a worker that finishes everything, so that no task is claimed by more killed
/// workers than a round has: ten would count as a crash loop.
const ROUNDS: usize = 13;
const KILLS: usize = 8;
/// Steps of each execution, each of them a transaction.
const STEPS: i64 = 12;
/// Executions that are dispatched for each worker that will be killed.
const RUNS: i64 = 2;
/// How long other workers wait for the tasks of a killed worker.
const SHORT_LEASE: Duration = Duration::from_millis(300);
const LONG_LEASE: Duration = Duration::from_secs(60);

const TOLD: &str = "STENT_TRANSACTIONS_LIFE";
const READY: &str = "ready";

/// Inserts a row in each of its steps, and returns how many of its own rows it found. Its first step dispatches as
/// well.
#[durable(name = "crash.post")]
async fn post(run: i64, State(stent): State<Stent>, State(tries): State<Tries>) -> Result<i64, stent::Error> {
    let mut sum = 0;
    for step in 0..STEPS {
        sum += stent::transaction(async |txn| {
            tries.note();
            txn.execute_unprepared(&format!("INSERT INTO posted (run, step) VALUES ({run}, {step})")).await?;
            if step == 0 {
                stent.dispatch(follow(run)).within(&txn).await?;
            }
            // Not a wait for an event: some kills then occur between the effects and the commit.
            tokio::time::sleep(Duration::from_micros(stent::random_u64() % 1_500)).await;
            Ok::<_, stent::Error>(
                numbers(&txn, &format!("SELECT COUNT(*) FROM posted WHERE run = {run}")).await[0],
            )
        })
        .await?;
    }
    Ok(sum)
}

#[durable(name = "crash.follow")]
async fn follow(run: i64) -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        txn.execute_unprepared(&format!("INSERT INTO orders (id) VALUES ({run})")).await.map(drop)
    })
    .await
}

on_every_database! {
    async fn killed_a_hundred_times_and_done_once(world) {
        let tries = world.folder.path().join("tries");
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            for _ in 0..KILLS {
                for _ in 0..RUNS {
                    runs.push(world.stent.dispatch(post(runs.len() as i64)).await.unwrap());
                }
                let worker = Process::start(&Life { lease: SHORT_LEASE, ..Life::new(&world) });
                // Not a wait for an event: the moment of the kill is random.
                tokio::time::sleep(Duration::from_micros(stent::random_u64() % 40_000)).await;
                worker.kill();
            }
            let worker = Process::start(&Life::new(&world));
            for run in &runs {
                assert_eq!(run.result().timeout("60s").await.unwrap(), (1..=STEPS).sum::<i64>());
            }
            worker.finish();
        }

        // The executions that steps have dispatched may have been begun by the last worker and not have ended.
        let worker = Process::start(&Life::new(&world));
        let followers = Filter::default().function("crash.follow");
        let followers = world.stent.inspect().list(&followers, None, 1_000).await.unwrap();
        assert_eq!(followers.len(), runs.len(), "each was dispatched once");
        for follower in &followers {
            world.stent.handle::<()>(follower.id).result().timeout("60s").await.unwrap();
        }
        worker.finish();

        let count = runs.len() as i64;
        assert_eq!(world.orders().await, (0..count).collect::<Vec<_>>());
        let posted = numbers(&world.database, "SELECT run * 1000 + step FROM posted ORDER BY run, step").await;
        let expected: Vec<_> = (0..count).flat_map(|run| (0..STEPS).map(move |step| run * 1000 + step)).collect();
        assert_eq!(posted, expected, "each step's row is there once");
        for run in &runs {
            let tasks = world.stent.inspect().timeline(run.id()).await.unwrap();
            let steps: Vec<_> = tasks.iter().filter(|task| task.kind == StepKind::Inline).collect();
            assert_eq!(steps.len() as i64, STEPS, "each step is recorded once");
            assert!(steps.iter().all(|step| step.status == TaskStatus::Completed));
        }
        let closures = std::fs::read(tries).unwrap().len();
        println!(
            "{} kills; {count} executions with {} steps; closures ran {closures} times, {} of them in vain",
            ROUNDS * KILLS,
            posted.len(),
            closures - posted.len(),
        );
    }
}

/// Not a test by itself: the worker process that tests start. Without a test, it does nothing.
#[test]
fn worker_process() {
    if let Ok(told) = std::env::var(TOLD) {
        serde_json::from_str::<Life>(&told).unwrap().live();
    }
}

/// One life of a worker process.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Life {
    lease: Duration,
    url: String,
    tries: PathBuf,
}

impl Life {
    /// A life that is not to be cut short.
    fn new(world: &World) -> Self {
        Self { lease: LONG_LEASE, url: world.url.clone(), tries: world.folder.path().join("tries") }
    }

    /// Works until the test closes the input, at the latest when the test ends.
    fn live(self) {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let worker = runtime.block_on(async {
            let stent = Stent::connect(&self.url).await.unwrap();
            let worker = stent.worker().concurrency(4).lease(self.lease).state(stent.clone());
            worker.state(Tries::in_file(self.tries)).start().await.unwrap()
        });
        println!("{READY}");
        // This thread is not the runtime's, so it may wait here.
        std::io::stdin().lock().lines().for_each(drop);
        runtime.block_on(worker.drain()).unwrap();
    }
}

/// A worker process. Killed when dropped.
struct Process {
    child: Child,
    /// Closing it makes the worker drain, so a killed test leaves no worker behind.
    stdin: Option<ChildStdin>,
    /// Kept open, because the test runner in the worker fails if it cannot print its result.
    _said: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a worker and waits until it runs.
    fn start(life: &Life) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::worker_process", "--exact", "--nocapture"])
            .env(TOLD, serde_json::to_string(life).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        // The test runner prints text, too, and does not always end its line.
        let ready = said.by_ref().lines().map_while(Result::ok).any(|line| line.ends_with(READY));
        assert!(ready, "a worker did not start");
        Self { stdin: child.stdin.take(), _said: said, child }
    }

    /// Kills it with SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it drain and end.
    fn finish(mut self) {
        self.stdin = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a worker ended with {status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Has no effect on a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
