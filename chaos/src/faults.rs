//! Faults and their times, drawn from the seed before anything is started.
//!
//! Faults come in *bouts* of two at a time. Between bouts there is calm, in which a healthy store must answer. Every kind of
//! fault of a backend occurs about equally often, because the kinds are dealt like cards.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::Chance;

/// The number of worker processes.
pub(crate) const WORKERS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
    Redis,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        })
    }
}

/// The process on which a fault is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    Worker(usize),
    Dispatcher,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(number) => write!(f, "worker {number}"),
            Self::Dispatcher => f.write_str("the dispatcher"),
        }
    }
}

/// A temporary fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// SIGKILL, and a new process.
    Kill(Target),
    /// SIGSTOP for longer than a lease, then SIGCONT.
    Pause(Target, Duration),
    /// SIGTERM, on which a worker drains, and a new process.
    Drain(Target),
    /// `pg_ctl stop --mode immediate`, or SIGKILL for a Redis server, and a start.
    Restart(Duration),
    /// The server ends every connection of the store's user.
    Terminate,
    /// The user's sessions are read-only, including open ones. A Redis server becomes a replica.
    ReadOnly(Duration),
    /// SIGSTOP for the server, then SIGCONT: it then runs commands whose senders have given up.
    Freeze(Duration),
    /// The server has no memory for writes.
    FillMemory(Duration),
    /// Another session locks rows of running tasks.
    LockRows(Duration),
    /// Another process holds the only write lock of the file.
    LockFile(Duration),
    /// Files cannot grow beyond this many bytes, in every process.
    FillDisk(Duration, u64),
}

/// The kinds of [`Fault`], by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Kill,
    Pause,
    Drain,
    Restart,
    Terminate,
    ReadOnly,
    Freeze,
    FillMemory,
    LockRows,
    LockFile,
    FillDisk,
}

impl Kind {
    pub(crate) const fn all(backend: Backend) -> &'static [Self] {
        match backend {
            Backend::Sqlite => &[Self::Kill, Self::Pause, Self::Drain, Self::LockFile, Self::FillDisk],
            Backend::Postgres => &[
                Self::Kill,
                Self::Pause,
                Self::Drain,
                Self::Restart,
                Self::Terminate,
                Self::ReadOnly,
                Self::LockRows,
            ],
            Backend::Redis => &[
                Self::Kill,
                Self::Pause,
                Self::Drain,
                Self::Restart,
                Self::Terminate,
                Self::ReadOnly,
                Self::Freeze,
                Self::FillMemory,
            ],
        }
    }

    /// Faults of the same group are not played at the same time: they would undo each other.
    const fn group(self) -> u8 {
        match self {
            Self::Kill | Self::Pause | Self::Drain => 0,
            // A server that stands still cannot be told to do anything else.
            Self::Restart | Self::Terminate | Self::ReadOnly | Self::Freeze => 1,
            Self::LockRows => 2,
            Self::LockFile => 3,
            Self::FillDisk => 4,
            Self::FillMemory => 5,
        }
    }

    fn draw(self, chance: &mut Chance, lease: Duration) -> Fault {
        let lease = lease.as_millis() as u64;
        // Mostly shorter than a lease can bear, so that nothing excuses a repeated effect; sometimes longer.
        let short = 300..lease / 4;
        let long = if chance.one_in(3) { lease + 500..lease * 3 / 2 } else { short.clone() };
        let mut millis = |range| Duration::from_millis(chance.within(range));
        match self {
            Self::Pause => {
                let duration = millis(lease + 1_000..lease + 3_000);
                Fault::Pause(target(chance), duration)
            }
            Self::Restart => Fault::Restart(millis(100..lease / 8)),
            Self::ReadOnly => Fault::ReadOnly(millis(short)),
            Self::Freeze => Fault::Freeze(millis(long)),
            Self::FillMemory => Fault::FillMemory(millis(short)),
            Self::LockRows => Fault::LockRows(millis(long)),
            Self::LockFile => Fault::LockFile(millis(long)),
            Self::FillDisk => {
                let duration = millis(short);
                Fault::FillDisk(duration, if chance.one_in(2) { DISK_MIN } else { DISK_MIN * 4 })
            }
            Self::Kill => Fault::Kill(target(chance)),
            Self::Drain => Fault::Drain(Target::Worker(chance.within(0..WORKERS as u64) as usize)),
            Self::Terminate => Fault::Terminate,
        }
    }
}

/// The smallest full disk, in bytes: far above the size of our logs, and below any store in use.
pub(crate) const DISK_MIN: u64 = 64 * 1024;

fn target(chance: &mut Chance) -> Target {
    match chance.within(0..WORKERS as u64 + 1) as usize {
        WORKERS => Target::Dispatcher,
        number => Target::Worker(number),
    }
}

