//! Durable programs as data, the functions that run them, and random programs.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::{Either, join_all, select_all, try_join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::{Error, TaskId, Timestamp};

use crate::chance::Chance;

/// A statement of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Do {
    /// Waits for one step.
    One(Leaf),
    /// `join!`.
    All(Vec<Leaf>),
    /// `select!`: the losers are dropped.
    Race(Vec<Leaf>),
    /// Takes results as they come.
    Unordered(Vec<Leaf>),
    /// `try_join!`: the failure of one drops the others and ends the program.
    Doomed(Vec<Leaf>),
    /// `join!` of the first step, which runs in the program's own turn, with a chain of the other steps: each starts when the
    /// previous one has ended.
    Beside(Vec<Leaf>),
    /// Starts a step and detaches it.
    Detach(u64),
    /// Awaits non-durable work.
    World(u64),
    /// Starts an execution of its own, and waits for it.
    Child(u64),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Leaf {
    Double(u64),
    /// Fails this often before it succeeds. Retried.
    Flaky(u64, u32),
    /// Fails this often before it succeeds, and is not retried itself: only a retry of its caller helps.
    Frail(u64, u32),
    Broken(u64),
    /// Milliseconds.
    Nap(u64),
    Inline(u64),
    /// An inline step that awaits non-durable work.
    Slow(u64),
    Map(u64),
    /// A map over this many calls under keys from this one on, which continues when items fail: those with odd numbers
    /// do.
    Outcomes(u64, u64),
    /// A call under a key that other tasks also use. It fails this often before it succeeds, and is not retried.
    Keyed(u64, u32),
    /// A wait for one of the signals that are sent continuously.
    Signal(u64),
    /// A function with a concurrency limit.
    Limited(u64),
    Nested(Vec<Do>),
    /// A function that is retried as a whole.
    Stubborn(Vec<Do>),
}

/// State of these tests' functions outside of any store.
#[derive(Default)]
struct Outside {
    /// How often a leaf ran.
    runs: BTreeMap<u64, u32>,
    /// The completions that code saw, by task and statement: every run must see the same.
    saw: BTreeMap<(u128, usize), (String, Option<Timestamp>)>,
    /// Broken guarantees, by world.
    broken: BTreeMap<u64, Vec<String>>,
}

static OUTSIDE: Mutex<Option<Outside>> = Mutex::new(None);

fn outside<T>(access: impl FnOnce(&mut Outside) -> T) -> T {
    access(OUTSIDE.lock().expect("nothing panics under the lock").get_or_insert_default())
}

/// Reports a broken guarantee in the world of this seed.
pub(crate) fn accuse(seed: u64, what: String) {
    outside(|outside| outside.broken.entry(seed).or_default().push(what));
}

/// The broken guarantees in the world of this seed.
pub(crate) fn accusations(seed: u64) -> Vec<String> {
    outside(|outside| outside.broken.remove(&seed).unwrap_or_default())
}

fn run_of(key: u64) -> u32 {
    outside(|outside| {
        let runs = outside.runs.entry(key).or_default();
        *runs += 1;
        *runs
    })
}

#[durable(name = "sim.double")]
async fn double(n: u64) -> Result<u64, String> {
    for _ in 0..n % 3 {
        tokio::task::yield_now().await;
    }
    count(DOUBLES).map_err(|error| error.to_string())?;
    Ok(n * 2)
}

/// The counter of doubling functions.
pub(crate) const DOUBLES: &str = "doubles";

/// The counter of a program's statements.
pub(crate) fn said_by(task: TaskId) -> String {
    format!("said {task}")
}

fn count(counter: &str) -> Result<(), Error> {
    stent::execution()?.counter(counter).add(1)
}

#[durable(name = "sim.child")]
async fn child(n: u64) -> Result<u64, String> {
    tokio::task::yield_now().await;
    Ok(n * 2)
}

/// Executions that programs spawn.
pub(crate) const CHILD: &str = "sim.child";

#[durable(name = "sim.picky", idempotent, retry(max_attempts = 1))]
async fn picky(n: u64) -> Result<u64, String> {
    tokio::task::yield_now().await;
    if n.is_multiple_of(2) { Ok(n) } else { Err(format!("odd {n}")) }
}

/// Returns the number of its run, so that all calls with a result of one key must have the same.
#[durable(name = "sim.keyed", idempotent, retry(max_attempts = 1))]
async fn keyed(key: u64, failures: u32) -> Result<u64, String> {
    tokio::task::yield_now().await;
    let run = run_of(key);
    if run <= failures { Err("not yet".to_owned()) } else { Ok(u64::from(run)) }
}

/// The limited functions, and their limits.
pub(crate) const LIMITED: &str = "sim.limited";
pub(crate) const LIMIT: usize = 2;

