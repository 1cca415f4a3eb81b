//! The wrapper: `stent-memory` with a hook for a mutant in every method. Without a mutant it behaves like `stent-memory`.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::{
    Backend, ClaimRequest, DeadLetter, DeadLetterStat, Error, ErrorKind, Exchanged, ExecutionView, Filter,
    Finding, Forward, Hints, Inspect, ItemView, LaneView, Listener, Migrate, NotesView, PurgeRequest, Purged,
    Reads, Renewal, Result, RunningView, SchemaVersion, Store, TaskView, Topic,
};
use stent_core::model::{EndedClaim, ExecutionStatus, Lease, Seq, Step, WorkerRecord};
use stent_core::transition::{News, Outcome, Transition};
use stent_core::{ExecutionId, Payload, TaskId, Timestamp, WorkerId};
use stent_memory::MemoryStore;

use crate::mutant::Mutant;
use crate::past::Past;

/// The maximum number of calls to one place; no case needs two thirds of them. Some broken stores make a case loop forever,
/// which would fill the memory.
const CALLS_MAX: u32 = 5_000;

/// Creates places for a mutant's stores.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) Arc<Mutant>);

#[async_trait]
impl Harness for Broken {
    async fn fresh(&self) -> std::result::Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Place { mutant: Arc::clone(&self.0), sound: Mutex::default(), past: Arc::default() }))
    }
}

#[derive(Debug)]
struct Place {
    mutant: Arc<Mutant>,
    sound: Mutex<MemoryStore>,
    past: Arc<Mutex<Past>>,
}

#[async_trait]
impl Fixture for Place {
    async fn open(&self) -> std::result::Result<Arc<dyn Store>, BoxError> {
        let (past, place) = (lock(&self.past), &mut lock(&self.sound));
        let sound = match self.mutant.opens {
            Some(opens) => opens(place, &past),
            None => place.peer(),
        };
        Ok(Arc::new(BrokenStore {
            mutant: Arc::clone(&self.mutant),
            sound: Sound(sound),
            past: Arc::clone(&self.past),
            _open: Arc::clone(&past.open),
        }))
    }
}

/// The correct store, for mutants that replace a method. Memory never waits, so nothing here does.
#[derive(Debug)]
pub(crate) struct Sound(pub(crate) MemoryStore);

impl Sound {
    pub(crate) fn exchange(
        &self,
        batch: &[Transition],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged> {
        at_once(self.0.exchange(batch, claim))
    }

    pub(crate) fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        at_once(self.0.renew(leases, now, until))
    }

    pub(crate) fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        at_once(self.0.purge(request))
    }
}

/// The answer of the memory store.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("memory answers at once"),
    }
}

/// A handle.
#[derive(Debug)]
struct BrokenStore {
    mutant: Arc<Mutant>,
    sound: Sound,
    past: Arc<Mutex<Past>>,
    _open: Arc<()>,
}

/// Cases on broken stores panic anywhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BrokenStore {
    /// The correct store, until it has been called more often than any terminating case calls it.
    fn sound(&self) -> Result<&Sound> {
        let mut past = self.past();
        past.calls += 1;
        if past.calls > CALLS_MAX {
            return Err(Error::new(ErrorKind::Limit, "mutant").with_message("the case goes round in circles"));
        }
        Ok(&self.sound)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        lock(&self.past)
    }

    /// How many are read at most.
    fn bound(&self, max: usize) -> usize {
        self.mutant.bounds.map_or(max, |bounds| bounds(max))
    }

    fn exchange_whole(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        let (mutant, sound) = (&self.mutant, self.sound()?);
        let past = &mut self.past();
        let dropped: Vec<bool> = commit
            .iter()
            .map(|transition| mutant.drops.is_some_and(|drops| drops(transition, past)))
            .collect();
        let kept = commit.iter().zip(&dropped).filter(|(_, dropped)| !**dropped);
        let mut batch: Vec<_> = kept.map(|(transition, _)| transition.clone()).collect();
        let mut claim = claim.copied();
        if let Some(rewrites) = mutant.rewrites {
            batch.iter_mut().for_each(|transition| rewrites(transition, past));
        }
        if let (Some(asks), Some(claim)) = (mutant.asks, &mut claim) {
            asks(claim, past);
        }

        past.asked_twice = claim.is_some_and(|claim| {
            let mut names: Vec<_> = claim.functions.iter().collect();
            names.sort_unstable();
            names.windows(2).any(|pair| pair[0] == pair[1])
        });
        past.is_silent =
            mutant.mutes.is_some_and(|mutes| commit.iter().any(|transition| mutes(transition, past)));
        let mut exchanged = match mutant.exchanges {
            Some(exchanges) => exchanges(sound, &batch, claim.as_ref(), past)?,
            None => sound.exchange(&batch, claim.as_ref())?,
        };

        for (n, _) in dropped.iter().enumerate().filter(|(_, dropped)| **dropped) {
            exchanged.outcomes.insert(n, Outcome::Applied(News::default()));
        }
        let kept = exchanged.clone();
        if let Some(answers) = mutant.answers {
            let pairs = exchanged.outcomes.iter_mut().zip(commit);
            pairs.for_each(|(outcome, transition)| answers(outcome, transition, past));
        }
        if let Some(hands_out) = mutant.hands_out {
            exchanged.claimed.iter_mut().for_each(|claimed| hands_out(claimed, past));
        }
        if let Some(brings) = mutant.brings {
            brings(&mut exchanged, past);
        }
        past.learn(commit, &kept.outcomes, &kept.claimed);
        past.claimers.extend(claim.filter(|_| !kept.claimed.is_empty()).map(|claim| claim.worker));
        Ok(exchanged)
    }
}

