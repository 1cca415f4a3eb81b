//! Workers that are killed, against an independent ledger. Real processes on one store, SIGKILL at random moments, and an
//! append-only file outside of Stent, in which every step notes its start and its end.
//!
//! | File | Is |
//! |---|---|
//! | `again` | steps that are cut off and run again, and must get the same ids and numbers |
//! | `functions` | the durable functions that the workers run, and their expected results |
//! | `ledger` | the notes that the steps write |
//! | `outage` | a Redis server that is killed under load, again and again |
//! | `stage` | the store, the ledger, and worker processes |
//! | `verdict` | the rules by which the ledger and the store must agree |
//!
//! No verdict depends on durations. If a lease of half a second may have expired because the machine stalled, the second run
//! of a step is not counted against Stent.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

/// Declares tests that run on every store that several processes can share.
macro_rules! on_every_store {
    ($(async fn $name:ident($stage:ident) $body:block)+) => {
        $(
            mod $name {
                use super::*;

                async fn body($stage: Stage) $body

                crate::on!("sqlite" sqlite, "postgres" postgres, "redis" redis);
            }
        )+
    };
}

/// The same, on the stores that have transactions.
macro_rules! on_every_database {
    ($(async fn $name:ident($stage:ident) $body:block)+) => {
        $(
            mod $name {
                use super::*;

                async fn body($stage: Stage) $body

                crate::on!("sqlite" sqlite, "postgres" postgres);
            }
        )+
    };
}

/// One test for each of these stores, which calls `body`.
macro_rules! on {
    ($($feature:literal $store:ident),+) => {
        $(
            #[cfg(feature = $feature)]
            #[tokio::test(flavor = "multi_thread")]
            async fn $store() {
                body(Stage::$store()).await;
            }
        )+
    };
}
pub(crate) use on;

mod again;
mod functions;
mod ledger;
#[cfg(feature = "redis")]
#[path = "../../../stent-redis/tests/namespace/mod.rs"]
mod namespace;
#[cfg(feature = "redis")]
mod outage;
#[cfg(feature = "postgres")]
#[path = "../../../stent-postgres/tests/schema/mod.rs"]
mod schema;
#[cfg(feature = "redis")]
#[allow(dead_code, reason = "its own tests need more of it")]
#[path = "../../../stent-redis/tests/servers/server.rs"]
mod server;
mod stage;
mod verdict;

use std::time::{Duration, SystemTime};

use functions::{Run, linger, meet, shuffle, tell_time};
use ledger::Place;
use stage::{Life, Stage};
use stent::Timestamp;
use stent::prelude::*;
use verdict::Recorded;

/// Rounds of the first test. Each ends with a worker that runs until nothing is left to do, so that no task is claimed
/// by more killed workers than a round has: ten would count as a crash loop.
const ROUNDS: u32 = 4;
const KILLS: u32 = 8;
/// Executions that are dispatched in the life of a worker that will be killed.
const RUNS: usize = 12;
/// The lease of workers that will be killed: how long other workers wait for their tasks.
const SHORT_LEASE: Duration = Duration::from_millis(500);
/// The lease of other workers: it cannot expire within a test.
const LONG_LEASE: Duration = Duration::from_secs(3_600);
/// The longest wait before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Not a test by itself: the worker process that tests start. Without a test, it does nothing.
#[test]
fn worker_process() {
    if let Some(life) = Life::told() {
        life.live();
    }
}

