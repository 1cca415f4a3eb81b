//! A store in front of another one that misbehaves on command: deaf to hints, unable to renew, out for a while.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stent::backend::model::{ExecutionStatus, Lease, NewTaskState, Note, Said, Step, TaskResult};
use stent::backend::transition::{Next, Transition};
use stent::backend::{
    BackendInfo, ClaimRequest, DeadLetter, ErrorKind, Exchanged, ExecutionView, Filter, Forward, Listener,
    PurgeRequest, Purged, Renewal, Result, Store, Topic,
};
use stent::{ExecutionId, TaskId, Timestamp};
use tokio::sync::{Mutex, Notify};

use crate::front::{refused, takes_one};

/// The faults. Everything works as long as none is set.
#[derive(Debug)]
pub(crate) struct Rigged {
    inner: Arc<dyn Store>,
    /// Its location in messages, instead of its own.
    pub(crate) location: std::sync::Mutex<Option<String>>,
    /// No hint arrives.
    deaf: bool,
    /// This many renewals fail from now on.
    pub(crate) failing_renewals: AtomicU64,
    /// This many renewals do not return from now on.
    pub(crate) hanging_renewals: AtomicU64,
    /// The number of requested renewals.
    pub(crate) renewals: AtomicU64,
    /// Exchanges fail.
    pub(crate) is_out: AtomicBool,
    /// Exchanges do not return.
    pub(crate) hangs: AtomicBool,
    /// The number of exchanges that did not return.
    pub(crate) hanging: AtomicU64,
    /// Exchanges that commit something are held back; those that only claim are not.
    pub(crate) holds_commits: AtomicBool,
    /// Answers to exchanges that commit something, and to reads of executions, are held back.
    pub(crate) holds_answers: AtomicBool,
    /// The number of answers that were held back.
    pub(crate) held_answers: AtomicU64,
    /// This many claims from now on are made as if it were a day later, when all leases have expired.
    pub(crate) late_claims: AtomicU64,
    /// Exchanges in flight: the current number and the maximum.
    under_way: AtomicU64,
    pub(crate) at_once: AtomicU64,
    /// How long each exchange takes at least, in milliseconds.
    pub(crate) exchange_ms: AtomicU64,
    /// The number of reads of the clock.
    pub(crate) clock_reads: AtomicU64,
    /// Reads of executions and dead letters, by id and by page.
    pub(crate) reads: AtomicU64,
    /// Reads of completions, for running functions.
    pub(crate) looks: AtomicU64,
    /// Transitions that were written.
    pub(crate) written: AtomicU64,
    /// This many purges fail from now on.
    pub(crate) failing_purges: AtomicU64,
    /// The requested purges, and the maximum of each.
    pub(crate) purges: std::sync::Mutex<Vec<PurgeRequest>>,
    /// Exchanges that commit something fail with this error.
    pub(crate) fails_with: std::sync::Mutex<Option<ErrorKind>>,
    /// Exchanges that commit more than this are contended.
    pub(crate) fits: AtomicU64,
    /// Exchanges that carry more bytes than this are over a limit.
    pub(crate) bytes_fit: AtomicU64,
    /// Exchanges that carry this in a result or as progress are over a limit.
    pub(crate) cannot_hold: std::sync::Mutex<Option<&'static str>>,
    /// Tasks that another transaction has locked: commits to them are contended, and their leases are not extended.
    pub(crate) held: std::sync::Mutex<BTreeSet<TaskId>>,
    /// Tasks that renewals find locked by another transaction, so that their leases are not extended.
    pub(crate) not_renewed: std::sync::Mutex<BTreeSet<TaskId>>,
    /// Tasks whose rows are corrupt: an exchange that commits to one of them fails.
    pub(crate) corrupt: std::sync::Mutex<BTreeSet<TaskId>>,
    /// The number of exchanges that failed for one of these reasons, or because the store was unavailable.
    pub(crate) failed: AtomicU64,
    /// The status that every execution is reported with, instead of its own.
    pub(crate) shown: Mutex<Option<ExecutionStatus>>,
    pub(crate) clock_read: Notify,
}

impl Rigged {
    pub(crate) fn new(inner: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self::with_hints(inner, true))
    }

    /// A store whose hints never arrive.
    pub(crate) fn deaf(inner: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self::with_hints(inner, false))
    }

    fn with_hints(inner: &Arc<dyn Store>, hears: bool) -> Self {
        Self {
            inner: Arc::clone(inner),
            location: std::sync::Mutex::default(),
            deaf: !hears,
            failing_renewals: AtomicU64::new(0),
            hanging_renewals: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            is_out: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            hanging: AtomicU64::new(0),
            holds_commits: AtomicBool::new(false),
            holds_answers: AtomicBool::new(false),
            held_answers: AtomicU64::new(0),
            late_claims: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            at_once: AtomicU64::new(0),
            exchange_ms: AtomicU64::new(0),
            clock_reads: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failing_purges: AtomicU64::new(0),
            purges: std::sync::Mutex::default(),
            fails_with: std::sync::Mutex::default(),
            fits: AtomicU64::new(u64::MAX),
            bytes_fit: AtomicU64::new(u64::MAX),
            cannot_hold: std::sync::Mutex::default(),
            held: std::sync::Mutex::default(),
            not_renewed: std::sync::Mutex::default(),
            corrupt: std::sync::Mutex::default(),
            failed: AtomicU64::new(0),
            shown: Mutex::new(None),
            clock_read: Notify::new(),
        }
    }
}

