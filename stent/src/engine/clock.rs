//! The time that a process uses: the host's clock, corrected by the store's clock.
//!
//! Workers on different machines must agree on when a lease ends and what is due. A process therefore reads the store's
//! clock when it opens the store, at intervals, and soon after the store has failed, and applies the difference.
//!
//! Between these readings it uses the host's *monotonic* clock, which nobody can set. Every time the process reads the
//! time, it compares the host's wall clock with the monotonic clock. A wall clock that was set is not trusted until the
//! store's clock has been read again.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use stent_core::Timestamp;
use stent_core::backend::{Backend, ErrorKind, Result, Store};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::engine::call_timeout::CallTimeout;
use crate::engine::hooks::Hooks;
use crate::engine::skip::Skip;
use crate::metrics::ClockDrift;

/// Smaller differences are not corrected: they are within the accuracy of reading a clock over a connection.
const CORRECTION_MIN: Duration = Duration::from_millis(5);
/// Default interval at which the clocks are compared.
pub(crate) const CHECK_EVERY: Duration = Duration::from_mins(1);
/// Default drift beyond which a warning is logged.
pub(crate) const DRIFT_WARN: Duration = Duration::from_secs(1);
/// How soon after a failure of the store the clocks are compared again, so that a burst of failures causes one
/// comparison.
const DOUBT_PAUSE: Duration = Duration::from_secs(1);

/// A wall clock that deviates from the monotonic clock by this much, in microseconds, counts as set.
const STEP_MIN_US: u64 = 500_000;

/// The clock that decides when leases end and what is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClockSource {
    /// The store's clock: each process corrects its host's clock by it, so hosts need not agree. The default.
    #[default]
    Store,
    /// The host's clock, uncorrected. All hosts must then be synchronized, by NTP for example, to within less than a
    /// third of the lease. The difference from the store's clock is still measured, and a warning is logged if it is
    /// large. A host's clock that is set by more than half a second is followed only if that brings it closer to the
    /// store's clock.
    Host,
}

/// Reads the host's clock.
pub(crate) type HostClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Options of a clock.
#[derive(Clone)]
pub(crate) struct ClockOptions {
    pub(crate) source: ClockSource,
    pub(crate) drift_warn: Duration,
    pub(crate) check_every: Duration,
    pub(crate) host: Option<HostClock>,
    pub(crate) call_timeout: CallTimeout,
    /// The time that a test skips.
    pub(crate) skip: Option<Arc<Skip>>,
}

impl Default for ClockOptions {
    fn default() -> Self {
        Self {
            source: ClockSource::default(),
            drift_warn: DRIFT_WARN,
            check_every: CHECK_EVERY,
            host: None,
            call_timeout: CallTimeout::default(),
            skip: None,
        }
    }
}

impl fmt::Debug for ClockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockOptions")
            .field("source", &self.source)
            .field("drift_warn", &self.drift_warn)
            .field("check_every", &self.check_every)
            .finish_non_exhaustive()
    }
}

/// The monotonic clock plus its offset at the last comparison of the clocks.
#[derive(Debug)]
pub(crate) struct Clock {
    options: ClockOptions,
    /// The origin of all readings of the monotonic clock.
    origin: Instant,
    /// How far the time in use is ahead of the monotonic clock.
    ahead_us: AtomicI64,
    /// How far the host's wall clock was ahead of the monotonic clock at the last reading.
    host_ahead_us: AtomicI64,
    /// Notifies tasks that must know when the time steps.
    stepped: watch::Sender<()>,
    /// How far the store's clock is ahead of the host's, whether or not that is corrected.
    drift_us: AtomicI64,
    warned: AtomicBool,
    doubted: Notify,
    /// The host's wall clock was set.
    was_set: Notify,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(ClockOptions::default())
    }
}

impl Clock {
    pub(crate) fn new(options: ClockOptions) -> Self {
        let stepped = options.skip.as_ref().map_or_else(|| watch::Sender::new(()), |skip| skip.stepped());
        let clock = Self {
            options,
            origin: Instant::now(),
            ahead_us: AtomicI64::new(0),
            host_ahead_us: AtomicI64::new(0),
            stepped,
            drift_us: AtomicI64::new(0),
            warned: AtomicBool::new(false),
            doubted: Notify::new(),
            was_set: Notify::new(),
        };
        let ahead = clock.host_now().as_micros().saturating_sub(clock.elapsed_us());
        clock.ahead_us.store(ahead, Ordering::Relaxed);
        clock.host_ahead_us.store(ahead, Ordering::Relaxed);
        clock
    }

    pub(crate) fn now(&self) -> Timestamp {
        let now = self.at(self.elapsed_us(), self.host_now());
        let skipped = self.options.skip.as_ref().map_or(0, |skip| skip.ahead_us());
        Timestamp::from_micros(now.as_micros().saturating_add(skipped))
    }

