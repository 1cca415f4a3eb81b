//! The processes of one world: they start, die, are cut off, stopped and drained; then there is calm, and all must end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stent::{Handle, Stent, Worker};
use stent_memory::MemoryStore;

use crate::chance::Chance;
use crate::faulty::{FaultyStore, Link, Weather};
use crate::judge::{Tree, Witness};
use crate::program::{self, Author, Do, Failures};

/// What happens between two looks at the store.
const TICK: Duration = Duration::from_millis(3);
/// Looks at the store before the weather calms.
const STORMY_TICKS: u32 = 100;

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
}

/// Runs the world of a seed and says what was broken in it.
pub(crate) async fn world(seed: u64, stuck: Duration) -> Vec<String> {
    let mut chance = Chance::of(seed);
    let mut author = Author::new(seed, chance.fork());
    let memory = MemoryStore::new();
    let mut fleet =
        Fleet { memory, weather: Arc::default(), chance, processes: Vec::new(), events: Vec::new() };

    let caller = fleet.open().await;
    let mut runs: Vec<(Handle<String>, Vec<Do>)> = Vec::new();
    for _ in 0..2 + fleet.chance.below(3) {
        let dos = author.root();
        let run = caller
            .1
            .dispatch(program::root(seed, dos.clone()))
            .await
            .expect("a dispatch is sent until it arrives");
        runs.push((run, dos));
    }
    for _ in 0..=fleet.chance.below(3) {
        fleet.start().await;
    }

    let started = Instant::now();
    let mut witness = Witness::default();
    let mut broken = Vec::new();
    let mut ticks = 0;
    loop {
        let mut at_rest = true;
        let looked = Instant::now();
        for (run, _) in &runs {
            let tree = Tree::read(&fleet.memory, run.id()).await;
            broken.extend(witness.look(&tree));
            at_rest &= tree.is_at_rest();
        }
        if at_rest || !broken.is_empty() {
            break;
        }
        if started.elapsed() > stuck {
            broken.push(format!("it is stuck, after {:?}", fleet.events));
            break;
        }
        ticks += 1;
        if ticks < STORMY_TICKS {
            fleet.storm().await;
        } else {
            fleet.calm().await;
        }
        // Looking at a large tree must not become all that this thread does.
        tokio::time::sleep(TICK.max(looked.elapsed() * 20)).await;
    }
    for (run, dos) in runs {
        let tree = Tree::read(&fleet.memory, run.id()).await;
        let before = broken.len();
        if tree.is_at_rest() {
            broken.extend(tree.invariants());
            let expected = tree.expected(tree.root, &dos, Failures::Handled, &mut broken);
            let given = match run.result().await {
                Ok(words) => Ok(words),
                Err(stent::Error::Failed(failure)) => Err(failure.message),
                Err(error) => Err(format!("an error and no failure: {error}")),
            };
            if given != expected {
                broken.push(format!("it was to give {expected:?}, and gave {given:?}"));
            }
        }
        if broken.len() > before || !tree.is_at_rest() {
            broken.push(format!("{dos:?}\n{}", tree.describe()));
        }
    }
    broken.extend(program::accusations(seed));
    // Other worlds need the time that idle processes would spend on looking for work.
    fleet.processes.into_iter().for_each(Process::kill);
    broken
}

impl Process {
    fn kill(self) {
        self.store.set_link(Link::Dead);
        // Who is killed runs no destructors.
        std::mem::forget(self);
    }
}

impl Fleet {
    async fn open(&mut self) -> (Arc<FaultyStore>, Stent) {
        let store = FaultyStore::new(&self.memory, self.weather.clone(), self.chance.fork());
        let stent = Stent::builder().open(store.clone()).await.expect("the store opens");
        (store, stent)
    }

    async fn start(&mut self) {
        let (store, stent) = self.open().await;
        let worker = stent
            .worker()
            .concurrency(self.chance.pick(&[1, 2, 8]))
            .cache(self.chance.pick(&[0, 0, 1, 100]))
            .lease("300ms")
            .heartbeat("80ms")
            .poll_max("5ms")
            .grace("20ms");
        let worker = worker.start().await.expect("the options fit");
        self.processes.push(Process { store, worker, stent, cut_for: 0 });
    }

    /// Something goes wrong, now and then.
    async fn storm(&mut self) {
        for process in &mut self.processes {
            process.cut_for = process.cut_for.saturating_sub(1);
            if process.cut_for == 0 {
                process.store.set_link(Link::Up);
            }
        }
        if self.processes.is_empty() || self.chance.permille(20) {
            self.start().await;
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
                self.start().await;
            }
            _ => {}
        }
    }

    /// From now on nothing goes wrong, and somebody works.
    async fn calm(&mut self) {
        if self.weather.calm.swap(true, Ordering::Relaxed) {
            return;
        }
        self.events.push("calm");
        for process in &self.processes {
            process.store.set_link(Link::Up);
        }
        self.start().await;
    }
}
