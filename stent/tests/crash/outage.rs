//! A Redis server that is killed with SIGKILL under load and started again on its data, again and again, while workers and
//! clients go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stent::prelude::*;

use crate::functions::Run;
use crate::server::{History, Server};
use crate::stage::{Life, Stage, WorkerProcess};
use crate::verdict::{self, Recorded};
use crate::{Chance, SHORT_LEASE, check_results, dispatch};

/// The first number of executions that a loss may take.
const RISKY: usize = 100_000;
const KILLS: usize = 30;
/// Executions that are dispatched between two kills.
const RUNS: usize = 8;
/// The lease of the workers. If the reply to a claim is lost, its tasks wait until the lease ends.
const LEASE: Duration = Duration::from_secs(4);
/// A worker renews its leases before a third of them is over, so a process that stands still for a shorter time loses none.
const BEARABLE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_under_appendfsync_always_loses_nothing_that_it_acknowledged() {
    let mut server = Server::start(&[("appendfsync", "always")]);
    let stage = Stage::at(format!("redis://127.0.0.1:{}?namespace=killed", server.port()));
    let stent = Stent::connect(&stage.url()).await.unwrap();
    let mut chance = Chance::seeded();
    let workers = [0, 1].map(|number| stage.start(Life { lease: LEASE, ..Life::number(number) }));
    let stalls = Stalls::watch();
    let (mut runs, mut recorded) = (Vec::new(), Recorded::default());

    for _ in 0..KILLS {
        let load = async {
            // A dispatch that meets the outage is sent again until it is acknowledged.
            for _ in 0..RUNS {
                runs.push(Run::dispatch(&stent, runs.len()).await);
            }
        };
        let outage = async {
            // Not a wait for an event: the moment of the kill is random.
            tokio::time::sleep(Duration::from_millis(5 + chance.below(200))).await;
            let down = Instant::now();
            server.kill();
            tokio::task::block_in_place(|| server.run()).expect("it comes up again");
            stalls.note(down.elapsed());
        };
        tokio::join!(load, outage);
        // Acknowledged by a server that will be killed once more.
        recorded.read(&stent, &runs, || stage.lines().len()).await;
    }
    check_results(&runs).await;
    workers.into_iter().for_each(WorkerProcess::finish);

    let attempts = verdict::attempts(&stage.lines());
    // No worker was killed, so each has kept what it had finished until the server had recorded it.
    let longest = stalls.longest();
    let twice = attempts.check_repeats(|_, _| longest >= BEARABLE);
    recorded.check_never_started_again(&attempts);
    attempts.check_complete(&stent, &runs).await;
    println!(
        "{KILLS} kills; {} executions with {} steps, of which {} were seen recorded before the last kill; {twice} ran again; \
         the longest standstill took {longest:?}",
        runs.len(),
        attempts.len(),
        recorded.len(),
    );
}

/// Cuts the end of the history again and again, as power failures under `appendfsync everysec` do.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_remembers_after_it_has_lost_its_last_moments_goes_on_to_its_end() {
    const LOSSES: usize = 8;
    let mut server = Server::start(&[]);
    let stage = Stage::at(format!("redis://127.0.0.1:{}?namespace=lost", server.port()));
    let stent = Stent::connect(&stage.url()).await.unwrap();
    let mut chance = Chance::seeded();
    let workers = [0, 1].map(|number| stage.start(Life { lease: SHORT_LEASE, ..Life::number(number) }));
    // Runs that no loss may take, and the others.
    let (mut safe, mut risky) = (Vec::new(), Vec::new());

    for _ in 0..LOSSES {
        dispatch(&stent, &mut safe, RUNS).await;
        let kept = History::of(&server);
        // Numbered apart from the others.
        for _ in 0..RUNS {
            risky.push(Run::dispatch(&stent, RISKY + risky.len()).await);
        }
        // Not a wait for an event: the moment of the loss is random.
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        server.kill();
        kept.put_back();
        tokio::task::block_in_place(|| server.run()).expect("it comes up again");
    }
    let mut lost = BTreeSet::new();
    let mut kept = Vec::new();
    for run in risky {
        match stent.status(run.handle.id()).await {
            Err(stent::Error::NotFound(_)) => drop(lost.insert(run.place.root_of())),
            status => {
                status.unwrap();
                kept.push(run);
            }
        }
    }
    kept.extend(safe);
    check_results(&kept).await;
    workers.into_iter().for_each(WorkerProcess::finish);

    // Steps of lost executions have run, and no record of them is left.
    let lines: Vec<_> =
        stage.lines().into_iter().filter(|line| !lost.contains(&line.place.root_of())).collect();
    verdict::attempts(&lines).check_complete(&stent, &kept).await;
    assert!(!lost.is_empty(), "nothing was lost, so nothing was shown");
    println!("{LOSSES} losses; {} executions were lost, and {} ended", lost.len(), kept.len());
}

/// The longest time for which the server was down, or for which this process stood still, as others on the machine may have, too.
#[derive(Clone, Debug, Default)]
struct Stalls {
    longest_micros: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Stalls {
    fn watch() -> Self {
        const LOOK: Duration = Duration::from_millis(50);
        let stalls = Self::default();
        let watching = stalls.clone();
        std::thread::spawn(move || {
            while !watching.is_over.load(Ordering::Relaxed) {
                let start = Instant::now();
                std::thread::sleep(LOOK);
                watching.note(start.elapsed());
            }
        });
        stalls
    }

    fn note(&self, stall: Duration) {
        self.longest_micros.fetch_max(stall.as_micros() as u64, Ordering::Relaxed);
    }

    fn longest(&self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }
}
