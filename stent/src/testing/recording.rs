//! The record of one execution, as text. Replays nothing.

use std::fmt;
use std::str::FromStr;

use stent_core::ExecutionId;
use stent_core::backend::{ExecutionView, ExportRecord};

use super::replay::ReplayError;
use crate::error::Result;
use crate::stent::Stent;

/// The record of an execution: [exported](crate::Inspector::export) parts, one JSON document per line.
///
/// Parse one with [`FromStr`], or take one of a running test with [`Recording::of`] and write it to a file with
/// [`Display`](fmt::Display):
///
/// ```no_run
/// # async fn example(test: stent::testing::Testing, id: stent::ExecutionId) -> Result<(), Box<dyn std::error::Error>> {
/// use stent::testing::Recording;
///
/// let recording = Recording::of(&test.stent, id).await?;
/// std::fs::write("tests/recordings/checkout.jsonl", recording.to_string())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    parts: Vec<ExportRecord>,
}

impl Recording {
    /// Exports an execution, ended or in progress.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); store errors.
    pub async fn of(stent: &Stent, id: ExecutionId) -> Result<Self> {
        let mut export = stent.inspect().export(id);
        let mut parts = Vec::new();
        while let Some(part) = export.next().await? {
            parts.push(part);
        }
        Ok(Self { parts })
    }

    /// The parts, in the order of the export.
    #[must_use]
    pub fn parts(&self) -> &[ExportRecord] {
        &self.parts
    }

    /// The execution. `None` if the parts do not begin with it.
    pub(super) fn execution(&self) -> Option<&ExecutionView> {
        match self.parts.first() {
            Some(ExportRecord::Execution(execution)) => Some(execution),
            _ => None,
        }
    }
}

impl From<Vec<ExportRecord>> for Recording {
    fn from(parts: Vec<ExportRecord>) -> Self {
        Self { parts }
    }
}

impl FromStr for Recording {
    type Err = ReplayError;

    fn from_str(text: &str) -> Result<Self, ReplayError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let parts = lines.map(|(at, line)| {
            serde_json::from_str(line).map_err(|source| ReplayError::Unreadable {
                problem: format!("line {} is not a part of an export: {source}", at + 1),
            })
        });
        Ok(Self { parts: parts.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Recording {
    /// Writes one JSON document per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| {
            let line = serde_json::to_string(part).map_err(|_| fmt::Error)?;
            writeln!(f, "{line}")
        })
    }
}

/// The forms in which [`replay`](super::replay()) takes a recording: a [`Recording`], its text, or its parts.
pub trait IntoRecording {
    /// Parses the recording, unless it is parsed.
    ///
    /// # Errors
    /// [`ReplayError::Unreadable`].
    fn into_recording(self) -> Result<Recording, ReplayError>;
}

impl IntoRecording for Recording {
    fn into_recording(self) -> Result<Recording, ReplayError> {
        Ok(self)
    }
}

impl IntoRecording for &Recording {
    fn into_recording(self) -> Result<Recording, ReplayError> {
        Ok(self.clone())
    }
}

impl IntoRecording for &str {
    fn into_recording(self) -> Result<Recording, ReplayError> {
        self.parse()
    }
}

impl IntoRecording for String {
    fn into_recording(self) -> Result<Recording, ReplayError> {
        self.parse()
    }
}

impl IntoRecording for &String {
    fn into_recording(self) -> Result<Recording, ReplayError> {
        self.parse()
    }
}

impl IntoRecording for Vec<ExportRecord> {
    fn into_recording(self) -> Result<Recording, ReplayError> {
        Ok(self.into())
    }
}
