//! What an execution is made of, as plain data. Rules live elsewhere.

mod lane;
mod lease;
mod retry;
mod status;
mod step;
mod task;
mod wait;

pub use lane::{Lane, LaneKey};
pub use lease::{Epoch, Fence, Lease};
pub use retry::RetryPolicy;
pub use status::{ExecutionStatus, ParseStatusError, TaskStatus};
pub use step::{Progress, Step, StepKind, StepState};
pub use task::{NewTask, NewTaskState, Seq, Task, TaskResult, Tree};
pub use wait::{Threshold, Wait};
