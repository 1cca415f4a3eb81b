//! The journal: the answers that the dispatcher got from Stent, in order. An acknowledgement counts only if it is in the
//! journal.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stent::{ExecutionId, ExecutionStatus};

use crate::log::{self, Log};
use crate::moment::Moment;

/// A line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: Moment,
    /// The execution, by the number of its plan.
    pub(crate) number: u64,
    pub(crate) told: Told,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    /// The execution is about to be dispatched under this id.
    Intended(ExecutionId),
    /// Its dispatch returned `Ok`.
    Acknowledged,
    /// A request for it returned an error; `passes` is whether the error is transient.
    Refused { what: String, error: String, passes: bool },
    /// The execution is not dispatched again, and may or may not exist.
    Left,
    /// Sending its signal returned `Ok`.
    Signalled,
    /// Its cancellation returned `Ok` with this status.
    Cancelled(ExecutionStatus),
    /// The wait for its end returned.
    Ended(Answer),
}

/// An end as a waiter gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Value(u64),
    Failed(String),
    Cancelled,
    TimedOut,
}

/// The journal, as the dispatcher writes it.
#[derive(Clone, Debug)]
pub(crate) struct Journal(Log);

impl Journal {
    pub(crate) fn open(folder: &Path, life: u64) -> io::Result<Self> {
        Ok(Self(Log::open(folder, &format!("life{life:04}"))?))
    }

    /// Writes an entry. A dispatcher that cannot write must stop: later answers could not be judged.
    pub(crate) fn note(&self, number: u64, told: Told) {
        let entry = Entry { at: Moment::now(), number, told };
        let line = serde_json::to_string(&entry).unwrap_or_default();
        if let Err(error) = self.0.append(&line) {
            eprintln!("cannot write the journal: {error}");
            std::process::abort();
        }
    }
}

/// All entries, in the order of their moments.
pub(crate) fn read(folder: &Path) -> anyhow::Result<Vec<Entry>> {
    let lines = log::read(folder)?;
    let mut entries: Vec<Entry> =
        lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    entries.sort_by_key(|entry| entry.at);
    Ok(entries)
}
