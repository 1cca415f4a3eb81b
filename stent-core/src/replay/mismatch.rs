//! Code that asks for something other than its record has.

use std::fmt;

use super::Ask;
use crate::model::{Seq, Step, StepKind, split_version};
use crate::{Failure, own_failure};

/// The code and its record disagree. Nothing is appended to such a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The position.
    pub seq: Seq,
    /// What the record has there.
    pub recorded: String,
    /// What the code asks for; none if it ended without asking.
    pub asked: Option<String>,
    /// Where in the source it asks.
    pub location: Option<String>,
}

impl Mismatch {
    pub(super) fn between(step: &Step, ask: &Ask) -> Option<Self> {
        // Another version of a function is the same step: what was recorded stands, what is open goes on as it was asked for.
        let same_name = match ask.kind {
            StepKind::Call | StepKind::Map | StepKind::Gather => {
                split_version(&step.name).0 == split_version(&ask.name).0
            }
            _ => step.name == ask.name,
        };
        let same = step.kind == ask.kind && same_name;
        (!same).then(|| Self {
            seq: step.seq,
            recorded: step.described(),
            asked: Some(format!("{} `{}`", ask.kind, ask.name)),
            location: Some(ask.location.to_string()),
        })
    }

    pub(super) fn never_asked(step: &Step) -> Self {
        Self { seq: step.seq, recorded: step.described(), asked: None, location: None }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the code does not match its record at step {}", self.seq)?;
        writeln!(f, "  - recorded: {}", self.recorded)?;
        match &self.asked {
            Some(asked) => write!(f, "  + the code:  {asked}")?,
            None => write!(f, "  + the code:  ended without this step")?,
        }
        if let Some(location) = &self.location {
            write!(f, "\n    at {location}")?;
        }
        write!(
            f,
            "\nThe function was changed while this execution was under way, or it takes its way by something that is not \
             recorded (the clock, chance, a hash map's order, tokio's unbiased select!)."
        )
    }
}

impl From<&Mismatch> for Failure {
    fn from(mismatch: &Mismatch) -> Self {
        own_failure(Self::MISMATCH, mismatch.to_string()).fatal()
    }
}
