//! Crashes the worker of a test around its commits. A crash loses everything that the store does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use stent_core::TaskId;
use stent_core::Timestamp;
use stent_core::backend::{
    ClaimRequest, ErrorKind, Exchanged, Forward, HostTransaction, Renewal, Result, Store, Transactions,
};
use stent_core::model::{Lease, NewTaskState};
use stent_core::transition::{Next, Outcome, Transition};

use crate::worker::Switch;

/// Most crashes of one test at random moments: fewer than a task survives without progress.
const RANDOM_MAX: u32 = 8;

/// The crashes that a test asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    aims: Vec<Aim>,
    randomly: Option<Randomly>,
}

/// A step around whose record the worker crashes.
#[derive(Clone, Debug)]
struct Aim {
    step: String,
    before: bool,
    after: bool,
}

#[derive(Clone, Copy, Debug)]
struct Randomly {
    seed: u64,
    chance: u64,
    left: u32,
    /// Whether a commit has passed since the last crash.
    progressed: bool,
}

/// Where the worker crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    /// Before the commit: the store never sees it.
    Before,
    /// After the commit: the worker never learns that it was applied.
    After,
}

impl Plan {
    pub(super) const fn is_empty(&self) -> bool {
        self.aims.is_empty() && self.randomly.is_none()
    }

    pub(super) fn at(&mut self, step: String) {
        self.aims.push(Aim { step, before: false, after: false });
    }

    pub(super) const fn randomly(&mut self, seed: u64) {
        self.randomly = Some(Randomly { seed, chance: seed, left: RANDOM_MAX, progressed: true });
    }

    fn fate(&mut self, recorded: &BTreeSet<String>) -> Fate {
        for aim in &mut self.aims {
            if !recorded.contains(&aim.step) {
                continue;
            }
            if !std::mem::replace(&mut aim.before, true) {
                return Fate::Before;
            }
            if !std::mem::replace(&mut aim.after, true) {
                return Fate::After;
            }
        }
        self.randomly.as_mut().map_or(Fate::Passes, Randomly::fate)
    }
}

impl Randomly {
    fn fate(&mut self) -> Fate {
        let drawn = self.draw();
        if self.left == 0 || !std::mem::replace(&mut self.progressed, true) {
            return Fate::Passes;
        }
        let fate = match drawn % 6 {
            0 => Fate::Before,
            1 => Fate::After,
            _ => return Fate::Passes,
        };
        self.left -= 1;
        self.progressed = fate == Fate::After;
        fate
    }

    /// The next number of splitmix64.
    const fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The store of a test whose worker crashes.
#[derive(Debug)]
pub(super) struct CrashStore {
    inner: Arc<dyn Store>,
    switch: Arc<Switch>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    /// The functions and steps of the tasks that the worker has claimed or written.
    names: BTreeMap<TaskId, String>,
    recorded: BTreeSet<String>,
    crashes: usize,
    /// What a transaction that is not committed yet records.
    within: BTreeSet<String>,
}

impl CrashStore {
    pub(super) fn new(inner: Arc<dyn Store>, plan: Plan, switch: Arc<Switch>) -> Self {
        let state = State {
            plan,
            names: BTreeMap::new(),
            recorded: BTreeSet::new(),
            crashes: 0,
            within: BTreeSet::new(),
        };
        Self { inner, switch, state: Mutex::new(state) }
    }

    pub(super) fn crashes(&self) -> usize {
        self.state().crashes
    }

    /// The seed of random crashes.
    pub(super) fn seed(&self) -> Option<u64> {
        self.state().plan.randomly.map(|randomly| randomly.seed)
    }

    /// The problem of a step that was never recorded.
    pub(super) fn problem(&self) -> Option<String> {
        let state = self.state();
        let missed = state.plan.aims.iter().find(|aim| !aim.before)?;
        let recorded: Vec<_> = state.recorded.iter().map(String::as_str).collect();
        Some(format!(
            "crash_at({:?}): the worker never came to record a step or function of this name, so it did not crash \
             there; it recorded {recorded:?}",
            missed.step
        ))
    }