#[durable(name = "sim.limited", max_concurrent = 2)]
async fn limited(n: u64) -> Result<u64, String> {
    tokio::time::sleep(Duration::from_millis(n % 4)).await;
    Ok(n)
}

/// The names of the signals that are sent.
pub(crate) const SIGNALS: [&str; 2] = ["approval", "payment"];

#[durable(name = "sim.flaky", retry(max_attempts = 20, initial_delay = "1ms", backoff_factor = 1.0))]
async fn flaky(key: u64, failures: u32) -> Result<u64, String> {
    if run_of(key) <= failures { Err("not yet".to_owned()) } else { Ok(key) }
}

#[durable(name = "sim.frail", retry(max_attempts = 1))]
async fn frail(key: u64, failures: u32) -> Result<u64, String> {
    if run_of(key) <= failures { Err("not yet".to_owned()) } else { Ok(key) }
}

#[durable(name = "sim.broken", retry(max_attempts = 1))]
async fn broken(n: u64) -> Result<u64, String> {
    tokio::task::yield_now().await;
    Err(format!("broken {n}"))
}

#[durable(name = "sim.program")]
pub(crate) async fn program(seed: u64, dos: Vec<Do>) -> Result<String, Error> {
    perform(seed, dos, Failures::Handled).await
}

#[durable(name = "sim.stubborn", retry(max_attempts = 30, initial_delay = "1ms", backoff_factor = 1.0))]
async fn stubborn(seed: u64, dos: Vec<Do>) -> Result<String, Error> {
    perform(seed, dos, Failures::Returned).await
}

/// The call of a root.
pub(crate) fn root(seed: u64, dos: Vec<Do>) -> Call<program> {
    program(seed, dos)
}

/// The reaction of a program to a failed step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Failures {
    Handled,
    Returned,
}

type Step = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// Builds a step, which takes its position now, and returns its result as text.
fn build(seed: u64, leaf: Leaf) -> Step {
    match leaf {
        Leaf::Double(n) => in_words(double(n)),
        Leaf::Flaky(key, failures) => in_words(flaky(key, failures)),
        Leaf::Frail(key, failures) => in_words(frail(key, failures)),
        Leaf::Broken(n) => in_words(broken(n)),
        Leaf::Nap(ms) => {
            let nap = stent::sleep(Duration::from_millis(ms));
            Box::pin(async move { nap.await.map(|()| NAP.to_owned()) })
        }
        Leaf::Inline(n) => Box::pin(stent::step(format!("inline {n}"), move || async move {
            Ok::<_, Error>(format!("inline {n}"))
        })),
        Leaf::Slow(n) => Box::pin(stent::step(format!("slow {n}"), move || async move {
            tokio::time::sleep(Duration::from_millis(n % 4)).await;
            Ok::<_, Error>(format!("slow {n}"))
        })),
        Leaf::Map(items) => {
            let map = double::map(0..items);
            Box::pin(async move { map.await.map(|outputs| map_in_words(&outputs)) })
        }
        Leaf::Outcomes(first, items) => {
            let outcomes = picky::map(first..first + items).outcomes();
            Box::pin(async move {
                let outcomes = outcomes.await?;
                let well: Vec<u64> =
                    outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
                Ok(outcomes_in_words(outcomes.len(), &well))
            })
        }
        Leaf::Keyed(key, failures) => in_words(keyed(key, failures)),
        Leaf::Signal(which) => {
            let signal = stent::signal::<u64>(SIGNALS[which as usize % SIGNALS.len()]);
            Box::pin(async move { signal.await.map(|value| value.to_string()) })
        }
        Leaf::Limited(n) => in_words(limited(n)),
        Leaf::Nested(dos) => in_words(program(seed, dos)),
        Leaf::Stubborn(dos) => in_words(stubborn(seed, dos)),
    }
}

pub(crate) const NAP: &str = "slept";

fn in_words<F>(call: Call<F>) -> Step
where
    F: stent::Function,
    F::Output: std::fmt::Display,
{
    Box::pin(async move { call.await.map(|output| output.to_string()) })
}

/// The result of a map, as text.
pub(crate) fn map_in_words(outputs: &[u64]) -> String {
    format!("{} items, {} in all", outputs.len(), outputs.iter().sum::<u64>())
}

/// The result of a map that continues when items fail, as text.
pub(crate) fn outcomes_in_words(items: usize, well: &[u64]) -> String {
    format!("of {items} items, {}", map_in_words(well))
}

/// A failure as text.
pub(crate) fn failure_in_words(message: &str) -> String {
    format!("!{message}")
}

