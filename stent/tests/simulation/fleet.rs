//! The processes of one world: they start, die, are cut off, stopped and drained; then there is calm, and all must end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use stent::backend::Inspect;
use stent::backend::limits::CRASHES_MAX;
use stent::view::Filter;
use stent::{ClockSource, ExecutionId, ExecutionStatus, Handle, Stent, Timestamp, Worker};
use stent_memory::MemoryStore;

use crate::chance::Chance;
use crate::faulty::{FaultyStore, Link, Weather};
use crate::judge::{Tree, Witness};
use crate::program::{self, Author, CHILD, Do, Failures, SIGNALS};

/// The pause between two checks of the store.
const TICK: Duration = Duration::from_millis(3);
/// Checks of the store before the faults stop.
const STORMY_TICKS: u32 = 100;
/// The length of a lease in the storm: so short that many expire, also because the machine is busy.
const LEASE: Duration = Duration::from_millis(300);
/// The length of a lease in the calm: so long that none expires only because the machine is busy. Otherwise a task might expire so
/// often that it counts as a crash loop, and rightly so.
const CALM_LEASE: Duration = Duration::from_secs(60);
/// How far the clocks of two processes may be apart: each by a tenth of a lease, at most (G17).
const SKEW_US: i64 = 30_000;
/// Short leases are claimed for so long that they cannot expire often enough for a task to count as a crash loop. A process whose
/// clock is behind gives a lease that another one sees end too early, by twice the skew.
const STORM_MAX: Duration =
    LEASE.saturating_sub(Duration::from_micros(2 * SKEW_US as u64)).saturating_mul(CRASHES_MAX - 2);

/// One process: it works until it dies.
struct Process {
    store: Arc<FaultyStore>,
    worker: Worker,
    stent: Stent,
    cut_for: u32,
}

struct Fleet {
    memory: MemoryStore,
    weather: Arc<Weather>,
    chance: Chance,
    processes: Vec<Process>,
    events: Vec<&'static str>,
    /// From then on, nobody claims a short lease.
    storm_ends: Instant,
}

/// A dispatched program, and the requests to it.
struct Run {
    handle: Handle<String>,
    dos: Vec<Do>,
    /// Whether it has a deadline.
    limited: bool,
    /// The check at which it is cancelled.
    cancel_at: Option<u32>,
    /// The answer to the cancellation.
    told: Arc<Mutex<Option<ExecutionStatus>>>,
}

/// Sends unique values to executions.
struct Sender {
    stent: Stent,
    sent: BTreeMap<u64, (ExecutionId, &'static str)>,
    chance: Chance,
}

impl Sender {
    fn send(&mut self, runs: &[Run]) {
        let n = usize::try_from(self.chance.below(runs.len() as u64)).expect("an index");
        let (id, name) = (runs[n].handle.id(), self.chance.pick(&SIGNALS));
        let value = self.sent.len() as u64;
        self.sent.insert(value, (id, name));
        let stent = self.stent.clone();
        // An execution that has ended takes none.
        tokio::spawn(async move { stent.send_signal(id, name, &value).await });
    }
}

impl Run {
    fn cancel(&self, stent: &Stent) {
        let (stent, id, told) = (stent.clone(), self.handle.id(), self.told.clone());
        tokio::spawn(async move {
            if let Ok(status) = stent.cancel(id).grace("60ms").await {
                *told.lock().expect("nothing panics under the lock") = Some(status);
            }
        });
    }