#[async_trait]
impl Forward for BrokenStore {
    fn inner(&self) -> &dyn Store {
        &self.sound.0
    }

    async fn clock(&self) -> Result<Timestamp> {
        let now = self.sound()?.0.clock().await?;
        Ok(self.mutant.ticks.map_or(now, |ticks| ticks(now, &mut self.past())))
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        let Some(tears) = self.mutant.tears else { return self.exchange_whole(commit, claim) };
        let (first, second) = commit.split_at(tears(commit.len()));
        let mut torn = self.exchange_whole(first, None)?;
        tokio::task::yield_now().await;
        let rest = self.exchange_whole(second, claim)?;
        torn.outcomes.extend(rest.outcomes);
        Ok(Exchanged { outcomes: torn.outcomes, ..rest })
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        match self.mutant.renews {
            Some(renews) => renews(self.sound()?, leases, now, until),
            None => self.sound()?.renew(leases, now, until),
        }
    }

    async fn report(&self, worker: &WorkerRecord) -> Result<()> {
        let mut worker = worker.clone();
        if let Some(reports) = self.mutant.reports {
            reports(&mut worker, self.sound()?);
        }
        self.sound()?.0.report(&worker).await
    }

    async fn workers(&self, after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>> {
        let mut workers = self.sound()?.0.workers(after, max).await?;
        if let Some(shows_workers) = self.mutant.shows_workers {
            shows_workers(&mut workers, after);
        }
        Ok(workers)
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        let mut request = *request;
        if let Some(purges) = self.mutant.purges {
            purges(&self.sound, &mut request, &self.past());
        }
        let mut purged = self.sound()?.purge(&request)?;
        let mut past = self.past();
        past.purges.push(request);
        past.is_silent = self.mutant.hushes.is_some();
        if let Some(leaves) = self.mutant.leaves {
            leaves(&self.sound, &request, &past);
        }
        drop(past);
        if let Some(counts_purged) = self.mutant.counts_purged {
            counts_purged(&mut purged);
        }
        Ok(purged)
    }

    async fn close(&self) -> Result<()> {
        match self.mutant.closes {
            Some(closes) => closes(),
            None => self.sound()?.0.close().await,
        }
    }

    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        let mut views = self.sound()?.0.executions(ids).await?;
        if let Some(shows_executions) = self.mutant.shows_executions {
            shows_executions(&mut views, &self.past());
        }
        Ok(views)
    }

    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        let mut views = match self.mutant.tasks_by {
            Some(tasks_by) => tasks_by(self.sound()?, execution, after, max)?,
            None => self.sound()?.0.tasks(execution, after, max).await?,
        };
        if let Some(shows_tasks) = self.mutant.shows_tasks {
            shows_tasks(&mut views, &self.past());
        }
        Ok(views)
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        let mut views = match self.mutant.items_by {
            Some(items_by) => items_by(self.sound()?, map, from, max)?,
            None => self.sound()?.0.items(map, from, max).await?,
        };
        if let Some(shows_items) = self.mutant.shows_items {
            shows_items(&mut views);
        }
        Ok(views)
    }

    async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        let mut args = self.sound()?.0.args(task).await?;
        if let Some(shows_args) = self.mutant.shows_args {
            shows_args(&mut args);
        }
        Ok(args)
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        let mut completions = self.sound()?.0.completions(seen).await?;
        if let Some(shows_completions) = self.mutant.shows_completions {
            completions.iter_mut().for_each(|(_, steps)| shows_completions(steps));
        }
        if let Some(shows_news) = self.mutant.shows_news {
            shows_news(&mut completions);
        }
        Ok(completions)
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        let mut filter = filter.clone();
        if let Some(filters) = self.mutant.filters {
            filters(&mut filter);
        }
        let mut views = match self.mutant.lists_by {
            Some(lists_by) => lists_by(self.sound()?, &filter, before, max)?,
            None => self.sound()?.0.list(&filter, before, max).await?,
        };
        if let Some(lists) = self.mutant.lists {
            lists(&mut views, before);
        }
        Ok(views)
    }

    async fn count(&self, max: usize) -> Result<BTreeMap<ExecutionStatus, u64>> {
        let mut counts = self.sound()?.0.count(self.bound(max)).await?;
        if let Some(miscounts) = self.mutant.counts {
            miscounts(&mut counts);
        }
        Ok(counts)
    }

    async fn lanes(&self, now: Timestamp, max: usize) -> Result<Vec<LaneView>> {
        let mut lanes = self.sound()?.0.lanes(now, self.bound(max)).await?;
        if let Some(shows_lanes) = self.mutant.shows_lanes {
            shows_lanes(&mut lanes);
        }
        Ok(lanes)
    }

    async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        let mut running = self.sound()?.0.running(max).await?;
        if let Some(shows_running) = self.mutant.shows_running {
            shows_running(&mut running);
        }
        Ok(running)
    }

    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        let mut ended_claims = self.sound()?.0.ended_claims(task).await?;
        if let Some(shows_ended_claims) = self.mutant.shows_ended_claims {
            shows_ended_claims(&mut ended_claims);
        }
        Ok(ended_claims)
    }

    async fn notes(&self, execution: ExecutionId) -> Result<NotesView> {
        let mut notes = self.sound()?.0.notes(execution).await?;
        if let Some(shows_notes) = self.mutant.shows_notes {
            shows_notes(&mut notes, &self.past());
        }
        Ok(notes)
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        let mut letters = match self.mutant.letters_by {
            Some(letters_by) => letters_by(self.sound()?, before, max)?,
            None => self.sound()?.0.dead_letters(before, max).await?,
        };
        if let Some(shows_dead_letters) = self.mutant.shows_dead_letters {
            shows_dead_letters(&mut letters);
        }
        Ok(letters)
    }

    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>> {
        self.sound()?.0.dead_letter(execution).await
    }

    async fn dead_letter_stats(&self, max: usize) -> Result<Vec<DeadLetterStat>> {
        let mut stats = self.sound()?.0.dead_letter_stats(self.bound(max)).await?;
        if let Some(shows_stats) = self.mutant.shows_stats {
            shows_stats(&mut stats);
        }
        Ok(stats)
    }

    async fn diagnose(&self) -> Result<Vec<Finding>> {
        let mut findings = self.sound()?.0.diagnose().await?;
        if let Some(examines) = self.mutant.examines {
            examines(&mut findings, &self.sound, &self.past());
        }
        Ok(findings)
    }

    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        Box::new(BrokenListener {
            mutant: Arc::clone(&self.mutant),
            store: self.sound.0.clone(),
            topic,
            sound: self.sound.0.listen(topic),
            past: Arc::clone(&self.past),
        })
    }

    async fn migrate(&self) -> Result<()> {
        if let Some(migrates) = self.mutant.migrates {
            migrates(&self.sound, &self.past());
        }
        self.sound.0.migrate().await
    }

    async fn version(&self) -> Result<SchemaVersion> {
        let mut version = self.sound.0.version().await?;
        if let Some(versions) = self.mutant.versions {
            versions(&mut version);
        }
        Ok(version)
    }
}

#[derive(Debug)]
struct BrokenListener {
    mutant: Arc<Mutant>,
    store: MemoryStore,
    topic: Topic,
    sound: Box<dyn Listener>,
    past: Arc<Mutex<Past>>,
}

#[async_trait]
impl Listener for BrokenListener {
    async fn changed(&mut self) {
        if self.mutant.dozes.is_some() {
            self.sound = self.store.listen(self.topic);
        }
        if self.mutant.misses.is_some_and(|misses| misses(self.topic)) {
            std::future::pending::<()>().await;
        }
        self.sound.changed().await;
        while lock(&self.past).is_silent {
            self.sound.changed().await;
        }
    }
}
