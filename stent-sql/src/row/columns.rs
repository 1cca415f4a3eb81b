//! The columns of `stent_task`, and the lists of them that statements write and read, each in the order in which it is
//! encoded or decoded.

use crate::batch::{Column, Kind};

macro_rules! columns {
    ($($name:ident: $text:literal $kind:ident $($null:ident)?,)+) => {
        $(pub(crate) const $name: Column = Column::new($text, Kind::$kind)$(.$null())?;)+
    };
}

columns! {
    ID: "id" Id,
    EXECUTION_ID: "execution_id" Id,
    PARENT_ID: "parent_id" Id or_null,
    OWNER_ID: "owner_id" Id or_null,
    SEQ: "seq" Count,
    KIND: "kind" Text,
    LANE: "lane" Int or_null,
    QUEUE: "queue" Text,
    NAME: "name" Text,
    PRIORITY: "priority" Int,
    STATUS: "status" Text,
    EPOCH: "epoch" Count,
    TRIES: "tries" Count,
    ATTEMPTS: "attempts" Count,
    COMMIT_NO: "commit_no" Count,
    COMMIT_EPOCH: "commit_epoch" Count,
    READY_AT: "ready_at" Int or_null,
    WORKER_ID: "worker_id" Id or_null,
    DONE: "done" Count,
    WAKE_AT: "wake_at" Count or_null,
    DONE_ORDER: "done_order" Count or_null,
    FED: "fed" Count,
    TOTAL: "total" Count or_null,
    CREATED_AT: "created_at" Int,
    STARTED_AT: "started_at" Int or_null,
    ENDED_AT: "ended_at" Int or_null,
    RETRY: "retry" Text or_null,
    FAILURE: "failure" Text or_null,
    ARGS_TYPE: "args_type" Text,
    ARGS: "args" Bytes,
    RESULT_TYPE: "result_type" Text or_null,
    RESULT: "result" Bytes or_null,
}

/// What makes a [`Row`](stent_core::ledger::Row). No payloads.
pub(crate) const ROW: [Column; 20] = [
    ID,
    EXECUTION_ID,
    PARENT_ID,
    OWNER_ID,
    KIND,
    STATUS,
    EPOCH,
    TRIES,
    ATTEMPTS,
    COMMIT_NO,
    COMMIT_EPOCH,
    READY_AT,
    WORKER_ID,
    DONE,
    WAKE_AT,
    DONE_ORDER,
    FED,
    TOTAL,
    STARTED_AT,
    ENDED_AT,
];

/// What a claim reads.
pub(crate) const PICKED: [Column; 28] =
    joined(ROW, [SEQ, QUEUE, NAME, PRIORITY, CREATED_AT, RETRY, ARGS_TYPE, ARGS]);

/// What is read of a step.
pub(crate) const STEP: [Column; 25] = joined(ROW, [SEQ, NAME, FAILURE, RESULT_TYPE, RESULT]);

/// What makes an execution's view.
pub(crate) const EXECUTION: [Column; 10] =
    [ID, NAME, QUEUE, STATUS, CREATED_AT, STARTED_AT, ENDED_AT, FAILURE, RESULT_TYPE, RESULT];

/// What makes a task's view.
pub(crate) const TASK: [Column; 13] = [
    ID, PARENT_ID, SEQ, KIND, NAME, STATUS, ATTEMPTS, DONE_ORDER, FAILURE, READY_AT, CREATED_AT, STARTED_AT,
    ENDED_AT,
];

/// What makes an item's view.
pub(crate) const ITEM: [Column; 8] = [ID, SEQ, STATUS, ARGS_TYPE, ARGS, FAILURE, RESULT_TYPE, RESULT];

/// Arguments that were too large to come along.
pub(crate) const FAR_ARGS: [Column; 2] = [ID, ARGS];

/// Results that were too large to come along.
pub(crate) const FAR_RESULT: [Column; 2] = [ID, RESULT];

/// A lane.
pub(crate) const LANE_NAME: [Column; 3] =
    [Column::new("key", Kind::Int), Column::new("queue", Kind::Text), Column::new("function", Kind::Text)];

/// A stream, with its lane.
pub(crate) const STREAM: [Column; 6] = joined(
    LANE_NAME,
    [PRIORITY, Column::new("first_at", Kind::Int), Column::new("next_at", Kind::Int).or_null()],
);

/// A task and the claim that holds it.
pub(crate) const HELD: [Column; 2] = [ID, EPOCH];

/// An id.
pub(crate) const ONE_ID: [Column; 1] = [ID];

/// A moment.
pub(crate) const NOW: [Column; 1] = [Column::new("now", Kind::Int)];

/// What is written of a new task: all of it.
pub(crate) const INSERT: [Column; 32] = [
    ID,
    EXECUTION_ID,
    PARENT_ID,
    OWNER_ID,
    SEQ,
    KIND,
    LANE,
    QUEUE,
    NAME,
    PRIORITY,
    STATUS,
    EPOCH,
    TRIES,
    ATTEMPTS,
    COMMIT_NO,
    COMMIT_EPOCH,
    READY_AT,
    WORKER_ID,
    DONE,
    WAKE_AT,
    DONE_ORDER,
    FED,
    TOTAL,
    CREATED_AT,
    STARTED_AT,
    ENDED_AT,
    RETRY,
    FAILURE,
    ARGS_TYPE,
    ARGS,
    RESULT_TYPE,
    RESULT,
];

/// What changes of a task in its life, beside its result.
pub(crate) const CHANGING: [Column; 15] = [
    STATUS,
    EPOCH,
    TRIES,
    ATTEMPTS,
    COMMIT_NO,
    COMMIT_EPOCH,
    READY_AT,
    WORKER_ID,
    DONE,
    WAKE_AT,
    DONE_ORDER,
    FED,
    TOTAL,
    STARTED_AT,
    ENDED_AT,
];

/// What is written when a result is.
pub(crate) const WRITTEN: [Column; 3] = [FAILURE, RESULT_TYPE, RESULT];

/// What is written of a changed task. `written` says whether its result is.
pub(crate) const UPDATE: [Column; 20] = joined(
    joined::<1, 15, 16>([ID], CHANGING),
    joined::<1, 3, 4>([Column::new("written", Kind::Count)], WRITTEN),
);

/// What differs between claimed tasks.
pub(crate) const CLAIMING: [Column; 3] = [EPOCH, TRIES, STARTED_AT];

/// What is written of a claimed task, beside what is the same for all.
pub(crate) const CLAIM: [Column; 4] = joined([ID], CLAIMING);

/// Tasks that were given up with everything below them.
pub(crate) const SWEEP: [Column; 3] = [ID, EXECUTION_ID, Column::new("ended_at", Kind::Int)];

/// Streams to pick from.
pub(crate) const HEADS: [Column; 2] = [Column::new("lane", Kind::Int), PRIORITY];

/// Whose steps to read, and which.
pub(crate) const WANT: [Column; 3] =
    [Column::new("parent", Kind::Id), Column::new("seen", Kind::Count), Column::new("want", Kind::Count)];

const fn joined<const A: usize, const B: usize, const C: usize>(
    first: [Column; A],
    then: [Column; B],
) -> [Column; C] {
    assert!(A + B == C, "as many columns as there are");
    let mut all = [ID; C];
    let mut at = 0;
    while at < C {
        all[at] = if at < A { first[at] } else { then[at - A] };
        at += 1;
    }
    all
}
