//! Functions that block their thread: noticed by how long their code takes between two awaits. A thread that is blocked runs no
//! other turns, and code on it cannot be stopped when its lease has run out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Code that takes so long between two awaits blocks its thread. Ten microseconds would be well, and a second is never meant.
pub(super) const BLOCKS_FROM: Duration = Duration::from_secs(1);

/// The functions of one `Stent` that were warned of. There are at most as many as are registered.
#[derive(Debug, Default)]
pub(crate) struct Blocking {
    warned: Mutex<BTreeSet<String>>,
}

impl Blocking {
    /// A function's code was polled for so long: says once what that means, if it is too long.
    pub(super) fn polled(&self, function: &str, took: Duration) {
        if took < BLOCKS_FROM {
            return;
        }
        let is_new = self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(function.to_owned());
        if is_new {
            tracing::warn!(
                function,
                ?took,
                "`{function}` blocked its thread for {took:?}: meanwhile other functions wait, leases may expire, \
                 and `{function}` cannot be stopped when its own lease expires, so two attempts may run at the same \
                 time; move blocking code to tokio::task::spawn_blocking (logged once per function)"
            );
        }
    }
}

/// What is known of how long a task's code takes between two awaits.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// When the poll under way began, in microseconds since [`BEGUN`] and one; 0 while there is none.
    since: AtomicU64,
    /// How long the longest poll took, in microseconds.
    longest: AtomicU64,
}

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Pulse {
    /// The code is polled from now on.
    pub(super) fn begin(&self) {
        self.since.store(micros(BEGUN.elapsed()) + 1, Ordering::Relaxed);
    }

    /// The poll is over: says how long it took.
    pub(super) fn end(&self) -> Duration {
        let took = self.under_way();
        self.since.store(0, Ordering::Relaxed);
        self.longest.fetch_max(micros(took), Ordering::Relaxed);
        took
    }

    /// For how long the code has blocked its thread, if it has.
    pub(super) fn blocked(&self) -> Option<Duration> {
        let longest = Duration::from_micros(self.longest.load(Ordering::Relaxed)).max(self.under_way());
        (longest >= BLOCKS_FROM).then_some(longest)
    }

    fn under_way(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => BEGUN.elapsed().saturating_sub(Duration::from_micros(since - 1)),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
