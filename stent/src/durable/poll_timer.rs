//! How long a task's code takes between two awaits: code that blocks its thread cannot be stopped.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Code that takes so long between two awaits blocks its thread. Ten microseconds would be well, and a second is never meant.
pub(crate) const BLOCKING_POLL: Duration = Duration::from_secs(1);

/// How long the polls of one task's code take.
#[derive(Debug, Default)]
pub(crate) struct PollTimer {
    /// When the poll under way began, in microseconds since [`BEGUN`] and one; 0 while there is none.
    since: AtomicU64,
    /// How long the longest poll took, in microseconds.
    longest: AtomicU64,
}

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl PollTimer {
    /// The code is polled from now on.
    pub(crate) fn begin(&self) {
        self.since.store(micros(BEGUN.elapsed()) + 1, Ordering::Relaxed);
    }

    /// The poll is over: says how long it took.
    pub(crate) fn end(&self) -> Duration {
        let took = self.under_way();
        self.since.store(0, Ordering::Relaxed);
        self.longest.fetch_max(micros(took), Ordering::Relaxed);
        took
    }

    /// For how long the code has blocked its thread, if it has.
    pub(crate) fn blocked(&self) -> Option<Duration> {
        let longest = Duration::from_micros(self.longest.load(Ordering::Relaxed)).max(self.under_way());
        (longest >= BLOCKING_POLL).then_some(longest)
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