impl Fault {
    const fn kind(self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::Pause(..) => Kind::Pause,
            Self::Drain(_) => Kind::Drain,
            Self::Restart(_) => Kind::Restart,
            Self::Terminate => Kind::Terminate,
            Self::ReadOnly(_) => Kind::ReadOnly,
            Self::Freeze(_) => Kind::Freeze,
            Self::FillMemory(_) => Kind::FillMemory,
            Self::LockRows(_) => Kind::LockRows,
            Self::LockFile(_) => Kind::LockFile,
            Self::FillDisk(..) => Kind::FillDisk,
        }
    }

    const fn target(self) -> Option<Target> {
        match self {
            Self::Kill(target) | Self::Pause(target, _) | Self::Drain(target) => Some(target),
            _ => None,
        }
    }

    const fn lasts(self) -> Duration {
        match self {
            Self::Pause(_, duration)
            | Self::Restart(duration)
            | Self::ReadOnly(duration)
            | Self::Freeze(duration)
            | Self::FillMemory(duration)
            | Self::LockRows(duration)
            | Self::LockFile(duration)
            | Self::FillDisk(duration, _) => duration,
            // A drain takes its grace period.
            Self::Drain(_) => Duration::from_secs(1),
            Self::Kill(_) | Self::Terminate => Duration::ZERO,
        }
    }

    fn fits_beside(self, other: Self) -> bool {
        let are_apart = self.kind().group() != other.kind().group();
        are_apart || (self.target().is_some() && self.target() != other.target())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |duration: &Duration| format!("{:.1} s", duration.as_secs_f64());
        match self {
            Self::Kill(target) => write!(f, "SIGKILL for {target}"),
            Self::Pause(target, duration) => write!(f, "SIGSTOP for {target}, {}", seconds(duration)),
            Self::Drain(target) => write!(f, "{target} drains"),
            Self::Restart(duration) => {
                write!(f, "the server is stopped, and started after {}", seconds(duration))
            }
            Self::Terminate => f.write_str("all connections are ended"),
            Self::ReadOnly(duration) => write!(f, "sessions are read-only, {}", seconds(duration)),
            Self::Freeze(duration) => write!(f, "SIGSTOP for the server, {}", seconds(duration)),
            Self::FillMemory(duration) => {
                write!(f, "the memory of the server is full, {}", seconds(duration))
            }
            Self::LockRows(duration) => write!(f, "rows of running tasks are locked, {}", seconds(duration)),
            Self::LockFile(duration) => write!(f, "the write lock is held, {}", seconds(duration)),
            Self::FillDisk(duration, bytes) => {
                write!(f, "the disk is full beyond {} KiB, {}", bytes / 1024, seconds(duration))
            }
        }
    }
}

/// A fault, and when it begins after the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// Draws the faults of a run of this length, from these kinds.
pub(crate) fn schedule(seed: u64, kinds: &[Kind], lease: Duration, takes: Duration) -> Vec<Planned> {
    /// Separates this random stream from those of plans, whose subjects are their numbers.
    const SUBJECT: u64 = u64::MAX;
    let mut chance = Chance::of(seed, SUBJECT);
    let (mut planned, mut deck) = (Vec::new(), Vec::new());
    // By then, executions are running.
    let mut at = Duration::from_secs(3);
    if kinds.is_empty() {
        return planned;
    }
    loop {
        let mut bout: Vec<Planned> = Vec::new();
        let mut put_off = Vec::new();
        while bout.len() < 2 && put_off.len() <= kinds.len() {
            let kind = deck.pop().unwrap_or_else(|| {
                deck = kinds.to_vec();
                chance.shuffle(&mut deck);
                deck.pop().unwrap_or(Kind::Kill)
            });
            let fault = kind.draw(&mut chance, lease);
            if bout.iter().all(|other| fault.fits_beside(other.fault)) {
                let jitter = Duration::from_millis(chance.within(0..700));
                bout.push(Planned { at: at + jitter, fault });
            } else {
                put_off.push(kind);
            }
        }
        deck.extend(put_off);
        let over = bout.iter().map(|planned| planned.at + planned.fault.lasts()).max().unwrap_or(at);
        if over + CALM_MIN > takes {
            return planned;
        }
        planned.extend(bout);
        at = over + CALM_MIN + Duration::from_millis(chance.within(0..1_500));
    }
}

/// The shortest calm between two bouts.
const CALM_MIN: Duration = Duration::from_millis(2_000);

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(6);

    #[test]
    fn a_seed_gives_the_same_schedule_and_a_minute_has_every_kind() {
        for backend in [Backend::Sqlite, Backend::Postgres, Backend::Redis] {
            let kinds = Kind::all(backend);
            let drawn = |seed| schedule(seed, kinds, LEASE, Duration::from_secs(60));
            assert_eq!(drawn(1), drawn(1));
            assert_ne!(drawn(1), drawn(2));
            for seed in 0..50 {
                let faults = drawn(seed);
                for kind in kinds {
                    let played = faults.iter().any(|planned| planned.fault.kind() == *kind);
                    assert!(played, "{kind:?} under seed {seed}: {faults:#?}");
                }
            }
        }
    }

    #[test]
    fn two_come_at_once_and_nothing_lasts_beyond_the_end() {
        for seed in 0..50 {
            let faults = schedule(seed, Kind::all(Backend::Postgres), LEASE, Duration::from_secs(120));
            assert!(faults.len() >= 16 && faults.len().is_multiple_of(2), "{}", faults.len());
            for pair in faults.chunks(2) {
                assert!(pair[0].fault.fits_beside(pair[1].fault), "{pair:?}");
                assert!(
                    pair.iter().all(|planned| planned.at + planned.fault.lasts() < Duration::from_secs(120))
                );
            }
        }
    }
}
