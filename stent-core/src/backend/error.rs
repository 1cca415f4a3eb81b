//! Errors of a store: kind, operation, source.

use std::error::Error as StdError;
use std::fmt;

/// The result of a store's method.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of a store's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached, or the connection was lost in the middle.
    Unavailable,
    /// Others hold a lock or a row that the call needs; the same call may succeed soon.
    Contended,
    /// The store contains data that it cannot contain.
    Corrupt,
    /// The store's schema is newer than this program, or does not exist.
    Schema,
    /// The options are invalid: a path, a URL, a permission.
    Config,
    /// A request was over a named limit, or contains data that the store cannot hold.
    Limit,
    /// A transaction of the application is no longer open: a statement in it or the database ended it, instead of the code that
    /// was to commit it.
    Ended,
    /// A constraint or a trigger of the application rejects the transaction's writes.
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

    /// The stable code of the errors of this kind, such as `stent::store::Contended`. The guide has an index of all codes.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unavailable => "stent::store::Unavailable",
            Self::Contended => "stent::store::Contended",
            Self::Corrupt => "stent::store::Corrupt",
            Self::Schema => "stent::store::Schema",
            Self::Config => "stent::store::Config",
            Self::Limit => "stent::store::Limit",
            Self::Ended => "stent::store::Ended",
            Self::Rejected => "stent::store::Rejected",
            Self::Closed => "stent::store::Closed",
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
    /// An error of a kind, in an operation.
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

    /// The kind of the failure.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The stable code of its kind, with which its text ends.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The operation that failed, in a word: `exchange`, `renew`, `list`.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// Whether the same call may succeed later without intervention.
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

/// Shows the operation, the kind, the message, and the code in brackets. `{:#}` leaves out the code, for a text inside another
/// error.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.kind.as_str())?;
        self.message.iter().try_for_each(|message| write!(f, ": {message}"))?;
        if f.alternate() { Ok(()) } else { write!(f, " [{}]", self.code()) }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_ends_with_its_code_except_inside_another_error() {
        let error = Error::new(ErrorKind::Contended, "claim").with_message("somebody writes");
        assert_eq!(error.to_string(), "claim: store is contended: somebody writes [stent::store::Contended]");
        assert_eq!(format!("{error:#}"), "claim: store is contended: somebody writes");
    }
}
