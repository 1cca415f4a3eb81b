//! What errors of the database mean.

use std::fmt::Debug;

use sea_orm::DbErr;
use stent_core::backend::ErrorKind;

/// What errors mean.
pub trait Failures: Debug + Send + Sync + 'static {
    /// What ends the transaction that a connection was left in, if an error says that `BEGIN` was refused for one.
    fn left_open(&self, _error: &DbErr) -> Option<&'static str> {
        None
    }

    /// Whether an error says that the session is in a bad state: nothing of its transaction stands, and the same may go well in
    /// another session.
    fn is_of_session(&self, _error: &DbErr) -> bool {
        false
    }

    /// Whether an error says that the transaction met another one: it was rolled back, and may be run again.
    fn is_conflict(&self, _error: &DbErr) -> bool {
        false
    }

    /// What kind of failure an error is.
    fn classify(&self, error: &DbErr) -> ErrorKind;

    /// What kind of failure an error is that the application's own code has met in a transaction. It is `Contended` or
    /// `Unavailable` only if the database says that the same transaction may succeed if it is made again: it met another one,
    /// or its connection was lost. It is `Limit` if the server has ended a statement for the time that it took.
    fn classify_guest(&self, error: &DbErr) -> ErrorKind;

    /// What was wrong and what to do about it, where more can be said than the kind.
    fn explain(&self, error: &DbErr) -> Option<String>;
}
