//! Data that is read from a store: executions, tasks, lanes, notes, dead letters and workers, as plain data.

pub use stent_core::backend::{
    DeadLetter, DeadLetterStat, ExecutionView, ExportRecord, ExportedRow, Filter, Finding, ItemView,
    LaneView, NotesView, ProgressView, RunningView, SummaryView, TaskView, Verdict,
};
pub use stent_core::model::{
    ClaimEnd, EndedClaim, Lane, Mark, Marks, Progress, Seq, StepKind, TaskResult, TaskStatus, WorkerRecord,
};
