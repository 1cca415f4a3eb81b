//! The report of `digest` about each file, and its output.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::path::PathBytes;
use crate::runs::Items;
use crate::sha256::{self, Hashed};
use crate::walk::Entry;

/// The outcome of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The entry was hashed.
    Hashed(Hashed),
    /// The entry could not be read in any attempt.
    Unreadable(String),
}

/// The totals of all outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Files that were hashed.
    pub files: u64,
    /// Length of all of them.
    pub bytes: u64,
    /// Files and folders that could not be read.
    pub unreadable: u64,
}

impl FromIterator<Outcome> for Summary {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        outcomes.into_iter().fold(Self::default(), |summary, outcome| match outcome {
            Outcome::Hashed(Hashed { bytes, .. }) => {
                Self { files: summary.files + 1, bytes: summary.bytes + bytes, ..summary }
            }
            Outcome::Unreadable(_) => Self { unreadable: summary.unreadable + 1, ..summary },
        })
    }
}

/// Writes a line per hashed file to `out` and one per unreadable file to stderr, in the order of the items. Paths begin with
/// `root`, as `find` would print them.
///
/// # Errors
/// If the store cannot be read, or `out` cannot be written. If the reader closes `out` early, that is no error.
pub async fn write(mut items: Items<'_>, root: &Path, out: impl Write) -> Result<(), Box<dyn Error>> {
    let mut out = io::BufWriter::new(out);
    while let Some(page) = items.page().await? {
        for item in page {
            let (_, entry) = item.args.decode::<(PathBytes, Entry)>()?;
            let outcome = item.result.ok_or("the store has no outcome for a file")??.decode()?;
            let path = PathBytes::from(root.join(entry.path().as_path()));
            match outcome {
                Outcome::Unreadable(problem) => eprintln!("digest: {path:?} could not be read: {problem}"),
                Outcome::Hashed(hashed) => {
                    let written = sha256::write_line(&mut out, &hashed.sha256, path.as_bytes());
                    if is_closed(&written) {
                        return Ok(());
                    }
                    written?;
                }
            }
        }
    }
    let written = out.flush();
    if is_closed(&written) { Ok(()) } else { Ok(written?) }
}

fn is_closed(written: &io::Result<()>) -> bool {
    matches!(written, Err(error) if error.kind() == io::ErrorKind::BrokenPipe)
}