    /// Whether its end is allowed.
    fn misjudged(&self, status: ExecutionStatus) -> Option<String> {
        let told = *self.told.lock().expect("nothing panics under the lock");
        let fits = match status {
            ExecutionStatus::Cancelled => self.cancel_at.is_some(),
            ExecutionStatus::TimedOut => self.limited && told.is_none_or(|told| told == status),
            ExecutionStatus::Completed | ExecutionStatus::Failed => told.is_none_or(|told| told == status),
            _ => false,
        };
        (!fits).then(|| format!("G15: it ended as {status}, and who cancelled it was told {told:?}"))
    }
}

/// Runs the world of a seed and returns the broken guarantees.
pub(crate) async fn world(seed: u64, stuck: Duration) -> Vec<String> {
    let mut chance = Chance::of(seed);
    let mut author = Author::new(seed, chance.fork());
    let memory = MemoryStore::new();
    let mut fleet = Fleet {
        memory,
        weather: Arc::default(),
        chance,
        processes: Vec::new(),
        events: Vec::new(),
        storm_ends: Instant::now() + STORM_MAX,
    };

    let caller = fleet.open().await;
    let mut runs: Vec<Run> = Vec::new();
    for _ in 0..2 + fleet.chance.below(3) {
        let dos = author.root();
        let limited = fleet.chance.permille(200);
        let mut dispatch = caller.1.dispatch(program::root(seed, dos.clone()));
        if limited {
            dispatch = dispatch.max_duration(Duration::from_millis(5 + fleet.chance.below(300)));
        }
        let handle = dispatch.await.expect("a dispatch is sent until it arrives");
        let cancel_at = fleet.chance.permille(200).then(|| fleet.chance.below(40) as u32);
        runs.push(Run { handle, dos, limited, cancel_at, told: Arc::default() });
    }
    let mut sender = Sender { stent: caller.1.clone(), sent: BTreeMap::new(), chance: fleet.chance.fork() };
    for _ in 0..=fleet.chance.below(3) {
        fleet.start(LEASE).await;
    }

    let mut calm_since = None;
    let mut witness = Witness::default();
    let mut broken = Vec::new();
    let mut ticks = 0;
    loop {
        let mut at_rest = true;
        let looked = Instant::now();
        for run in &runs {
            let tree = Tree::read(&fleet.memory, run.handle.id()).await;
            broken.extend(witness.look(&tree));
            at_rest &= tree.is_at_rest();
            if run.cancel_at == Some(ticks) {
                run.cancel(&caller.1);
            }
        }
        at_rest &= fleet.children().await.values().all(|status| status.is_terminal());
        // Checks may be so rare that waits for signals would take long.
        runs.iter().for_each(|_| sender.send(&runs));
        if at_rest || !broken.is_empty() {
            break;
        }
        if calm_since.is_some_and(|since: Instant| since.elapsed() > stuck) {
            broken.push(format!("it is stuck, after {ticks} looks and {:?}", fleet.events));
            break;
        }
        ticks += 1;
        if ticks < STORMY_TICKS && Instant::now() < fleet.storm_ends {
            fleet.storm().await;
        } else {
            fleet.calm().await;
            calm_since.get_or_insert_with(Instant::now);
        }
        // Checking a large tree must not take all of this thread's time, and a slow check must not prolong the storm.
        tokio::time::sleep((looked.elapsed() * 20).clamp(TICK, LEASE / 2)).await;
    }
    broken.extend(std::mem::take(&mut *fleet.weather.broken.lock().expect("nothing panics under the lock")));
    let mut all = All::default();
    for run in &runs {
        let tree = Tree::read(&fleet.memory, run.handle.id()).await;
        let before = broken.len();
        if tree.is_at_rest() {
            broken.extend(fleet.judge(run, &tree).await);
            broken.extend(all.take(&tree, &sender));
        }
        if broken.len() > before || !tree.is_at_rest() {
            broken.push(format!("{:?}\n{}", run.dos, tree.describe()));
        }
    }
    broken.extend(all.judge(&fleet.children().await));
    broken.extend(program::accusations(seed));
    // Other worlds need the time that idle processes would spend on polling.
    fleet.processes.into_iter().for_each(Process::kill);
    broken
}

/// Data that is checked over all executions of a world.
#[derive(Default)]
struct All {
    values: BTreeSet<u64>,
    given: BTreeMap<String, u64>,
    spawned: BTreeSet<ExecutionId>,
    /// Whether code was stopped, so that a recorded start may have had no effect.
    stopped: bool,
}

impl All {
    fn take(&mut self, tree: &Tree, sender: &Sender) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, value) in tree.taken() {
            let sent =
                sender.sent.get(&value).is_some_and(|(id, sent)| id.root() == tree.root && *sent == name);
            if !sent || !self.values.insert(value) {
                broken.push(format!(
                    "G11: `{name}` took {value}, sent to it: {sent}, and not for the first time"
                ));
            }
        }
        for (args, value, marks) in tree.under_keys() {
            let first = *self.given.entry(args).or_insert(value);
            if first != value {
                broken.push(format!("G12: one call gave {first} and {value} ({marks:?})"));
            }
        }
        self.spawned.extend(tree.spawned());
        self.stopped |= tree.status() == ExecutionStatus::Cancelled;
        broken
    }

    fn judge(&self, children: &BTreeMap<ExecutionId, ExecutionStatus>) -> Vec<String> {
        let there: BTreeSet<ExecutionId> = children.keys().copied().collect();
        let mut broken = Vec::new();
        if !there.is_subset(&self.spawned) || (there != self.spawned && !self.stopped) {
            broken.push(format!("spawned were {:?}, and there are {there:?}", self.spawned));
        }
        broken.extend(
            children
                .iter()
                .filter(|(_, status)| **status != ExecutionStatus::Completed)
                .map(|child| format!("a spawned execution ended badly: {child:?}")),
        );
        broken
    }
}