    /// The time that a test skips.
    pub(crate) fn skip(&self) -> Option<Arc<Skip>> {
        self.options.skip.clone()
    }

    /// The time at this reading of the monotonic clock and of the wall clock.
    fn at(&self, elapsed: i64, host: Timestamp) -> Timestamp {
        let ahead = host.as_micros().saturating_sub(elapsed);
        if was_set(ahead, self.host_ahead_us.load(Ordering::Relaxed)) {
            self.was_set.notify_one();
        }
        Timestamp::from_micros(elapsed.saturating_add(self.ahead_us.load(Ordering::Relaxed)))
    }

    fn host_now(&self) -> Timestamp {
        self.options.host.as_ref().map_or_else(host_now, |host| host())
    }

    fn elapsed_us(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// How many microseconds the store's clock was ahead of the host's at the last comparison.
    pub(crate) fn drift_us(&self) -> i64 {
        self.drift_us.load(Ordering::Relaxed)
    }

    /// Changes when the time steps.
    pub(crate) fn steps(&self) -> watch::Receiver<()> {
        self.stepped.subscribe()
    }

    /// The store failed: its clock, or the server that answers in its place, may have changed.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Compares the clocks and corrects the time in use: to the store's clock, or to the host's if
    /// [`ClockSource::Host`] is set.
    pub(crate) async fn calibrate(&self, store: &(impl Backend + ?Sized), hooks: &Hooks) -> Result<()> {
        let before = self.elapsed_us();
        let theirs = self.options.call_timeout.bound("clock", store.clock()).await?;
        let after = self.elapsed_us();
        let host_ahead = self.host_now().as_micros().saturating_sub(after);
        let on_host = |elapsed: i64| Timestamp::from_micros(elapsed.saturating_add(host_ahead));

        let known_ahead = self.host_ahead_us.swap(host_ahead, Ordering::Relaxed);
        // The known drift refers to the host's wall clock at the last comparison.
        let known = self.drift_us().saturating_add(known_ahead).saturating_sub(host_ahead);
        let is_set = was_set(host_ahead, known_ahead);
        let known = if is_set { known } else { self.drift_us() };
        let drift = measured(on_host(before), theirs, on_host(after), known);
        self.drift_us.store(drift, Ordering::Relaxed);
        let gone_by = self.ahead_us.load(Ordering::Relaxed);
        let ahead = match self.options.source {
            ClockSource::Store => host_ahead.saturating_add(drift),
            ClockSource::Host if is_set => {
                let store_ahead = host_ahead.saturating_add(drift);
                nearer_to(store_ahead, host_ahead, gone_by)
            }
            // A step of the wall clock that was not followed once is ignored until the clock is credible again.
            ClockSource::Host if was_set(host_ahead, gone_by) => gone_by,
            ClockSource::Host => host_ahead,
        };
        self.ahead_us.store(ahead, Ordering::Relaxed);
        let slack = i64::try_from(CORRECTION_MIN.as_micros()).unwrap_or(i64::MAX);
        if is_set || ahead.abs_diff(gone_by) > slack.unsigned_abs() {
            self.stepped.send_replace(());
        }
        if is_set {
            tracing::warn!(
                by_us = host_ahead.saturating_sub(known_ahead),
                "this host's clock was set to another time; this process used the monotonic clock until it \
                 had read the store's clock"
            );
        }
        let uncertainty = Duration::from_micros(after.saturating_sub(before).unsigned_abs());
        hooks.tell(|metrics| metrics.clock_drift(&ClockDrift { ahead_us: drift, uncertainty }));
        self.warn(drift);
        Ok(())
    }

    fn warn(&self, drift_us: i64) {
        let drift = Duration::from_micros(drift_us.unsigned_abs());
        if drift <= self.options.drift_warn || self.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let direction = if drift_us > 0 { "behind" } else { "ahead of" };
        match self.options.source {
            ClockSource::Store => tracing::warn!(
                drift_us,
                "this host's clock is {drift:?} {direction} the store's clock; Stent corrects for this, but other \
                 programs and logs do not; set the clock right"
            ),
            ClockSource::Host => tracing::warn!(
                drift_us,
                "this host's clock is {drift:?} {direction} the store's clock, and leases depend on it; set the \
                 clock right, or use ClockSource::Store"
            ),
        }
    }
}

/// Whether the host's wall clock was set, judged by its current and its previous offset from the monotonic clock.
const fn was_set(ahead_us: i64, known_us: i64) -> bool {
    ahead_us.abs_diff(known_us) > STEP_MIN_US
}

/// The one of two values that is closer to a third.
const fn nearer_to(aim: i64, one: i64, other: i64) -> i64 {
    if aim.abs_diff(one) <= aim.abs_diff(other) { one } else { other }
}

/// How far the store's clock is ahead, in microseconds, if it was read at some time between `before` and `after`.
///
/// The known value stays as long as it may still be correct, because a slow answer is less precise than an earlier
/// quick one.
fn measured(before: Timestamp, theirs: Timestamp, after: Timestamp, known: i64) -> i64 {
    let slack = i64::try_from(CORRECTION_MIN.as_micros()).unwrap_or(i64::MAX);
    let least = theirs.as_micros().saturating_sub(after.as_micros());
    let most = theirs.as_micros().saturating_sub(before.as_micros());
    if (least.saturating_sub(slack)..=most.saturating_add(slack)).contains(&known) {
        return known;
    }
    least.midpoint(most)
}

/// Compares the clocks until it is dropped.
#[derive(Debug)]
pub(crate) struct Calibrator(AbortHandle);

impl Calibrator {
    pub(crate) fn start(clock: &Arc<Clock>, store: &Arc<dyn Store>, hooks: Hooks) -> Self {
        let (clock, store) = (Arc::downgrade(clock), Arc::downgrade(store));
        Self(tokio::spawn(compare(clock, store, hooks)).abort_handle())
    }
}

impl Drop for Calibrator {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn compare(clock: Weak<Clock>, store: Weak<dyn Store>, hooks: Hooks) {
    let mut doubted = false;
    loop {
        let Some(held) = clock.upgrade() else { return };
        if doubted {
            tokio::time::sleep(DOUBT_PAUSE).await;
        } else {
            tokio::select! {
                // At once: until the comparison, the time is not known.
                () = held.was_set.notified() => {}
                () = held.doubted.notified() => {
                    doubted = true;
                    continue;
                }
                () = tokio::time::sleep(held.options.check_every) => {}
            }
        }
        let Some(store) = store.upgrade() else { return };
        match held.calibrate(&*store, &hooks).await {
            Ok(()) => doubted = false,
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                hooks.store_failed(&error);
                tracing::debug!(%error, "cannot read the store's clock; retrying");
                doubted = true;
            }
        }
    }
}

fn host_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000;

