//! The differences between databases, one trait for each subject.
//!
//! | Trait | Says |
//! |---|---|
//! | [`Text`] | how statements are written |
//! | [`Transport`] | how rows travel: batches in, packed rows out |
//! | [`Concurrency`] | how connections and transactions begin, and how many write at once |
//! | [`Failures`] | the meaning of errors |
//! | [`Diagnosis`] | what operators should know about the database |
//!
//! No code asks which database it runs on. It asks for the property that it needs.

mod concurrency;
mod diagnosis;
mod failures;
mod text;
mod transport;

pub use concurrency::{Concurrency, Patience, Probes, Writers};
pub use diagnosis::{Diagnosis, judge_indexes};
pub use failures::Failures;
pub use text::{Text, render};
pub use transport::{Transport, len_of};

/// The properties of a database that [`SqlStore`](crate::SqlStore) needs.
pub trait Dialect: Text + Transport + Concurrency + Failures + Diagnosis {
    /// The kind of the store: `sqlite`, `postgres`.
    fn name(&self) -> &'static str;
}
