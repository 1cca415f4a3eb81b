//! Retention: how long ended executions and results are kept, and their deletion.

use std::fmt;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use serde::Serialize;
use stent_core::backend::{ErrorKind, Purge, PurgeRequest};
use stent_core::duration::IntoDuration;
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::engine::Engine;
use crate::engine::poll::check_interval;
use crate::error::{Error, Result};

/// Most items to delete in one transaction.
const BATCH: u32 = 500;

/// The pause between two applications of the retention of a [`StentBuilder`](crate::StentBuilder::retention).
const EVERY: Duration = Duration::from_secs(60);

/// The longest wait before the first application. Processes of a fleet start together, and would delete the same things at the
/// same moments from then on.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// How long ended executions, their details, cached results and records of workers are kept. `None`, the default of every field, keeps them
/// forever, and so does zero: a retention is a limit, and zero means no limit. To delete something at the next run, set
/// one microsecond.
///
/// ```
/// use std::time::Duration;
/// use stent::Retention;
///
/// let week = Duration::from_secs(7 * 24 * 3600);
/// let retention = Retention::default().executions(week).dead_letters(4 * week);
/// assert!(retention.results.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Ended executions, counted from their end. Excludes dead letters.
    pub executions: Option<Duration>,
    /// Dead letters, counted from their failure.
    pub dead_letters: Option<Duration>,
    /// The steps, ended claims and progress of ended executions, counted from the execution's end. A summary stays: how
    /// many steps of each function had which status.
    pub details: Option<Duration>,
    /// Results that answer repeated calls, counted from when they were stored. Results with their own time to live are
    /// deleted when it is over.
    pub results: Option<Duration>,
    /// Records of [workers](crate::Inspector::workers) that have stopped, crashed or died, counted from when they were last seen.
    pub workers: Option<Duration>,
}

impl Retention {
    /// Sets how long ended executions are kept, counted from their end. `None` or zero keeps them.
    #[must_use]
    pub fn executions(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.executions = age.into();
        self
    }

    /// Sets how long dead letters are kept, counted from their failure. `None` or zero keeps them.
    #[must_use]
    pub fn dead_letters(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.dead_letters = age.into();
        self
    }

    /// Sets how long the details of ended executions are kept, counted from the execution's end. `None` or zero keeps
    /// them.
    #[must_use]
    pub fn details(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.details = age.into();
        self
    }

    /// Sets how long results that answer repeated calls are kept. `None` or zero keeps those without a time to live of
    /// their own.
    #[must_use]
    pub fn results(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.results = age.into();
        self
    }

    /// Sets how long the records of workers are kept that have stopped, crashed or died, counted from when they were last seen.
    /// `None` or zero keeps them.
    #[must_use]
    pub fn workers(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.workers = age.into();
        self
    }
}

/// How much was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetentionReport {
    /// Executions.
    pub executions: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Executions whose details were deleted.
    pub details: u64,
    /// Results.
    pub results: u64,
    /// Records of workers.
    pub workers: u64,
}

pub(crate) async fn apply(engine: &Engine, retention: &Retention) -> Result<RetentionReport> {
    // A kind that cannot be deleted does not hold up the others; the first error is returned at the end.
    let mut failed = None;
    let mut count = |purged: Result<u64>| {
        purged.unwrap_or_else(|error| {
            failed.get_or_insert(error);
            0
        })
    };
    // Results whose own time to live is over are deleted in any case.
    let results = limit(retention.results).unwrap_or(Duration::MAX);
    let cleaned = RetentionReport {
        executions: count(purge(engine, Purge::Executions, limit(retention.executions)).await),
        dead_letters: count(purge(engine, Purge::DeadLetters, limit(retention.dead_letters)).await),
        details: count(purge(engine, Purge::Details, limit(retention.details)).await),
        results: count(purge(engine, Purge::Results, Some(results)).await),
        workers: count(purge(engine, Purge::Workers, limit(retention.workers)).await),
    };
    match failed {
        Some(error) => Err(error),
        None => Ok(cleaned),
    }
}

/// Zero means no limit.
fn limit(age: Option<Duration>) -> Option<Duration> {
    age.filter(|age| !age.is_zero())
}