    /// The fate of commits that record this. Only commits of the worker have one.
    fn fate(&self, recorded: BTreeSet<String>) -> Fate {
        let mut state = self.state();
        let fate = state.plan.fate(&recorded);
        state.recorded.extend(recorded);
        if fate != Fate::Passes {
            state.crashes += 1;
        }
        fate
    }

    async fn crash<T>(&self) -> T {
        tracing::info!("crashing the worker of this test");
        self.switch.kill();
        std::future::pending().await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A transaction is about to record the ends of these steps.
    fn ends_within(&mut self, transitions: &[Transition]) {
        let ends = self.ends(transitions);
        self.within.extend(ends);
    }

    /// The names of the steps and functions whose ends these transitions record.
    fn ends(&mut self, transitions: &[Transition]) -> BTreeSet<String> {
        let mut ends = BTreeSet::new();
        for commit in transitions.iter().filter_map(Transition::commit) {
            for row in &commit.insert {
                self.names.insert(row.id, row.lane.function.clone());
                if matches!(row.state, NewTaskState::Done { .. }) {
                    ends.insert(row.lane.function.clone());
                }
            }
            if matches!(commit.next, Next::End(_)) {
                ends.extend(self.names.get(&commit.fence.task).cloned());
            }
        }
        ends
    }
}

#[async_trait]
impl Forward for CrashStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        self.inner.transactions().is_some().then_some(self)
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        let of_worker = claim.is_some() || commit.iter().any(|one| one.commit().is_some());
        if !of_worker {
            return self.inner.exchange(commit, claim).await;
        }
        self.switch.wait_until_alive().await;
        let commits = commit.iter().any(|one| one.commit().is_some());
        let ends = self.state().ends(commit);
        let fate = if commits { self.fate(ends) } else { Fate::Passes };
        if fate == Fate::Before {
            return self.crash().await;
        }
        let exchanged = self.inner.exchange(commit, claim).await?;
        if fate == Fate::After {
            return self.crash().await;
        }
        let claimed = exchanged.claimed.iter().map(|claimed| &claimed.task);
        self.state().names.extend(claimed.map(|task| (task.id, task.lane.function.clone())));
        Ok(exchanged)
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        self.switch.wait_until_alive().await;
        self.inner.renew(leases, now, until).await
    }
}

/// Transactions of the application, whose commits crash as others do.
#[async_trait]
impl Transactions for CrashStore {
    async fn begin(&self) -> Result<Arc<HostTransaction>> {
        transactions(&*self.inner)?.begin().await
    }

    async fn begin_for(&self, limit: Duration) -> Result<Arc<HostTransaction>> {
        transactions(&*self.inner)?.begin_for(limit).await
    }

    async fn exchange_within(
        &self,
        transaction: &HostTransaction,
        commit: &[Transition],
    ) -> Result<Vec<Outcome>> {
        self.state().ends_within(commit);
        transactions(&*self.inner)?.exchange_within(transaction, commit).await
    }

    async fn commit(&self, transaction: Arc<HostTransaction>) -> Result<()> {
        self.switch.wait_until_alive().await;
        let ends = std::mem::take(&mut self.state().within);
        let fate = if ends.is_empty() { Fate::Passes } else { self.fate(ends) };
        if fate == Fate::Before {
            drop(transaction);
            return self.crash().await;
        }
        transactions(&*self.inner)?.commit(transaction).await?;
        if fate == Fate::After {
            return self.crash().await;
        }
        Ok(())
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.inner.transactions()?.classify(error)
    }
}

fn transactions(store: &dyn Store) -> Result<&dyn Transactions> {
    let none = || stent_core::backend::Error::new(ErrorKind::Config, "transaction");
    store.transactions().ok_or_else(none)
}