on_every_store! {
    async fn killed_workers_lose_nothing_and_repeat_only_what_was_in_flight(stage) {
        let stent = Stent::connect(&stage.url()).await.unwrap();
        let mut chance = Chance::seeded();
        let (mut runs, mut recorded) = (Vec::new(), Recorded::default());
        // For each life, whether a lease may have expired in it.
        let mut outlived = Vec::new();

        for _ in 0..ROUNDS {
            for _ in 0..KILLS {
                let worker = stage.start(Life { lease: SHORT_LEASE, ..Life::number(outlived.len()) });
                dispatch(&stent, &mut runs, RUNS).await;
                // Not a wait for an event: the moment of the kill is random.
                tokio::time::sleep(Duration::from_millis(5 + chance.below(146))).await;
                let lived = worker.kill();
                outlived.push(lived >= SHORT_LEASE);
                recorded.read(&stent, &runs, || stage.lines().len()).await;
            }
            let worker = stage.start(Life::number(outlived.len()));
            check_results(&runs).await;
            worker.finish();
            outlived.push(false);
        }

        let attempts = verdict::attempts(&stage.lines());
        let twice = attempts.check_repeats(|earlier, later| earlier.life != later.life || outlived[earlier.life]);
        recorded.check_never_started_again(&attempts);
        attempts.check_complete(&stent, &runs).await;
        println!(
            "{} kills; {} executions with {} steps; {} steps were recorded at some kill; {twice} ran again",
            ROUNDS * KILLS,
            runs.len(),
            attempts.len(),
            recorded.len(),
        );
    }

    async fn code_that_takes_another_way_after_a_kill_is_told_so(stage) {
        let stent = Stent::connect(&stage.url()).await.unwrap();
        let place = Place::root(0);
        let victim = stage.start(Life { lease: SHORT_LEASE, ..Life::number(0) });
        let run = stent.dispatch(shuffle(place.clone(), 0)).await.unwrap();
        let lingers = place.at(20);
        stage.until(PATIENCE, |lines| lines.iter().any(|line| line.place == lingers)).await;
        victim.kill();

        let worker = stage.start(Life::number(1));
        let error = run.result().timeout(PATIENCE).await.expect_err("other arguments than before");
        worker.finish();

        let stent::Error::Failed(failure) = error else { panic!("{error}") };
        assert_eq!(failure.kind, stent::Failure::MISMATCH, "{failure}");
        assert_eq!(failure.message.matches("call `leaf(").count(), 2, "{failure}");
        // Nothing ran again.
        assert_eq!(verdict::attempts(&stage.lines()).of_life(1), 0);
    }

    async fn two_workers_on_one_store_never_run_a_step_twice(stage) {
        const TURNS: usize = 8;
        let stent = Stent::connect(&stage.url()).await.unwrap();
        let workers = [0, 1].map(|number| stage.start(Life { turns: TURNS, ..Life::number(number) }));

        // More than one worker has turns for, and none ends before both workers have one, so both workers run.
        let mut runs = Vec::new();
        for _ in 0..=TURNS {
            let place = Place::root(runs.len());
            runs.push(Run { handle: stent.dispatch(meet(place.clone(), 2)).await.unwrap(), expected: 2, place });
        }
        dispatch(&stent, &mut runs, 300).await;
        check_results(&runs).await;
        workers.into_iter().for_each(stage::WorkerProcess::finish);

        let attempts = verdict::attempts(&stage.lines());
        assert_eq!(attempts.check_repeats(|_, _| false), 0);
        attempts.check_complete(&stent, &runs).await;
        let shares = [0, 1].map(|life| attempts.of_life(life));
        assert!(shares.iter().all(|share| *share > 0), "one worker did nothing: {shares:?}");
        println!("{} executions with {} steps, of which the workers ran {shares:?}", runs.len(), attempts.len());
    }

    async fn workers_in_zones_a_day_apart_mean_the_same_moments_and_keep_to_each_others_leases(stage) {
        const EAST: usize = 0;
        const WEST: usize = 1;
        let stent = Stent::connect(&stage.url()).await.unwrap();
        let life = |number, zone: &str| Life { turns: 1, zone: Some(zone.to_owned()), ..Life::number(number) };

        // One worker 14 hours ahead of UTC, by the host's clock; once it is busy, another one 12 hours behind, by the
        // store's.
        let east = stage.start(Life { by_host: true, ..life(EAST, "EAST-14") });
        check_time(&stent, EAST).await;
        let place = Place::root(9);
        stent.dispatch(linger(place, EAST)).await.unwrap();
        stage.until(PATIENCE, |lines| !lines.is_empty()).await;
        let west = stage.start(life(WEST, "WEST+12"));
        check_time(&stent, WEST).await;

        // The lease ends within its hour, and other workers that polled meanwhile did not claim the task.
        let running = stent.inspect().running(9).await.unwrap();
        let left = running[0].lease_until.unwrap().since(SystemTime::now().into());
        assert!(running.len() == 1 && left <= LONG_LEASE && left >= LONG_LEASE / 2, "{running:?}");
        let started: Vec<usize> = stage.lines().iter().map(|line| line.life).collect();
        assert_eq!(started, [EAST], "nothing was taken over, and nothing that is due in an hour has begun");
        west.finish();
        east.kill();
    }

    async fn one_of_two_workers_is_killed_and_the_other_finishes_everything(stage) {
        const VICTIM: usize = 0;
        const SURVIVOR: usize = 1;
        let stent = Stent::connect(&stage.url()).await.unwrap();

        // The victim is alone at first, with a task that never ends there, and with too few turns to do all other work
        // by itself.
        let victim = stage.start(Life { lease: SHORT_LEASE, turns: 4, ..Life::number(VICTIM) });
        let place = Place::root(0);
        let handle = stent.dispatch(linger(place.clone(), VICTIM)).await.unwrap();
        let mut runs = vec![Run { handle, expected: 0, place: place.clone() }];
        stage.until(PATIENCE, |lines| !lines.is_empty()).await;

        dispatch(&stent, &mut runs, 200).await;
        let survivor = stage.start(Life::number(SURVIVOR));
        stage.until(PATIENCE, |lines| lines.len() > 500).await;
        victim.kill();
        let mut recorded = Recorded::default();
        recorded.read(&stent, &runs, || stage.lines().len()).await;
        check_results(&runs).await;
        survivor.finish();

        let attempts = verdict::attempts(&stage.lines());
        // The victim's lease is short, so a victim that stalled may have lost it before it was killed; the survivor's does not
        // expire.
        let twice = attempts.check_repeats(|earlier, _| earlier.life == VICTIM);
        recorded.check_never_started_again(&attempts);
        attempts.check_complete(&stent, &runs).await;
        let lingering = attempts.at(&place);
        assert_eq!(lingering.first().map(|attempt| attempt.life), Some(VICTIM));
        assert_eq!(lingering.last().map(|attempt| attempt.life), Some(SURVIVOR));
        let shares = [VICTIM, SURVIVOR].map(|life| attempts.of_life(life));
        println!("{} executions; the workers ran {shares:?} steps, {twice} of them again", runs.len());
    }
}