/// What the code of a task saw is recorded: from now on, every run must see the same.
fn binds(seed: u64, me: u128, n: usize, saw: (String, Option<Timestamp>)) {
    let before = outside(|outside| outside.saw.entry((me, n)).or_insert_with(|| saw.clone()).clone());
    if before != saw {
        accuse(seed, format!("G4: statement {n} gave {before:?} in one run and {saw:?} in another"));
    }
}

impl Do {
    /// Whether the statement ends only after the code has waited for something: for that, everything before is recorded.
    const fn awaits_something(&self) -> bool {
        !matches!(self, Self::Detach(_) | Self::World(0))
    }

    /// Whether the code gets the result from the record, and never from a step that runs in its own turn.
    fn gives_what_is_recorded(&self) -> bool {
        match self {
            Self::One(leaf) => matches!(
                leaf,
                Leaf::Nap(_)
                    | Leaf::Signal(_)
                    | Leaf::Map(_)
                    | Leaf::Outcomes(..)
                    | Leaf::Keyed(..)
                    | Leaf::Limited(_)
            ),
            Self::World(ms) => *ms > 0,
            Self::Child(_) => true,
            _ => false,
        }
    }
}

async fn perform(seed: u64, dos: Vec<Do>, failures: Failures) -> Result<String, Error> {
    let me = stent::uuid().as_u128();
    let mut said = Vec::new();
    let mut now = None;
    // What this run has seen, and what may be lost with it: a step that runs in the turn of its function is recorded before the
    // function asks for anything else, but perhaps after it has seen the result.
    let mut seen = Vec::new();
    for (n, one) in dos.into_iter().enumerate() {
        // The time stands still until a step completes.
        let waits = !matches!(one, Do::Detach(_) | Do::World(_));
        let (awaits, is_of_the_record) = (one.awaits_something(), one.gives_what_is_recorded());
        let words = perform_one(seed, one, failures).await?;
        if awaits {
            seen.drain(..).for_each(|(n, saw)| binds(seed, me, n, saw));
        }
        if waits || now.is_some() {
            now = Some(stent::now());
        }
        seen.push((n, (words.clone(), now)));
        if is_of_the_record {
            seen.drain(..).for_each(|(n, saw)| binds(seed, me, n, saw));
        }
        said.push(words);
        count(&said_by(stent::execution()?.task()))?;
    }
    Ok(said.join("; "))
}

async fn perform_one(seed: u64, one: Do, failures: Failures) -> Result<String, Error> {
    let handle = |result: Result<String, Error>| match result {
        Err(Error::Failed(failure)) if failures == Failures::Handled => {
            Ok(failure_in_words(&failure.message))
        }
        other => other,
    };
    let build_all = |leaves: Vec<Leaf>| leaves.into_iter().map(|leaf| build(seed, leaf)).collect::<Vec<_>>();
    match one {
        Do::One(leaf) => handle(build(seed, leaf).await),
        Do::All(leaves) => match failures {
            Failures::Handled => {
                let all = join_all(build_all(leaves)).await;
                Ok(all.into_iter().map(handle).collect::<Result<Vec<_>, _>>()?.join(", "))
            }
            Failures::Returned => Ok(try_join_all(build_all(leaves)).await?.join(", ")),
        },
        Do::Race(leaves) => {
            let (first, winner, losers) = select_all(build_all(leaves)).await;
            drop(losers);
            Ok(format!("{winner} won with {}", handle(first)?))
        }
        Do::Unordered(leaves) => {
            let indexed = |(i, step): (usize, Step)| async move { (i, step.await) };
            let mut all: FuturesUnordered<_> =
                build_all(leaves).into_iter().enumerate().map(indexed).collect();
            let mut said = Vec::new();
            while let Some((i, result)) = all.next().await {
                said.push(format!("{i}: {}", handle(result)?));
            }
            Ok(said.join(", "))
        }
        Do::Beside(leaves) => {
            let mut leaves = leaves.into_iter();
            let first = leaves.next().map(|leaf| build(seed, leaf));
            let first = async {
                match first {
                    Some(first) => handle(first.await),
                    None => Ok(String::new()),
                }
            };
            let chain = async {
                let mut said = Vec::new();
                for leaf in leaves {
                    said.push(handle(build(seed, leaf).await)?);
                }
                Ok::<_, Error>(said)
            };
            let (first, chain) = stent::join!(first, chain);
            Ok([vec![first?], chain?].concat().join(", "))
        }
        Do::Doomed(leaves) => Ok(try_join_all(build_all(leaves)).await?.join(", ")),
        Do::Detach(n) => {
            double(n).detach()?;
            Ok("let go".to_owned())
        }
        Do::World(ms) => {
            let wait = match ms {
                0 => Either::Left(tokio::task::yield_now()),
                ms => Either::Right(tokio::time::sleep(Duration::from_millis(ms))),
            };
            wait.await;
            Ok("the world".to_owned())
        }
        Do::Child(n) => {
            let run = stent::spawn(child(n)).await?;
            handle(run.result().await.map(|output| output.to_string()))
        }
    }
}

