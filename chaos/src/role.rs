//! The roles of this program when it has started itself: worker or dispatcher. Also the parts that both have in common.
//!
//! Such a process reads lines on standard input: the disk is full, the disk is free, finish. It writes `ready` to standard
//! output. It ends with the process that started it.

use std::env;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};
use stent::prelude::*;
use tokio::sync::watch;

use crate::faults::Backend;
use crate::mutant::Mutant;
use crate::{dispatcher, worker};

/// The environment variable with the role, because everyone on the machine can read a process's arguments.
pub(crate) const TOLD: &str = "STENT_CHAOS_ROLE";
/// The line that reports that it is ready.
pub(crate) const READY: &str = "ready";

/// The role of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) part: Part,
    /// The number of this life, among the lives of all processes.
    pub(crate) life: u64,
    pub(crate) seed: u64,
    pub(crate) backend: Backend,
    pub(crate) url: String,
    /// The folder of this run's logs.
    pub(crate) folder: PathBuf,
    pub(crate) lease: Duration,
    pub(crate) mutant: Option<Mutant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    Worker,
    Dispatcher,
}

/// An order to a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Files of this process cannot grow beyond this.
    DiskFull {
        bytes: u64,
    },
    DiskFree,
    /// The dispatcher starts nothing new, and ends when everything that it started has ended.
    Finish,
}

impl Order {
    pub(crate) fn line(self) -> String {
        match self {
            Self::DiskFull { bytes } => format!("full {bytes}\n"),
            Self::DiskFree => "free\n".into(),
            Self::Finish => "finish\n".into(),
        }
    }

    fn of(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            Some(("full", bytes)) => Some(Self::DiskFull { bytes: bytes.parse().ok()? }),
            Some(_) => None,
            None => match line {
                "free" => Some(Self::DiskFree),
                "finish" => Some(Self::Finish),
                _ => None,
            },
        }
    }
}

impl Role {
    /// The role of this process, if it has one.
    pub(crate) fn told() -> Option<Result<Self>> {
        let told = env::var(TOLD).ok()?;
        Some(serde_json::from_str(&told).with_context(|| format!("{TOLD} is not a role")))
    }

    pub(crate) fn play(self) -> Result<()> {
        // Also if the parent was killed: nobody would be left to end this process, or to resume it from a pause.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A write beyond the limit then fails with an error, as on a full disk, instead of ending the process.
        let ignored = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, ignored)?;
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();

        let orders = listen();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            match self.part {
                Part::Worker => worker::work(&self).await,
                Part::Dispatcher => dispatcher::dispatch(&self, orders).await,
            }
        })
    }

    /// Connects for as long as it takes, like a service that is restarted until it is up.
    pub(crate) async fn connect(&self) -> Stent {
        loop {
            match Stent::connect(&self.url).await {
                Ok(stent) => return stent,
                Err(error) => eprintln!("cannot connect yet: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Follows orders about the disk at once, and passes on the order to finish.
fn listen() -> watch::Receiver<bool> {
    let (finish, finishing) = watch::channel(false);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let followed = match Order::of(&line) {
                Some(Order::DiskFull { bytes }) => limit_files(Some(bytes)),
                Some(Order::DiskFree) => limit_files(None),
                Some(Order::Finish) => {
                    let _ = finish.send(true);
                    Ok(())
                }
                None => Err(std::io::Error::other("unknown order")),
            };
            match followed {
                Ok(()) => println!("{line}"),
                Err(error) => eprintln!("cannot follow the order {line:?}: {error}"),
            }
        }
    });
    finishing
}

/// Simulates a full disk: the soft limit can be raised again without root.
fn limit_files(bytes: Option<u64>) -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    Ok(setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum })?)
}

/// The ledger of a run.
pub(crate) fn ledger(folder: &Path) -> PathBuf {
    folder.join("ledger")
}

/// The journal of a run.
pub(crate) fn journal(folder: &Path) -> PathBuf {
    folder.join("journal")
}

/// The log in which processes note their stalls.
pub(crate) fn stalls(folder: &Path) -> PathBuf {
    folder.join("stalls")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        for order in [Order::DiskFull { bytes: 65_536 }, Order::DiskFree, Order::Finish] {
            assert_eq!(Order::of(order.line().trim_end()), Some(order));
        }
        assert_eq!(Order::of("full of it"), None);
    }
}