/// Whether a worker process uses the same moments as this one, in any time zone: in its output, in the store, and for its
/// sleeps.
async fn check_time(stent: &Stent, life: usize) {
    let hour = Duration::from_secs(3_600);
    // The tolerance is larger than the error of clocks, and much smaller than the difference between zones.
    let slack = Duration::from_secs(60);
    let now = || Timestamp::from(SystemTime::now());
    let before = now() - slack;
    let run = stent.dispatch(tell_time(Place::root(life))).await.unwrap();
    let (told, words, later, teller) = run.result().timeout(PATIENCE).await.unwrap();
    let around = before..=now() + slack;

    assert_eq!(teller, life);
    assert!(around.contains(&told), "{told} is not within {around:?}");
    assert_eq!(words, told.to_string(), "it reads the same everywhere");
    for task in stent.inspect().timeline(run.id()).await.unwrap() {
        for moment in [Some(task.created_at), task.started_at, task.ended_at].into_iter().flatten() {
            assert!(around.contains(&moment), "{moment} of {task:?} is not within {around:?}");
        }
    }
    let due = stent.inspect().timeline(later).await.unwrap()[0].ready_at.unwrap();
    assert!(around.contains(&(due - hour)), "{due} is not an hour after {around:?}");
}

/// Dispatches this many executions, of all kinds in turn.
async fn dispatch(stent: &Stent, runs: &mut Vec<Run>, count: usize) {
    for _ in 0..count {
        let run = Run::dispatch(stent, runs.len()).await;
        runs.push(run);
    }
}

async fn check_results(runs: &[Run]) {
    for run in runs {
        let result = run.handle.result().timeout(PATIENCE).await;
        let result = result.unwrap_or_else(|error| panic!("execution {}: {error}", run.place));
        assert_eq!(result, run.expected, "result of execution {}", run.place);
    }
}

/// Random numbers from a seed: SplitMix64.
struct Chance(u64);

impl Chance {
    /// The seed is `STENT_SEED`, or a new one; it is printed either way.
    fn seeded() -> Self {
        let given =
            std::env::var("STENT_SEED").ok().map(|seed| seed.parse().expect("STENT_SEED is a number"));
        let seed = given.unwrap_or_else(stent::random_u64);
        println!("STENT_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }
}
