//! Errors of a store: kind, operation, source.

use std::error::Error as StdError;
use std::fmt;

/// Result of a store's method.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure a store met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached, or went away in the middle.
    Unavailable,
    /// Others hold what is needed (a lock, a row); the same call may succeed soon.
    Contended,
    /// The store says that it holds something which it cannot hold.
    Corrupt,
    /// The store's schema is newer than this program, or not there.
    Schema,
    /// The options do not fit: a path, a URL, a permission.
    Config,
    /// A request was over a named limit, or holds data that the store cannot.
    Limit,
    /// A transaction of the application's is not open any more: it was ended by a statement in it, or by the database, and not
    /// by whoever was to commit it.
    Ended,
    /// A constraint or a trigger of the application's own refuses what a transaction has written.
    Rejected,
    /// The store handle was closed.
    Closed,
}

impl ErrorKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "store is unavailable",
            Self::Contended => "store is contended",
            Self::Corrupt => "store is corrupt",
            Self::Schema => "schema does not match",
            Self::Config => "configuration is invalid",
            Self::Limit => "request is over a limit",
            Self::Ended => "transaction has ended",
            Self::Rejected => "the application's database rejects it",
            Self::Closed => "store is closed",
        }
    }
}

/// A failed call. Its fate is unknown: it may have been applied. Transitions can be sent again.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    message: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind, met in an operation.
    #[must_use]
    pub const fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self { kind, operation, message: None, source: None }
    }

    /// Adds what was wrong and what to do about it.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Adds the error underneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later, without anybody doing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self.kind {
            ErrorKind::Unavailable | ErrorKind::Contended => true,
            ErrorKind::Corrupt
            | ErrorKind::Schema
            | ErrorKind::Config
            | ErrorKind::Limit
            | ErrorKind::Ended
            | ErrorKind::Rejected
            | ErrorKind::Closed => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.kind.as_str())?;
        self.message.iter().try_for_each(|message| write!(f, ": {message}"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
