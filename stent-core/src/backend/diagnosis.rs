//! Findings of a store that examines itself, for operators.

use std::fmt;

use serde::Serialize;

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Work goes on, but someone should look at it: it is slower than it could be, or a crash could lose something.
    Warning,
    /// Work stands still or is lost, or soon will be.
    Problem,
}

impl Verdict {
    /// The verdict as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of one check of a store: see [`Inspect::diagnose`](super::Inspect::diagnose).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The name of the check, such as `indexes`. Names are stable, because monitors look for them.
    pub check: String,
    /// How bad it is.
    pub verdict: Verdict,
    /// The observation, in words.
    pub what: String,
    /// The remedy; empty if nothing is to be done.
    pub remedy: String,
}

impl Finding {
    /// A check that found nothing wrong.
    #[must_use]
    pub fn ok(check: impl Into<String>, what: impl Into<String>) -> Self {
        let (check, what) = (check.into(), what.into());
        Self { check, verdict: Verdict::Ok, what, remedy: String::new() }
    }

    /// A check that found something to look at, with the remedy.
    #[must_use]
    pub fn warning(check: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (check, what, remedy) = (check.into(), what.into(), remedy.into());
        Self { check, verdict: Verdict::Warning, what, remedy }
    }

    /// A check that found a problem, with the remedy.
    #[must_use]
    pub fn problem(check: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (check, what, remedy) = (check.into(), what.into(), remedy.into());
        Self { check, verdict: Verdict::Problem, what, remedy }
    }
}
