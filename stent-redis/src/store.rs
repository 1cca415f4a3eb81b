//! The store: exchanges, renewals, and the loop in which both read, play and write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::{Script, Value};
use stent_core::backend::{
    Backend, BackendInfo, ClaimRequest, Claimed, Error, ErrorKind, Exchanged, Migrate, PurgeRequest, Purged,
    Renewal, Result, SchemaVersion, StoredTask,
};
use stent_core::ledger::overlay::{Effects, Played, TaskEffect, Wanted, play};
use stent_core::limits::CLAIM_MAX;
use stent_core::model::{Fence, Lease, NewTask, NewTaskState, Step, Task, TaskResult, WorkerRecord};
use stent_core::transition::{Outcome, Transition};
use stent_core::{TaskId, Timestamp};
use tokio::sync::{RwLock, RwLockReadGuard};
use uuid::Uuid;

use crate::apply::{Batch, Check, changes_tail};
use crate::claim::{Answer, Taken, claim, list};
use crate::error::is_unanswered;
use crate::hints::HintReader;
use crate::index::returns;
use crate::journal::LOCKED;
use crate::keys::Keys;
use crate::link::Link;
use crate::load::{Loaded, bytes};
use crate::lost::LostClaims;
use crate::options::RedisOptions;
use crate::recent::Recent;
use crate::row::{Head, Revision, Tail, at, decode};

static STEPS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/steps.lua")));

/// The number of writes that a caller may lose to other callers before it takes the lock of the namespace, so that no caller
/// starves.
const LOST_MAX: u32 = 8;

/// How long [`close`](Backend::close) waits for calls that still run.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// How often a batch is played again that seemed to contradict the store.
const TORN_MAX: u32 = 3;

/// A store in Redis or Valkey.
pub struct RedisStore {
    pub(crate) link: Link,
    pub(crate) keys: Keys,
    pub(crate) hints: HintReader,
    recent: Recent,
    lost: LostClaims,
    location: String,
    closed: AtomicBool,
    /// Each call holds it for reading.
    calls: RwLock<()>,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("location", &self.location).finish_non_exhaustive()
    }
}

/// The result of sending a batch.
enum Written {
    Done,
    /// Something had changed.
    Stale,
    /// Another caller has the lock.
    Locked,
}

impl RedisStore {
    /// Connects to the server. An unreachable server is no error: calls fail with transient errors until it is reachable.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the options are invalid, if the server refuses the login, or if its settings do not suffice for a
    /// store.
    pub async fn open(options: RedisOptions) -> Result<Arc<Self>> {
        let (link, trouble) = Link::open(&options).await?;
        let keys = Keys::new(&options.namespace);
        let hints = HintReader::open(&link, keys.one("hints"), trouble).await?;
        let location = options.location();
        let (recent, lost, closed) = (Recent::default(), LostClaims::default(), AtomicBool::new(false));
        Ok(Arc::new(Self { link, keys, hints, recent, lost, location, closed, calls: RwLock::new(()) }))
    }

