//! Stent's Redis backend.

mod apply;
mod claim;
mod error;
mod hints;
mod index;
mod inspect;
mod journal;
mod keys;
mod link;
mod load;
mod lost;
mod options;
mod purge;
mod recent;
mod row;
mod server;
mod store;
mod worker;

pub use hints::RedisHints;
pub use options::{Durability, RedisOptions};
pub use store::RedisStore;
