//! Workers: they claim tasks, run their code, and commit the results.
//!
//! | File | Does |
//! |---|---|
//! | `builder`, `config` | starts a worker; its settings, and which of them fit |
//! | `handle`, `status` | a running worker as the application holds it, and its state for probes and people |
//! | `fleet` | the state that the workers of one `Stent` share |
//! | `drive` | the one loop of a worker: group commit, claims, renewals, drain; performs the core's `Pump` |
//! | `host`, `port` | the environment of a worker's code; the messages between turns and the loop |
//! | `turn`, `transact` | one turn of one task: polls the code against its replay until it ends, waits or continues |
//! | `crash` | kills a worker of a test, and starts it again |
//! | `rehearsal` | runs a task's code against a record, for tests: without a lease, and without running any step |
//! | `activation` | a task's code in memory, and how it is polled |
//! | `prefetch`, `cache` | tasks claimed before a slot is free; parked code kept in memory |
//! | `drop_queue` | drops code on threads that may block |
//! | `presence` | tells the store that the worker lives |
//! | `report` | reports a worker's work to hooks and to the log |
//! | `blocking`, `unrecorded`, `unknown`, `held` | warnings: functions that block their thread or await non-durable work, due work of unknown functions, tasks that other workers hold |

mod activation;
mod blocking;
mod builder;
mod cache;
mod config;
mod crash;
mod drive;
mod drop_queue;
mod fleet;
mod handle;
mod held;
mod host;
mod port;
mod prefetch;
mod presence;
pub(crate) mod rehearsal;
mod report;
mod status;
mod transact;
mod turn;
mod unknown;
mod unrecorded;

pub use self::builder::WorkerBuilder;
pub(crate) use self::crash::Switch;
pub(crate) use self::fleet::Fleet;
pub use self::handle::Worker;
pub use self::status::{StoreTrouble, WorkerStatus, WorkersOverview};
