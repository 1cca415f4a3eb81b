//! The parts of an execution, as plain data. Rules are elsewhere.

mod key_entry;
mod lane;
mod lease;
mod marks;
mod name;
mod note;
mod rate;
mod retry;
mod status;
mod step;
mod task;
mod wait;
mod worker;

pub use key_entry::{KeyEntry, KeyEntryKind};
pub use lane::{FunctionKey, Lane, LaneKey, Slot};
pub use lease::{Epoch, Fence, Lease, Nonce};
pub use marks::Marks;
pub use name::{split_version, versioned};
pub use note::{ClaimEnd, EndedClaim, Note, Said};
pub use rate::{IntoRate, Rate, RateError};
pub use retry::{RetryPolicy, RetryPolicyError};
pub use status::{ExecutionStatus, Mark, ParseStatusError, TaskStatus};
pub use step::{Progress, Step, StepKind, StepState};
pub use task::{Keyed, NewTask, NewTaskState, Seq, Task, TaskResult, Tree};
pub use wait::{Threshold, Wait};
pub use worker::{WorkerRecord, WorkerState};
