//! What is read from a store: executions, tasks, lanes, notes and dead letters, as plain data.

pub use stent_core::backend::{
    DeadLetter, DeadLetterStat, ExecutionView, Filter, ItemView, LaneView, NotesView, ProgressView,
    RunningView, SummaryView, TaskView,
};
pub use stent_core::model::{
    ClaimEnd, EndedClaim, Lane, Mark, Progress, Seq, StepKind, TaskResult, TaskStatus,
};
