//! The pure core of Stent: what a durable execution *is*, and every rule about it.
//!
//! The crate refuses to do I/O: it opens no file or socket, reads no clock, draws no random number and
//! starts no task. Time, ids and chance are arguments. `cargo xtask tidy` proves it.
//!
//! ```text
//! dispatch ─ decide::start ─► Transition ─ commit ─► wake ─► Pump ─ claim ─► Claimed ─ Replay ─► Turn
//!                                  ▲                                                             │
//!                                  └────────────── commit ◄─ Transition ◄─ decide::turn ◄────────┘
//! ```
//!
//! | Module | Holds |
//! |---|---|
//! | [`model`] | tasks, steps, leases, waits, lanes, retry policies: plain data |
//! | [`transition`] | the unit of writing, and a store's answers to it |
//! | [`ledger`] | what a transition does to rows; every store that can run Rust applies it with this |
//! | [`replay`] | one task's code, checked against its recorded steps |
//! | [`import`] | the parts of an export, put together again |
//! | [`decide`] | requests, turns and crashes, turned into transitions |
//! | [`pace`] | the worker's loop as data: when to claim, renew, stop |
//! | [`backend`] | the contract of a store |

pub mod backend;
pub mod decide;
mod digest;
pub mod duration;
mod excerpt;
mod failure;
mod id;
pub mod import;
mod key;
pub mod ledger;
pub mod limits;
mod lineage;
pub mod model;
pub mod pace;
mod payload;
pub mod replay;
mod timestamp;
pub mod transition;

pub use digest::Digest;
#[doc(hidden)]
pub use failure::{ErrorType, KnownError, check_known_errors, known_failure, own as own_failure};
pub use failure::{Failure, Kind, ZERO_PICTURE};
pub use id::{ExecutionId, TaskId, WorkerId};
pub use key::{Key, canonical};
pub use lineage::Origin;
pub use payload::{Codec, CodecError, Payload};
pub use timestamp::Timestamp;