/// A random program.
pub(crate) struct Author {
    chance: Chance,
    next_key: u64,
    /// The first of the shared keys.
    shared: u64,
}

impl Author {
    pub(crate) const fn new(seed: u64, chance: Chance) -> Self {
        // Keys of leaves are counted over all worlds.
        Self { chance, next_key: seed << 16, shared: (seed << 16) + 0xf000 }
    }

    pub(crate) fn root(&mut self) -> Vec<Do> {
        let mut dos = [self.dos(3), self.dos(3)].concat();
        match self.chance.below(16) {
            0 => {
                let mut leaves = vec![Leaf::Broken(self.key())];
                leaves.extend((0..self.chance.below(3)).map(|_| self.lasting_leaf()));
                dos.push(Do::Doomed(leaves));
            }
            // More than one chunk, but not in every world.
            1 => dos.push(Do::One(Leaf::Map(950 + self.chance.below(200)))),
            _ => {}
        }
        dos
    }

    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    fn dos(&mut self, depth: u64) -> Vec<Do> {
        (0..=self.chance.below(4)).map(|_| self.one(depth)).collect()
    }

    fn one(&mut self, depth: u64) -> Do {
        match self.chance.below(19) {
            16 => Do::Child(self.key()),
            17..=18 => {
                let slow = Leaf::Slow(self.key());
                Do::Beside(std::iter::once(slow).chain(self.leaves(depth)).collect())
            }
            0..=4 => Do::One(self.leaf(depth)),
            5..=7 => Do::All(self.leaves(depth)),
            8..=10 => Do::Race(self.leaves(depth)),
            11..=12 => Do::Unordered(self.leaves(depth)),
            13 => Do::Detach(self.key()),
            _ => Do::World(self.chance.below(3)),
        }
    }

    fn leaves(&mut self, depth: u64) -> Vec<Leaf> {
        (0..=self.chance.below(4)).map(|_| self.leaf(depth)).collect()
    }

    fn leaf(&mut self, depth: u64) -> Leaf {
        match self.chance.below(if depth > 0 { 28 } else { 24 }) {
            0..=5 => Leaf::Double(self.key()),
            6..=7 => Leaf::Flaky(self.key(), u32::try_from(self.chance.below(3)).expect("small")),
            8 => Leaf::Broken(self.key()),
            9..=10 => Leaf::Nap(self.chance.below(6)),
            11..=12 => Leaf::Inline(self.key()),
            13 => Leaf::Slow(self.key()),
            14 => Leaf::Map(self.chance.below(6)),
            15 => self.outcomes(),
            16..=19 => self.keyed(),
            20..=21 => Leaf::Signal(self.chance.below(2)),
            22..=23 => Leaf::Limited(self.key()),
            24..=25 => Leaf::Nested(self.dos(depth - 1)),
            _ => Leaf::Stubborn(self.stubborn()),
        }
    }

    /// A call under one of a few keys.
    fn keyed(&mut self) -> Leaf {
        let which = self.chance.below(4);
        Leaf::Keyed(self.shared + which, u32::try_from(which % 3).expect("small"))
    }

    fn outcomes(&mut self) -> Leaf {
        Leaf::Outcomes(self.shared + self.chance.below(4), self.chance.below(6))
    }

    /// A leaf that may still run when another has failed.
    fn lasting_leaf(&mut self) -> Leaf {
        match self.chance.below(3) {
            0 => Leaf::Nap(10_000_000),
            1 => Leaf::Flaky(self.key(), 2),
            _ => Leaf::Nested(vec![Do::One(Leaf::Nap(10_000_000)), Do::One(Leaf::Double(1))]),
        }
    }

    /// Statements of a function that is retried until all of its steps succeed.
    fn stubborn(&mut self) -> Vec<Do> {
        let leaf = |author: &mut Self| match author.chance.below(8) {
            5 => author.keyed(),
            6 => Leaf::Signal(author.chance.below(2)),
            7 => Leaf::Limited(author.key()),
            0..=1 => Leaf::Frail(author.key(), u32::try_from(author.chance.below(3)).expect("small")),
            2 => Leaf::Nap(author.chance.below(3)),
            3 => Leaf::Inline(author.key()),
            _ => Leaf::Double(author.key()),
        };
        (0..=self.chance.below(3))
            .map(|_| match self.chance.below(3) {
                0 => Do::One(leaf(self)),
                _ => Do::All((0..=self.chance.below(3)).map(|_| leaf(self)).collect()),
            })
            .collect()
    }
}