impl Process {
    fn kill(self) {
        self.store.set_link(Link::Dead);
        // A killed process runs no destructors.
        std::mem::forget(self);
    }
}

impl Fleet {
    async fn open(&mut self) -> (Arc<FaultyStore>, Stent) {
        let store = FaultyStore::new(&self.memory, self.weather.clone(), self.chance.fork());
        let skew = self.chance.pick(&[0, 0, -SKEW_US, SKEW_US]);
        let clock = move || Timestamp::from_micros(host_micros() + skew);
        let stent = Stent::builder().clock(ClockSource::Host).host_clock(clock);
        let stent = stent.open(store.clone()).await.expect("the store opens");
        (store, stent)
    }

    /// Executions that were spawned.
    async fn children(&self) -> BTreeMap<ExecutionId, ExecutionStatus> {
        let filter = Filter::default().function(CHILD);
        let all = self.memory.list(&filter, None, 1_000).await.expect("memory reads");
        all.into_iter().map(|child| (child.id, child.status)).collect()
    }

    /// The rules for one execution that is quiet.
    async fn judge(&self, run: &Run, tree: &Tree) -> Vec<String> {
        let mut broken = tree.invariants();
        let notes = self.memory.notes(run.handle.id()).await.expect("memory reads");
        broken.extend(tree.miscounted(&notes, &run.dos));
        broken.extend(run.misjudged(tree.status()));
        let given = match run.handle.result().await {
            Ok(words) => Ok(words),
            Err(stent::Error::Failed(failure)) => Err(failure.message),
            Err(stent::Error::Cancelled) if tree.status() == ExecutionStatus::Cancelled => return broken,
            Err(stent::Error::TimedOut) if tree.status() == ExecutionStatus::TimedOut => return broken,
            Err(error) => Err(format!("an error and no failure: {error}")),
        };
        let expected = tree.expected(tree.root, &run.dos, Failures::Handled, &mut broken);
        if given != expected {
            broken.push(format!("it was to give {expected:?}, and gave {given:?}"));
        }
        broken
    }

    async fn start(&mut self, lease: Duration) {
        let (store, stent) = self.open().await;
        if lease == LEASE {
            store.claims_until(self.storm_ends);
        }
        let worker = stent
            .worker()
            .concurrency(self.chance.pick(&[1, 2, 8, 24]))
            .cache(self.chance.pick(&[0, 0, 1, 100]))
            .lease(lease)
            .heartbeat("80ms")
            .poll_max("5ms")
            .grace("20ms");
        let worker = worker.start().await.expect("the options fit");
        self.processes.push(Process { store, worker, stent, cut_for: 0 });
    }

    /// Injects a fault now and then.
    async fn storm(&mut self) {
        for process in &mut self.processes {
            process.cut_for = process.cut_for.saturating_sub(1);
            if process.cut_for == 0 {
                process.store.set_link(Link::Up);
            }
        }
        if self.processes.is_empty() || self.chance.permille(20) {
            self.start(LEASE).await;
        }
        if !self.chance.permille(250) {
            return;
        }
        let n = usize::try_from(self.chance.below(self.processes.len() as u64)).expect("an index");
        match self.chance.below(8) {
            0 => {
                self.events.push("killed");
                self.processes.swap_remove(n).kill();
            }
            1 => {
                self.events.push("stopped");
                let process = self.processes.swap_remove(n);
                process.store.set_link(Link::Up);
                process.worker.stop().await.expect("it stops");
            }
            2 => {
                self.events.push("drained");
                let process = self.processes.swap_remove(n);
                process.store.set_link(Link::Up);
                process.worker.drain().await.expect("it drains");
                drop(process.stent);
            }
            3..=4 => {
                // Longer than a lease, or shorter.
                self.events.push("cut off");
                let process = &mut self.processes[n];
                process.cut_for = self.chance.pick(&[2, 10, 100]);
                process.store.set_link(Link::Cut);
            }
            5 => {
                self.events.push("started another worker");
                self.start(LEASE).await;
            }
            _ => {}
        }
    }

    /// Ends the storm: kills all processes a last time, and starts as many, and one more, that nothing happens to.
    async fn calm(&mut self) {
        if self.weather.calm.swap(true, Ordering::Relaxed) {
            return;
        }
        self.events.push("calm");
        let killed = std::mem::take(&mut self.processes);
        for _ in 0..=killed.len() {
            self.start(CALM_LEASE).await;
        }
        killed.into_iter().for_each(Process::kill);
    }
}

fn host_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("before the year 294,000")
}
