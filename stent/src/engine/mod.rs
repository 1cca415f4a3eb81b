//! What every part of a `Stent` shares: the store, and how it is written to and listened to.

pub(crate) mod ambient;
pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod ears;
pub(crate) mod expire;
pub(crate) mod hooks;
pub(crate) mod ids;
pub(crate) mod patience;
pub(crate) mod poll;
pub(crate) mod transform;
pub(crate) mod waiters;
pub(crate) mod writer;
