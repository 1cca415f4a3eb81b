//! Errors as the program reports them: a message, a hint on what to do, and an exit code.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;

use stent::{Error, StoreError, StoreErrorKind};

pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// The command did not do what was asked, or found something to report.
pub(crate) const FAILED: u8 = 1;
/// The command was called in a wrong way.
pub(crate) const USAGE: u8 = 2;
/// There is no such execution, task or dead letter.
pub(crate) const NOT_FOUND: u8 = 3;
/// The store cannot be opened or reached.
pub(crate) const UNREACHABLE: u8 = 4;
/// The command was interrupted: 128 and the number of SIGINT, as shells count.
const INTERRUPTED: u8 = 130;

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) struct Fault {
    code: u8,
    message: String,
    hints: Vec<String>,
    /// The kind of the store's error, if it is one.
    kind: Option<StoreErrorKind>,
}

impl Fault {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hints: Vec::new(), kind: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// The failure is already reported line by line, and only the exit code is left to tell.
    pub(crate) fn told(code: u8) -> Self {
        Self::new(code, "")
    }

    pub(crate) fn interrupted() -> Self {
        Self::told(INTERRUPTED)
    }

    pub(crate) fn io(error: io::Error) -> Self {
        // The reader has seen enough, as `head` does: no failure, and nobody to tell.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::told(0);
        }
        Self::new(FAILED, format!("cannot write the output: {error}"))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The fault as one of opening the store: whatever the reason, there is no store to ask.
    pub(crate) fn while_opening(mut self) -> Self {
        if self.code == FAILED {
            self.code = UNREACHABLE;
        }
        self
    }

    pub(crate) const fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The kind of the store's error, if it is one.
    pub(crate) const fn kind(&self) -> Option<StoreErrorKind> {
        self.kind
    }

    pub(crate) const fn is_interrupt(&self) -> bool {
        self.code == INTERRUPTED
    }

    /// The lines for stderr.
    pub(crate) fn report(&self) -> String {
        let mut report = String::new();
        if !self.message.is_empty() {
            let _ = writeln!(report, "error: {}", self.message);
        }
        for hint in &self.hints {
            let _ = writeln!(report, "hint: {hint}");
        }
        report
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::io(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let code = match error.kind() {
            StoreErrorKind::Unavailable => UNREACHABLE,
            _ => FAILED,
        };
        // Which method of the library failed says nothing to a person: they called the command.
        let text = error.to_string();
        let mut message = match text.split_once(": ") {
            Some((operation, rest)) if operation == error.operation() => rest.to_owned(),
            _ => text,
        };
        // Most messages already contain their cause.
        let mut cause = error.source();
        while let Some(below) = cause {
            let text = below.to_string();
            if !message.contains(&text) {
                let _ = write!(message, ": {text}");
            }
            cause = below.source();
        }
        let fault = Self { kind: Some(error.kind()), ..Self::new(code, message) };
        match error.kind() {
            StoreErrorKind::Unavailable => {
                fault.hint("check that the server runs, and that --store or STENT_STORE names it")
            }
            StoreErrorKind::Contended => fault.hint("another process holds a lock; try again"),
            _ => fault,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::NotFound(_) => Self::new(NOT_FOUND, error.to_string())
                .hint("`stent list` shows the executions of the store; check --store, too"),
            Error::Import(problem) => Self::new(FAILED, problem.to_string()).hint(problem.hint()),
            Error::Url { .. } | Error::Option { .. } | Error::Duration(_) => Self::usage(error.to_string()),
            error => Self::new(FAILED, error.to_string()),
        }
    }
}
