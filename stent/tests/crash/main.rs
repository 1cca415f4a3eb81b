//! Workers that are killed, against an independent ledger. Real processes on one store, SIGKILL at random moments, and an
//! append-only file in which every step notes its start and its end, past the store and past Stent.
//!
//! | File | Is |
//! |---|---|
//! | `functions` | the durable functions that the workers run, and what each must give |
//! | `ledger` | the notes that the steps write |
//! | `stage` | the store, the ledger, and worker processes |
//! | `verdict` | what the ledger and the store must say of each other |
//!
//! No verdict rests on how long anything took. Where a lease of half a second can run out because the machine stood still, the
//! second run of a step that this allows is not held against Stent.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod functions;
mod ledger;
#[cfg(feature = "postgres")]
#[path = "../../../stent-postgres/tests/schema/mod.rs"]
mod schema;
mod stage;
mod verdict;

use std::time::Duration;

use functions::{Run, linger, meet};
use ledger::Place;
use stage::{Life, Stage};
use stent::prelude::*;
use verdict::Recorded;

/// Rounds of the first test. Each ends with a worker that is let alone until nothing is left to do, so that no task is
/// claimed by more killed workers than a round has: ten would be taken for a crash loop.
const ROUNDS: u32 = 4;
const KILLS: u32 = 8;
/// Executions that are dispatched in the life of a worker that will be killed.
const RUNS: usize = 12;
/// The lease of workers that will be killed: how long the others wait for what they leave behind.
const SHORT_LEASE: Duration = Duration::from_millis(500);
/// The lease of workers that will not: it cannot run out within a test.
const LONG_LEASE: Duration = Duration::from_secs(3_600);
/// How long anything is waited for before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Not a test of its own: what this program is when a test has started it as a worker. Else it has nothing to do.
#[test]
fn worker_process() {
    if let Some(life) = Life::told() {
        life.live();
    }
}

/// Declares tests that run on every store that several processes can share.
macro_rules! on_every_store {
    ($(async fn $name:ident($stage:ident) $body:block)+) => {
        $(
            mod $name {
                use super::*;

                async fn body($stage: Stage) $body

                #[cfg(feature = "sqlite")]
                #[tokio::test(flavor = "multi_thread")]
                async fn sqlite() {
                    body(Stage::sqlite()).await;
                }

                #[cfg(feature = "postgres")]
                #[tokio::test(flavor = "multi_thread")]
                async fn postgres() {
                    body(Stage::postgres()).await;
                }
            }
        )+
    };
}

on_every_store! {
    async fn killed_workers_lose_nothing_and_repeat_only_what_was_in_flight(stage) {
        let stent = Stent::connect(&stage.url()).await.unwrap();
        let mut chance = Chance::seeded();
        let (mut runs, mut recorded) = (Vec::new(), Recorded::default());
        // Of each life, whether a lease may have run out in it.
        let mut outlived = Vec::new();

        for _ in 0..ROUNDS {
            for _ in 0..KILLS {
                let worker = stage.start(Life { lease: SHORT_LEASE, ..Life::number(outlived.len()) });
                dispatch(&stent, &mut runs, RUNS).await;
                // Not a wait for anything: the moment of the kill is what is random here.
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

    async fn two_workers_on_one_store_never_run_a_step_twice(stage) {
        const TURNS: usize = 8;
        let stent = Stent::connect(&stage.url()).await.unwrap();
        let workers = [0, 1].map(|number| stage.start(Life { turns: TURNS, ..Life::number(number) }));

        // More than one worker has turns for, and none ends before both workers have one: so both are at work.
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

    async fn one_of_two_workers_is_killed_and_the_other_finishes_everything(stage) {
        const VICTIM: usize = 0;
        const SURVIVOR: usize = 1;
        let stent = Stent::connect(&stage.url()).await.unwrap();

        // The victim is alone at first, with a task that it never ends, and with too few turns to do all else by itself.
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
        // The victim's lease is short, so a victim that stood still may have lost it before it was killed; the survivor's holds.
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

/// Dispatches so many executions, of all kinds in turn.
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

/// Chance from a seed: SplitMix64.
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