/// The age of a one-off purge. Zero is refused, because it is ambiguous: elsewhere it keeps data forever, but a purge
/// is meant to delete.
pub(crate) fn aged(age: impl IntoDuration) -> Result<Duration> {
    let age = age.into_duration()?;
    if age.is_zero() {
        let problem = "it is zero, which for retention means to keep data forever; to delete everything that has \
                       ended, use `purge_all`";
        return Err(Error::Option { option: "age", problem: problem.to_owned() });
    }
    Ok(age)
}

/// Deletes at most `max` items in one transaction.
pub(crate) async fn purge_once(engine: &Engine, what: Purge, age: Duration, max: u32) -> Result<u32> {
    let now = engine.clock.now();
    let request = PurgeRequest { what, before: now - age, max, now };
    Ok(engine.store.purge(&request).await?.count)
}

async fn purge(engine: &Engine, what: Purge, age: Option<Duration>) -> Result<u64> {
    let Some(age) = age else { return Ok(0) };
    let now = engine.clock.now();
    let request = PurgeRequest { what, before: now - age, max: BATCH, now };
    let mut all = 0;
    loop {
        let purged = engine.retrying(|| engine.store.purge(&request)).await?;
        all += u64::from(purged.count);
        if purged.count < BATCH {
            return Ok(all);
        }
    }
}

/// Applies a retention periodically: see [`Stent::start_retention`](crate::Stent::start_retention). Dropping it stops
/// that.
#[must_use = "the retention is no longer applied once this is dropped"]
pub struct RetentionTask(AbortHandle);

impl RetentionTask {
    pub(crate) fn start(engine: Arc<Engine>, retention: Retention, every: Duration) -> Result<Self> {
        check_interval("every", every, "an hour is typical")?;
        let cleaning = tokio::spawn(async move {
            tokio::time::sleep(first_after(every, chance())).await;
            while try_apply(&engine, &retention).await {
                tokio::time::sleep(every).await;
            }
        });
        Ok(Self(cleaning.abort_handle()))
    }
}

/// Applies the retention of a program in the background, for as long as something else uses the engine.
pub(crate) fn keep(engine: Weak<Engine>, retention: Retention) {
    tokio::spawn(async move {
        tokio::time::sleep(first_after(EVERY, chance())).await;
        while let Some(engine) = engine.upgrade()
            && try_apply(&engine, &retention).await
        {
            drop(engine);
            tokio::time::sleep(EVERY).await;
        }
    });
}

/// How long to wait before the first application, by chance: each process at a moment of its own.
fn first_after(every: Duration, chance: u32) -> Duration {
    every.min(FIRST_WITHIN).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

/// The end of a new id is drawn at random.
fn chance() -> u32 {
    let [.., a, b, c, d] = Uuid::now_v7().into_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Says once, in a program without a retention, that its store only grows.
pub(crate) fn hint() {
    static HINT: Once = Once::new();
    HINT.call_once(|| {
        tracing::info!(
            "this program sets no retention, so ended executions stay in the store until something deletes them; see \
             `StentBuilder::retention`"
        );
    });
}

/// Returns false once the store is closed.
async fn try_apply(engine: &Engine, retention: &Retention) -> bool {
    match apply(engine, retention).await {
        Ok(cleaned) => tracing::debug!(?cleaned, "retention applied"),
        Err(Error::Store(error)) if error.kind() == ErrorKind::Closed => return false,
        Err(error) => tracing::warn!(%error, "cannot apply the retention; retrying at the next interval"),
    }
    true
}

impl fmt::Debug for RetentionTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetentionTask").finish_non_exhaustive()
    }
}

impl Drop for RetentionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_start_together_clean_at_different_moments() {
        let first = |every: u64, chance| first_after(Duration::from_millis(every), chance);
        assert_eq!([0, u32::MAX].map(|chance| first(60_000, chance)), [Duration::ZERO, FIRST_WITHIN]);
        assert_eq!(first(100, u32::MAX), Duration::from_millis(100), "never longer than the interval");
        let middle = first(60_000, u32::MAX / 2);
        assert!(middle > FIRST_WITHIN / 3 && middle < FIRST_WITHIN * 2 / 3, "{middle:?}");
    }
}