    /// Begins a call, for which [`close`](Backend::close) waits.
    pub(crate) fn enter(&self, operation: &'static str) -> Result<RwLockReadGuard<'_, ()>> {
        let closed = || Error::new(ErrorKind::Closed, operation);
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        self.calls.try_read().map_err(|_| closed())
    }

    /// Plays, and reads the missing parts, until the play returns its effects.
    pub(crate) async fn prepare<'a>(
        &self,
        operation: &'static str,
        loaded: &mut Loaded,
        play: impl Fn(&Loaded) -> Result<Played<'a>>,
    ) -> Result<Effects<'a>> {
        loop {
            match play(loaded)? {
                Played::Done(effects) => return Ok(effects),
                Played::Wants(mut wanted) => {
                    if loaded.may_guess {
                        self.recent.guess(loaded, &mut wanted);
                    }
                    if !wanted.is_empty() {
                        loaded.read(&self.link, &self.keys, operation, wanted).await?;
                    }
                }
            }
        }
    }

    /// Sends a batch with all its checks. Forgets the subjects of failed checks, so that the next play reads them again.
    async fn send(
        &self,
        operation: &'static str,
        loaded: &mut Loaded,
        mut batch: Batch,
        token: &[u8],
    ) -> Result<Written> {
        let checks = std::mem::take(&mut batch.checks);
        let stale = match batch.is_large() {
            true => self.send_in_pieces(operation, batch, token).await?,
            false => self.send_at_once(operation, batch, token).await?,
        };
        if stale == LOCKED {
            return Ok(Written::Locked);
        }
        for check in stale.iter().filter_map(|at| checks.get(at.checked_sub(1)?)) {
            if *check == Check::Lane {
                return Err(Error::new(ErrorKind::Corrupt, operation)
                    .with_message("two lanes have the same key; give one of the queues another name"));
            }
            loaded.forget(check);
            self.recent.forget(check);
        }
        Ok(if stale.is_empty() { Written::Done } else { Written::Stale })
    }

    /// Reads, plays and writes until no other caller comes between.
    pub(crate) async fn change<'a>(
        &self,
        operation: &'static str,
        loaded: &mut Loaded,
        play: impl Fn(&Loaded) -> Result<Played<'a>>,
        extra: impl Fn(&mut Batch, &Loaded),
    ) -> Result<Effects<'a>> {
        let mut token = Vec::new();
        let changed = self.change_with(operation, loaded, play, extra, &mut token).await;
        if !token.is_empty() {
            // The write that the lock was for has released it; other ways out have not.
            drop(self.release(operation, &token).await); // If this fails, the lock expires.
        }
        changed
    }

    async fn change_with<'a>(
        &self,
        operation: &'static str,
        loaded: &mut Loaded,
        play: impl Fn(&Loaded) -> Result<Played<'a>>,
        extra: impl Fn(&mut Batch, &Loaded),
        token: &mut Vec<u8>,
    ) -> Result<Effects<'a>> {
        let (mut lost, mut torn) = (0, 0);
        loop {
            let effects = match self.prepare(operation, loaded, &play).await {
                // Reads are not of one moment: a task may be gone that another one still named, and a large batch may be half
                // written. If it is really so, it stays so.
                Err(error) if error.kind() == ErrorKind::Corrupt && torn < TORN_MAX => {
                    torn += u32::from(!self.wait(operation).await?);
                    loaded.forget_all();
                    continue;
                }
                effects => effects?,
            };
            let changed = effects.tasks.iter().filter(|(_, effect)| changes_tail(effect));
            let changed = changed.filter(|(_, effect)| effect.insert.is_none()).map(|(task, _)| *task);
            let erased = effects.tasks.iter().filter(|(_, effect)| effect.erased).map(|(task, _)| *task);
            // Of a root, the tail has the lane, by which it is listed.
            let roots = erased.filter(|task| loaded.heads.get(task).is_some_and(|(head, _)| is_root(head)));
            let returned = effects.tasks.iter().filter(|(task, effect)| {
                effect
                    .row
                    .as_ref()
                    .zip(loaded.heads.get(task))
                    .is_some_and(|(row, (old, _))| returns(old, row))
            });
            let with_tails: BTreeSet<TaskId> = (changed.chain(roots).chain(returned.map(|(task, _)| *task)))
                .filter(|task| loaded.heads.contains_key(task))
                .collect();
            loaded.read_tails(&self.link, &self.keys, operation, &with_tails).await?;
            let mut batch = Batch::default();
            let revision = revision();
            batch.write(&self.keys, loaded, &effects, revision)?;
            extra(&mut batch, loaded);
            if batch.is_empty() {
                if loaded.is_guessed {
                    // Nothing has checked the guesses.
                    loaded.forget_all();
                    continue;
                }
                return Ok(effects);
            }
            batch.check_all(&self.keys, loaded);
            batch.complete(&self.keys);
            let is_large = batch.is_large();
            if is_large && token.is_empty() {
                *token = self.lock(operation).await?;
            }
            match self.send(operation, loaded, batch, token).await? {
                Written::Done => {
                    self.recent.written(loaded, &effects, revision);
                    return Ok(effects);
                }
                Written::Locked => {
                    token.clear(); // If this caller had the lock, it has expired.
                    self.wait(operation).await?;
                }
                Written::Stale => {
                    lost += 1;
                    loaded.may_guess = false;
                    if lost >= LOST_MAX && token.is_empty() {
                        *token = self.lock(operation).await?;
                        loaded.forget_all();
                    }
                }
            }
        }
    }

    async fn commit(&self, batch: &[Transition]) -> Result<Vec<Outcome>> {
        let mut loaded = Loaded { may_guess: true, ..Loaded::default() };
        // A dispatch is new as a rule: whether it is, the write finds out.
        if batch.iter().all(|transition| matches!(transition, Transition::Dispatch(_)))
            && let Played::Wants(wanted) = play(&loaded.known, batch)?
        {
            loaded.assume_absent(&wanted);
        }
        let play = |loaded: &Loaded| play(&loaded.known, batch);
        Ok(self.change("exchange", &mut loaded, play, |_, _| {}).await?.outcomes)
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<(Answer, Vec<Claimed>)> {
        let mut attempt = self.lost.begin(request);
        let mut taken = match self.take_back(request, &mut attempt).await {
            // It would fail again, and other work must not wait for it.
            Err(error) if !error.is_transient() => {
                tracing::warn!(%error, "cannot take back the tasks of a claim without a reply; they wait until their leases end");
                attempt.forget();
                Vec::new()
            }
            taken => taken?,
        };
        let rest = ClaimRequest { max: request.max.min(CLAIM_MAX) - taken.len(), ..*request };
        let mut answer = loop {
            let revision = revision();
            attempt.send(&rest);
            match claim(&self.link, &self.keys, &rest, revision).await {
                Ok(Some(answer)) => {
                    answer.taken.iter().for_each(|taken| self.recent.claimed(taken, revision));
                    break answer;
                }
                Ok(None) => {
                    attempt.refuse(&rest);
                    self.wait("claim").await?;
                }
                Err(error) => {
                    if !is_unanswered(&error) {
                        attempt.refuse(&rest);
                    }
                    return Err(error);
                }
            }
        };
        taken.append(&mut answer.taken);
        let mut asked = Vec::new();
        let mut claimed = Vec::new();
        for Taken { head, tail, epoch, has_children, due_at } in taken {
            let before = epoch.map(|epoch| Fence { task: head.row.id, epoch, commit: head.row.commit });
            let cached = before.and_then(|before| request.cache.seen(&before));
            if has_children {
                asked.push((head.row.id, cached));
            }
            let (done, id) = (head.row.done, head.row.id);
            let fence = head.row.fence();
            let lease = Lease { task: id, epoch: head.row.epoch, until: request.until };
            let (task, due_at) = (to_task(head, tail), due_at.unwrap_or(request.now));
            claimed.push((Claimed { task, due_at, lease, fence, cached, steps: Vec::new() }, done));
        }
        if !asked.is_empty() {
            let steps = match self.steps("claim", &asked).await {
                Err(error) if !error.is_transient() => {
                    attempt.forget();
                    return Err(error);
                }
                steps => steps?,
            };
            let mut steps: BTreeMap<TaskId, Vec<Step>> =
                asked.into_iter().map(|(task, _)| task).zip(steps).collect();
            for (claimed, done) in &mut claimed {
                let steps = steps.remove(&claimed.task.id).unwrap_or_default();
                claimed.steps = as_claimed(steps, *done, claimed.cached);
            }
        }
        attempt.settle(request);
        Ok((answer, claimed.into_iter().map(|(claimed, _)| claimed).collect()))
    }

    /// Renews leases for [`renew`](Backend::renew).
    pub(crate) async fn renew_leases(
        &self,
        operation: &'static str,
        leases: &[Lease],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Renewal>> {
        let mut loaded = Loaded { may_guess: true, ..Loaded::default() };
        let rows: BTreeSet<TaskId> = leases.iter().map(|lease| lease.task).collect();
        let play = |loaded: &Loaded| {
            if loaded.known.rows.len() < rows.len() {
                let missing = rows.iter().filter(|row| !loaded.known.rows.contains_key(row));
                return Ok(Played::Wants(Wanted { rows: missing.copied().collect(), ..Wanted::default() }));
            }
            let mut effects = Effects::default();
            renewals(loaded, leases, now, until, &mut effects);
            Ok(Played::Done(effects))
        };
        self.change(operation, &mut loaded, play, |_, _| {}).await?;
        Ok(renewals(&loaded, leases, now, until, &mut Effects::default()))
    }

    /// Reads the steps of tasks: all steps of a task, or the steps that ended after a number of completions and the open maps.
    pub(crate) async fn steps(
        &self,
        operation: &'static str,
        asked: &[(TaskId, Option<u32>)],
    ) -> Result<Vec<Vec<Step>>> {
        read_steps(&self.link, &self.keys, operation, asked).await
    }
}

/// Reads steps for [`RedisStore::steps`].
pub(crate) async fn read_steps(
    link: &Link,
    keys: &Keys,
    operation: &'static str,
    asked: &[(TaskId, Option<u32>)],
) -> Result<Vec<Vec<Step>>> {
    let mut args = Vec::with_capacity(asked.len() * 2);
    for (task, seen) in asked {
        args.push(task.as_uuid().as_bytes().to_vec());
        args.push(seen.map_or_else(Vec::new, |seen| seen.to_be_bytes().to_vec()));
    }
    let answer: Vec<Value> = link.script(operation, &STEPS, &keys.one("lock"), &args).await?;
    let steps = answer.into_iter().map(|steps| {
        let values = list(steps)?;
        let mut steps = Vec::with_capacity(values.len() / 2);
        for pair in values.chunks(2) {
            let [row, result] = pair else { continue };
            let row = bytes(row.clone())?;
            if !row.is_empty() {
                steps.push(stored(&row, &bytes(result.clone())?)?.to_step());
            }
        }
        steps.sort_by_key(|step| (step.order().is_none(), step.order(), step.seq)); // G4
        Ok(steps)
    });
    steps.collect()
}

/// Restores a task's steps to their state at the claim. The steps are read after the claim, and steps that ended in between reach
/// the worker later, as news.
fn as_claimed(steps: Vec<Step>, done: u32, cached: Option<u32>) -> Vec<Step> {
    let later = |step: &Step| step.order().is_some_and(|order| order > done);
    match cached {
        Some(_) => steps.into_iter().filter(|step| !later(step)).collect(),
        None => {
            let reopen = |mut step: Step| {
                if later(&step) {
                    step.state = stent_core::model::StepState::Open { due: None };
                }
                step
            };
            let mut steps: Vec<_> = steps.into_iter().map(reopen).collect();
            steps.sort_by_key(|step| (step.order().is_none(), step.order(), step.seq));
            steps
        }
    }
}

const fn is_root(head: &Head) -> bool {
    head.row.tree.parent.is_none()
}

/// Draws a revision.
pub(crate) fn revision() -> Revision {
    let [a, b, c, d, e, f, .., g, h] = *Uuid::new_v4().as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Decodes a task from the bytes of its row and of its result.
pub(crate) fn stored(row: &[u8], result: &[u8]) -> Result<StoredTask> {
    let (head, _) = Head::decode(row)?;
    let tail: Tail = decode(row.get(at::LEN..).unwrap_or_default())?;
    let result: Option<TaskResult> = if result.is_empty() { None } else { Some(decode(result)?) };
    Ok(to_stored(head, tail, result))
}

fn to_stored(head: Head, tail: Tail, result: Option<TaskResult>) -> StoredTask {
    let Head { row, seq, priority, created_at, .. } = head;
    let task = NewTask {
        id: row.id,
        tree: row.tree,
        seq,
        kind: row.kind,
        lane: tail.lane,
        priority,
        args: tail.args,
        retry: tail.retry,
        attempts: 0,
        failure: None,
        keyed: None,
        expires_at: None,
        trace: tail.trace,
        digest: None,
        state: NewTaskState::Pending { ready_at: created_at },
    };
    StoredTask { task, row, created_at, result }
}

fn to_task(head: Head, tail: Tail) -> Task {
    to_stored(head, tail, None).to_task()
}

#[async_trait]
impl Backend for RedisStore {
    fn info(&self) -> BackendInfo {
        BackendInfo { name: "redis", location: self.location.clone(), parallel: true }
    }

    async fn clock(&self) -> Result<Timestamp> {
        let _call = self.enter("clock")?;
        let (seconds, micros): (i64, i64) = self.link.run("clock", &redis::cmd("TIME")).await?;
        Ok(Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros)))
    }

    async fn exchange(&self, commit: &[Transition], request: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        let _call = self.enter("exchange")?;
        let outcomes = if commit.is_empty() { Vec::new() } else { self.commit(commit).await? };
        let Some(request) = request else { return Ok(Exchanged { outcomes, ..Exchanged::default() }) };
        let (answer, claimed) = self.claim(request).await?;
        let Answer { next_due, expired, stopping, .. } = answer;
        Ok(Exchanged { outcomes, claimed, next_due, expired, stopping })
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        let _call = self.enter("renew")?;
        self.renew_leases("renew", leases, now, until).await
    }

    async fn report(&self, worker: &WorkerRecord) -> Result<()> {
        let _call = self.enter("report")?;
        self.write_worker(worker).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        let _call = self.enter("purge")?;
        self.purge_old(request).await
    }

    /// Fails: the data is on the server, and not in a file of this machine.
    async fn backup_to(&self, _path: &Path) -> Result<()> {
        let _call = self.enter("backup")?;
        Err(Error::new(ErrorKind::Config, "backup").with_message(format!(
            "the store {} is on a Redis server, which alone can copy it; run BGSAVE there and copy the file dump.rdb, or copy \
             the append-only file",
            self.location
        )))
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        // Calls end by themselves, at the latest when the server does not answer them.
        drop(tokio::time::timeout(CLOSE_MAX, self.calls.write()).await);
        self.hints.close();
        self.link.close();
        Ok(())
    }
}

/// Renews leases on the rows that were read, and adds the changed rows to the effects.
fn renewals(
    loaded: &Loaded,
    leases: &[Lease],
    now: Timestamp,
    until: Timestamp,
    effects: &mut Effects<'_>,
) -> Vec<Renewal> {
    let renew = |lease: &Lease| {
        let read = loaded.known.rows.get(&lease.task).and_then(Option::as_ref);
        let effect = effects.tasks.get(&lease.task).and_then(|effect| effect.row.as_ref());
        let Some(mut row) = effect.or(read).cloned() else { return Renewal::Lost };
        let renewal = row.renew(lease, now, until);
        if renewal == Renewal::Renewed {
            effects.tasks.insert(lease.task, TaskEffect { row: Some(row), ..TaskEffect::default() });
        }
        renewal
    };
    leases.iter().map(renew).collect()
}

#[async_trait]
impl Migrate for RedisStore {
    /// Does nothing except check that the store is open: each row contains its format, so a namespace needs no schema.
    async fn migrate(&self) -> Result<()> {
        self.enter("migrate").map(drop)
    }

    async fn version(&self) -> Result<SchemaVersion> {
        let _call = self.enter("version")?;
        Ok(SchemaVersion { applied: 0, known: 0 })
    }
}
