//! Measures how long a task's code runs between two awaits. Code that blocks its thread cannot be stopped.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Code that runs this long between two awaits blocks its thread. Ten microseconds would be fine; a second is never
/// intended.
pub(crate) const BLOCKING_POLL: Duration = Duration::from_secs(1);

/// How long the polls of a task's code take.
#[derive(Debug, Default)]
pub(crate) struct PollTimer {
    /// When the current poll began, in microseconds since [`BEGUN`] plus one; 0 between polls.
    since: AtomicU64,
    /// Duration of the longest poll, in microseconds.
    longest: AtomicU64,
}

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl PollTimer {
    /// A poll of the code begins.
    pub(crate) fn begin(&self) {
        self.since.store(micros(BEGUN.elapsed()) + 1, Ordering::Relaxed);
    }

    /// The poll ends. Returns how long it took.
    pub(crate) fn end(&self) -> Duration {
        let took = self.under_way();
        self.since.store(0, Ordering::Relaxed);
        self.longest.fetch_max(micros(took), Ordering::Relaxed);
        took
    }

    /// How long the code has blocked its thread, if it has.
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
