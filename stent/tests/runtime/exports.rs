//! Everything that a program names is at the root of the crate, in its prelude or in `stent::view`: nothing here comes from any
//! other path.

use stent::prelude::*;

/// All names that a program may need, by subject.
#[allow(unused_imports, reason = "that they can be named is what is shown")]
mod named {
    // The executor, and its builder.
    pub(super) use stent::{ClockSource, PollOptions, Stent, StentBuilder};
    // A durable function, its call, its options and its registry.
    pub(super) use stent::{Cached, Call, Function, FunctionOptions, LocalCall, Registry, State, durable};
    // The results of dispatches, and waits.
    pub(super) use stent::{Cancel, Dispatch, DispatchAll, Handle, ResultOf, SendSignal};
    // Results and errors; an expired wait and an unregistered function are variants.
    pub(super) use stent::{Classify, Error, Failure, Result, RetryPolicy, StoreError, StoreErrorKind};
    pub(super) use stent::{failure, fatal, install_panic_hook};
    // Statuses and views.
    pub(super) use stent::view::{ClaimEnd, DeadLetter, DeadLetterStat, EndedClaim};
    pub(super) use stent::view::{ExecutionView, Filter, LaneView, Mark, NotesView};
    pub(super) use stent::view::{
        ProgressView, RunningView, StepKind, SummaryView, TaskStatus, TaskView, WorkerRecord,
    };
    pub(super) use stent::{DeadLetters, Inspector, RetryDeadLetter};
    pub(super) use stent::{ExecutionId, ExecutionStatus, TaskId};
    // Inside a durable function.
    pub(super) use stent::{Counter, Execution, ExecutionState, Map, Outcomes, Signal, Sleep, Spawn, Step};
    pub(super) use stent::{
        Timestamp, cancelled, execution, join_all, signal, sleep, spawn, step, try_join_all,
    };
    pub(super) use stent::{now, random, random_u64, uuid};
    // A worker and its life.
    pub(super) use stent::{Rate, Retention, RetentionReport, RetentionTask, WorkersOverview};
    pub(super) use stent::{StoreTrouble, Worker, WorkerBuilder, WorkerId, WorkerState, WorkerStatus};
    // Metrics, payloads, tests.
    pub(super) use stent::{Codec, Metrics, Payload, PayloadTransform, TransformError, metrics, testing};
    #[cfg(feature = "sql")]
    pub(super) use stent::{Transaction, TransactionStep, Within, sea_orm, transaction};
}

#[durable(name = "exports.greet")]
async fn greet(name: String, State(db): State<crate::Db>) -> Result<String, String> {
    let crate::Db = db;
    Ok(format!("hello {name}"))
}

#[durable(name = "exports.greets")]
async fn greets(names: Vec<String>) -> stent::Result<Vec<String>> {
    greet::map(names).await
}

/// The names that every program uses, from the prelude alone: the attribute, a call, a state, a handle, a worker.
#[tokio::test]
async fn a_program_is_written_with_the_prelude_alone() {
    let stent: Stent = Stent::connect("memory:").await.expect("opens");
    let worker: Worker = stent.worker().state(crate::Db).start().await.expect("starts");
    let call: Call<greets> = greets(vec!["kim".to_owned(), "lee".to_owned()]);
    let run: Handle<Vec<String>> = stent.dispatch(call).await.expect("dispatched");
    assert_eq!(run.result().timeout("20s").await.expect("runs"), ["hello kim", "hello lee"]);
    worker.drain().await.expect("drains");
}

/// The return types of methods can be named without the crates that define them.
#[tokio::test]
async fn what_is_given_can_be_named() {
    let stent = named::Stent::connect("memory:").await.expect("opens");
    let id: named::ExecutionId =
        stent.dispatch(greets(Vec::new())).delay("1h").await.expect("dispatched").id();
    let view: named::ExecutionView = stent.inspect().describe(id).await.expect("known");
    let (status, created): (named::ExecutionStatus, named::Timestamp) = (view.status, view.created_at);
    let tasks: Vec<named::TaskView> = stent.inspect().timeline(id).await.expect("a timeline");
    let lanes: Vec<named::LaneView> = stent.inspect().lanes().await.expect("read");
    let letters: Vec<named::DeadLetter> = stent.dead_letters().list(None, 9).await.expect("listed");
    let overview: named::WorkersOverview = stent.workers();
    let error: named::Error = stent.wait_for(id).timeout("1ms").await.expect_err("nobody runs it");
    assert!(matches!(error, named::Error::WaitTimeout { .. }));
    assert_eq!((status, tasks[0].created_at), (named::ExecutionStatus::Pending, created));
    assert_eq!((lanes.len(), letters.len(), overview.workers.len()), (1, 0, 0));
}