    fn t(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * MS)
    }

    #[test]
    fn the_store_is_taken_to_have_been_read_in_the_middle_of_the_call() {
        assert_eq!(measured(t(0), t(90_010), t(20), 0), 90_000 * MS);
        assert_eq!(measured(t(0), t(-89_990), t(20), 0), -90_000 * MS);
    }

    const T0: i64 = 1_800_000_000_000_000;
    const HOUR: i64 = 3_600_000_000;

    fn clock(source: ClockSource) -> Clock {
        let clock = Clock::new(ClockOptions { source, ..ClockOptions::default() });
        clock.ahead_us.store(T0, Ordering::Relaxed);
        clock.host_ahead_us.store(T0, Ordering::Relaxed);
        clock
    }

    /// Whether the store's clock must be read at once.
    fn asks(clock: &Clock) -> bool {
        use futures::FutureExt as _;
        clock.was_set.notified().now_or_never().is_some()
    }

    #[test]
    fn a_host_clock_that_is_set_is_not_followed_and_the_store_is_asked() {
        for source in [ClockSource::Store, ClockSource::Host] {
            for step in [HOUR, -HOUR, 600 * MS] {
                let clock = clock(source);
                let host = Timestamp::from_micros(T0 + 10_000 * MS + step);
                assert_eq!(
                    clock.at(10_000 * MS, host),
                    Timestamp::from_micros(T0 + 10_000 * MS),
                    "{source:?} {step}"
                );
                assert!(asks(&clock));
            }
        }
    }

    #[test]
    fn a_host_clock_that_goes_by_itself_asks_nobody() {
        let clock = clock(ClockSource::Store);
        let host = Timestamp::from_micros(T0 + 60_400 * MS);
        assert_eq!(clock.at(60_000 * MS, host), Timestamp::from_micros(T0 + 60_000 * MS));
        assert!(!asks(&clock));
    }

    #[test]
    fn a_host_that_was_set_is_followed_where_that_brings_it_nearer_to_the_store() {
        assert_eq!(nearer_to(10, HOUR, 0), 0);
        assert_eq!(nearer_to(HOUR + 10, HOUR, 0), HOUR);
    }

    #[test]
    fn small_differences_are_no_drift() {
        assert_eq!(measured(t(100), t(104), t(100), 0), 0);
    }

    #[test]
    fn a_slow_answer_does_not_undo_what_a_quick_one_told() {
        let known = 3_000 * MS;
        assert_eq!(measured(t(0), t(3_000), t(5_000), known), known);
        assert_eq!(measured(t(0), t(3_000), t(5_000), 0), 0);
        assert_eq!(measured(t(0), t(9_000), t(5_000), known), 6_500 * MS);
    }
}