impl Rigged {
    /// Returns when answers are not held back.
    async fn answers(&self) {
        if self.holds_answers.load(Ordering::SeqCst) {
            self.held_answers.fetch_add(1, Ordering::SeqCst);
            while self.holds_answers.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// The error of commits that are made to fail.
    fn failure_of(&self, commit: &[Transition]) -> Option<ErrorKind> {
        if commit.is_empty() {
            return None;
        }
        let contended = commit.len() as u64 > self.fits.load(Ordering::SeqCst)
            || commit.iter().any(|one| self.held.lock().expect("not poisoned").contains(&one.task()));
        let corrupt = self.corrupt.lock().expect("not poisoned");
        if commit.iter().any(|one| corrupt.contains(&one.task())) {
            return Some(ErrorKind::Corrupt);
        }
        let too_much = self.cannot_hold.lock().expect("not poisoned");
        let bytes: usize = commit.iter().map(Transition::bytes).sum();
        let limit = too_much.is_some_and(|text| commit.iter().any(|one| carries(one, text)))
            || bytes as u64 > self.bytes_fit.load(Ordering::SeqCst);
        let contended = contended.then_some(ErrorKind::Contended);
        contended.or(limit.then_some(ErrorKind::Limit)).or(*self.fails_with.lock().expect("not poisoned"))
    }
}

/// Whether a transition carries a text: in arguments, in a result, or as progress.
fn carries(transition: &Transition, text: &str) -> bool {
    let within = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let in_result = |result: &TaskResult| within(result.as_ref().map_or(&[][..], |payload| payload.bytes()));
    let ends = matches!(transition.next(), Some(Next::End(result)) if in_result(result));
    let mut rows = transition.rows().iter();
    let starts = matches!(transition, Transition::Dispatch(_)) && rows.any(|row| within(row.args.bytes()));
    let mut rows = transition.rows().iter();
    let records =
        rows.any(|row| matches!(&row.state, NewTaskState::Done { result, .. } if in_result(result)));
    let says = |said: &Said| matches!(&said.note, Note::Progress { text: entry, .. } if entry.contains(text));
    let notes = transition.commit().map_or(&[][..], |commit| &commit.notes);
    ends || starts || records || notes.iter().any(says)
}

#[async_trait]
impl Forward for Rigged {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn info(&self) -> BackendInfo {
        let info = self.inner.info();
        let location = self.location.lock().expect("not poisoned").clone();
        BackendInfo { location: location.unwrap_or(info.location), ..info }
    }

    async fn clock(&self) -> Result<Timestamp> {
        self.clock_reads.fetch_add(1, Ordering::SeqCst);
        self.clock_read.notify_waiters();
        self.inner.clock().await
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        if self.hangs.load(Ordering::SeqCst) {
            self.hanging.fetch_add(1, Ordering::SeqCst);
            return std::future::pending().await;
        }
        if let Some(kind) = self.failure_of(commit) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(refused(kind, "exchange"));
        }
        if self.is_out.load(Ordering::SeqCst) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(refused(ErrorKind::Unavailable, "exchange"));
        }
        while !commit.is_empty() && self.holds_commits.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let day = Duration::from_hours(24);
        let late = claim.filter(|claim| claim.max > 0 && takes_one(&self.late_claims));
        let late =
            late.map(|claim| ClaimRequest { now: claim.now + day, until: claim.until + day, ..*claim });
        let claim = late.as_ref().or(claim);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.exchange_ms.load(Ordering::SeqCst))).await;
        let exchanged = self.inner.exchange(commit, claim).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        let exchanged = exchanged?;
        if !commit.is_empty() {
            self.answers().await;
        }
        self.written.fetch_add(commit.len() as u64, Ordering::SeqCst);
        Ok(exchanged)
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        if takes_one(&self.hanging_renewals) {
            return std::future::pending().await;
        }
        if takes_one(&self.failing_renewals) {
            return Err(refused(ErrorKind::Unavailable, "renew"));
        }
        let mut held = self.held.lock().expect("not poisoned").clone();
        held.extend(self.not_renewed.lock().expect("not poisoned").iter());
        let (held, free): (Vec<_>, Vec<_>) = leases.iter().partition(|lease| held.contains(&lease.task));
        let mut answers = self.inner.renew(&free, now, until).await?.into_iter();
        let answers = leases.iter().map(|lease| match held.contains(lease) {
            true => Some(Renewal::Held),
            false => answers.next(),
        });
        Ok(answers.map(|answer| answer.expect("one for each")).collect())
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.purges.lock().expect("not poisoned").push(*request);
        if takes_one(&self.failing_purges) {
            // Not an error that is retried at once.
            return Err(refused(ErrorKind::Corrupt, "purge"));
        }
        self.inner.purge(request).await
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        let completions = self.inner.completions(seen).await;
        self.looks.fetch_add(1, Ordering::SeqCst);
        completions
    }

    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let mut views = self.inner.executions(ids).await?;
        self.answers().await;
        if let Some(shown) = *self.shown.lock().await {
            views.iter_mut().for_each(|view| view.status = shown);
        }
        Ok(views)
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.list(filter, before, max).await
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.dead_letters(before, max).await
    }

    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        if self.deaf { Box::new(Deaf) } else { self.inner.listen(topic) }
    }
}

#[derive(Debug)]
struct Deaf;

#[async_trait]
impl Listener for Deaf {
    async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}
