//! What differs between databases, by what it is about.
//!
//! | Trait | Says |
//! |---|---|
//! | [`Text`] | how statements are written |
//! | [`Transport`] | how rows travel: batches in, packed rows out |
//! | [`Concurrency`] | how connections and transactions begin, and how many write at once |
//! | [`Failures`] | what errors mean |
//!
//! Nothing asks which database it is: each question is about the property that matters where it is asked.

mod concurrency;
mod failures;
mod text;
mod transport;

pub use concurrency::{Concurrency, Patience, Probes, Writers};
pub use failures::Failures;
pub use text::{Text, render};
pub use transport::{Transport, len_of};

/// A database, as far as [`SqlStore`](crate::SqlStore) must know it.
pub trait Dialect: Text + Transport + Concurrency + Failures {
    /// The kind of store, as in `sqlite`.
    fn name(&self) -> &'static str;
}
