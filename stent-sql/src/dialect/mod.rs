//! The differences between databases, one trait for each subject.
//!
//! | Trait | Says |
//! |---|---|
//! | [`Text`] | how statements are written |
//! | [`Transport`] | how rows travel: batches in, packed rows out |
//! | [`Concurrency`] | how connections and transactions begin, and how many write at once |
//! | [`Failures`] | what errors mean |
//!
//! No code asks which database it runs on. It asks for the property that matters in that place.

mod concurrency;
mod failures;
mod text;
mod transport;

pub use concurrency::{Concurrency, Patience, Probes, Writers};
pub use failures::Failures;
pub use text::{Text, render};
pub use transport::{Transport, len_of};

/// What [`SqlStore`](crate::SqlStore) needs to know of a database.
pub trait Dialect: Text + Transport + Concurrency + Failures {
    /// The kind of the store: `sqlite`, `postgres`.
    fn name(&self) -> &'static str;
}
