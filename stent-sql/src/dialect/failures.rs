//! The meaning of the database's errors.

use std::fmt::Debug;

use sea_orm::DbErr;
use stent_core::backend::ErrorKind;

/// Classifies errors.
pub trait Failures: Debug + Send + Sync + 'static {
    /// If `BEGIN` was refused because the connection is in a transaction already: the statement that ends that one.
    fn left_open(&self, _error: &DbErr) -> Option<&'static str> {
        None
    }

    /// Whether the session is in a bad state: its transaction changed nothing, and may succeed in another session.
    fn is_of_session(&self, _error: &DbErr) -> bool {
        false
    }

    /// Whether the transaction conflicted with another one. It was rolled back and can be retried.
    fn is_conflict(&self, _error: &DbErr) -> bool {
        false
    }

    /// The kind of an error of the store's own statements.
    fn classify(&self, error: &DbErr) -> ErrorKind;

    /// The kind of an error of the application's statements. It is `Contended` or `Unavailable` only if a retry of the
    /// transaction may succeed: after a conflict or a lost connection. It is `Limit` if the server cancelled a statement that
    /// took too long.
    fn classify_guest(&self, error: &DbErr) -> ErrorKind;

    /// The cause of an error and what to do about it, if more is known than its kind.
    fn explain(&self, error: &DbErr) -> Option<String>;
}
