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
    EPOCH: "epoch" Int,
    UNCOMMITTED_CLAIMS: "uncommitted_claims" Count,
    ATTEMPTS: "attempts" Count,
    COMMIT_NO: "commit_no" Count,
    COMMIT_EPOCH: "commit_epoch" Int,
    READY_AT: "ready_at" Int or_null,
    WORKER_ID: "worker_id" Id or_null,
    DONE: "done" Count,
    WAKE_THRESHOLD: "wake_threshold" Count or_null,
    DONE_ORDER: "done_order" Count or_null,
    FED: "fed" Count,
    TOTAL: "total" Count or_null,
    DIGEST: "digest" Int or_null,
    CREATED_AT: "created_at" Int,
    STARTED_AT: "started_at" Int or_null,
    ENDED_AT: "ended_at" Int or_null,
    RETRY: "retry" Text or_null,
    FAILURE: "failure" Text or_null,
    ARGS_TYPE: "args_type" Text,
    ARGS: "args" Bytes,
    RESULT_TYPE: "result_type" Text or_null,
    RESULT: "result" Bytes or_null,
    TAGS: "tags" Text or_null,
    CRASHES: "crashes" Count,
    RELEASES: "releases" Count,
    NOTED: "noted" Count,
    MARK: "mark" Text or_null,
    KEY: "key" Id or_null,
    EXPIRES_AT: "expires_at" Int or_null,
    LIMIT_KEY: "limit_key" Int or_null,
    REASON: "reason" Text or_null,
    TRACE: "trace" Text or_null,
    ENTRY_KEY: "key" Id,
    TASK_ID: "task_id" Id,
    AT: "at" Int,
    WHAT: "what" Int,
    COUNT: "count" Int or_null,
    NUMBER: "count" Int,
    VALUE_TYPE: "value_type" Text or_null,
    VALUE: "value" Bytes or_null,
    FUNCTION_KEY: "function_key" Int,
    BUCKET: "bucket" Int,
}

/// What makes a [`Row`](stent_core::ledger::Row). No payloads.
pub(crate) const ROW: [Column; 28] = [
    ID,
    EXECUTION_ID,
    PARENT_ID,
    OWNER_ID,
    KIND,
    STATUS,
    EPOCH,
    UNCOMMITTED_CLAIMS,
    ATTEMPTS,
    COMMIT_NO,
    COMMIT_EPOCH,
    READY_AT,
    WORKER_ID,
    DONE,
    WAKE_THRESHOLD,
    DONE_ORDER,
    FED,
    TOTAL,
    DIGEST,
    STARTED_AT,
    ENDED_AT,
    CRASHES,
    RELEASES,
    NOTED,
    MARK,
    KEY,
    EXPIRES_AT,
    LIMIT_KEY,
];

/// What a claim reads.
pub(crate) const PICKED: [Column; 38] =
    joined(ROW, [SEQ, QUEUE, NAME, TAGS, PRIORITY, CREATED_AT, RETRY, TRACE, ARGS_TYPE, ARGS]);

/// What is read of a step.
pub(crate) const STEP: [Column; 33] = joined(ROW, [SEQ, NAME, FAILURE, RESULT_TYPE, RESULT]);

/// What makes an execution's view.
pub(crate) const EXECUTION: [Column; 15] = [
    ID,
    NAME,
    QUEUE,
    TAGS,
    PRIORITY,
    STATUS,
    MARK,
    ATTEMPTS,
    EXPIRES_AT,
    CREATED_AT,
    STARTED_AT,
    ENDED_AT,
    FAILURE,
    RESULT_TYPE,
    RESULT,
];

/// What makes a dead letter.
pub(crate) const DEAD_LETTER: [Column; 20] = joined(EXECUTION, [RETRY, CRASHES, RELEASES, ARGS_TYPE, ARGS]);

/// What makes a task's view.
pub(crate) const TASK: [Column; 19] = [
    ID, PARENT_ID, SEQ, KIND, NAME, STATUS, MARK, ATTEMPTS, CRASHES, RELEASES, FED, TOTAL, DONE, DONE_ORDER,
    FAILURE, READY_AT, CREATED_AT, STARTED_AT, ENDED_AT,
];

/// What makes an item's view.
pub(crate) const ITEM: [Column; 8] = [ID, SEQ, STATUS, ARGS_TYPE, ARGS, FAILURE, RESULT_TYPE, RESULT];

/// What a task was called with.
pub(crate) const CALLED_WITH: [Column; 3] = [ID, ARGS_TYPE, ARGS];

/// Arguments that were too large to come along.
pub(crate) const OVERFLOW_ARGS: [Column; 2] = [ID, ARGS];

/// Results that were too large to come along.
pub(crate) const OVERFLOW_RESULT: [Column; 2] = [ID, RESULT];

/// A lane.
pub(crate) const LANE_NAME: [Column; 4] = [
    Column::new("key", Kind::Int),
    Column::new("queue", Kind::Text),
    Column::new("function", Kind::Text),
    Column::new("tags", Kind::Text),
];

/// A stream, with its lane.
pub(crate) const STREAM: [Column; 7] = joined(
    LANE_NAME,
    [PRIORITY, Column::new("first_at", Kind::Int).or_null(), Column::new("next_at", Kind::Int).or_null()],
);

/// A task and the claim that holds it.
pub(crate) const HELD: [Column; 2] = [ID, EPOCH];

/// An id.
pub(crate) const ONE_ID: [Column; 1] = [ID];

/// A key.
pub(crate) const ONE_KEY: [Column; 1] = [ENTRY_KEY];

/// The key of a lane.
pub(crate) const ONE_LANE: [Column; 1] = [Column::new("key", Kind::Int)];

/// The number of a lock.
pub(crate) const LOCK: [Column; 1] = [Column::new("lock", Kind::Int)];

/// A moment.
pub(crate) const NOW: [Column; 1] = [Column::new("now", Kind::Int)];

/// In which database a connection is, and how its transaction looks at that.
pub(crate) const HOME: [Column; 3] =
    [Column::new("home", Kind::Text), Column::new("frozen", Kind::Text), Column::new("mark", Kind::Text)];

/// What is written of a new task: all of it.
pub(crate) const INSERT: [Column; 33] = [
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
    UNCOMMITTED_CLAIMS,
    ATTEMPTS,
    COMMIT_NO,
    COMMIT_EPOCH,
    READY_AT,
    WORKER_ID,
    DONE,
    WAKE_THRESHOLD,
    DONE_ORDER,
    FED,
    TOTAL,
    DIGEST,
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

/// What few new tasks have, beside what all have: what is null or zero elsewhere.
pub(crate) const INSERT_MORE: [Column; 43] =
    joined(INSERT, [TAGS, CRASHES, RELEASES, NOTED, MARK, KEY, EXPIRES_AT, LIMIT_KEY, REASON, TRACE]);

/// What changes of a task in its life, beside its result.
pub(crate) const CHANGING: [Column; 16] = [
    STATUS,
    EPOCH,
    UNCOMMITTED_CLAIMS,
    ATTEMPTS,
    COMMIT_NO,
    COMMIT_EPOCH,
    READY_AT,
    WORKER_ID,
    DONE,
    WAKE_THRESHOLD,
    DONE_ORDER,
    FED,
    TOTAL,
    DIGEST,
    STARTED_AT,
    ENDED_AT,
];

/// What is written when a result is.
pub(crate) const WRITTEN: [Column; 3] = [FAILURE, RESULT_TYPE, RESULT];

/// What is written of a changed task. `written` says whether its result is.
pub(crate) const UPDATE: [Column; 21] = joined(
    joined::<1, 16, 17>([ID], CHANGING),
    joined::<1, 3, 4>([Column::new("written", Kind::Count)], WRITTEN),
);

/// What differs between claimed tasks.
pub(crate) const CLAIMING: [Column; 3] = [EPOCH, UNCOMMITTED_CLAIMS, STARTED_AT];

/// What is written of a claimed task, beside what is the same for all.
pub(crate) const CLAIM: [Column; 4] = joined([ID], CLAIMING);

/// What changes of few tasks in their lives.
pub(crate) const CHANGING_MORE: [Column; 6] = [CRASHES, RELEASES, NOTED, MARK, EXPIRES_AT, LIMIT_KEY];

/// What is written of a changed task that has more than most. A retry policy is written if there is one.
pub(crate) const UPDATE_MORE: [Column; 29] =
    joined(joined::<21, 6, 27>(UPDATE, CHANGING_MORE), [REASON, RETRY]);

/// What differs between claimed tasks whose function is limited, or that are taken over.
pub(crate) const CLAIMING_MORE: [Column; 5] = joined(CLAIMING, [CRASHES, LIMIT_KEY]);

/// What is written of them.
pub(crate) const CLAIM_MORE: [Column; 6] = joined([ID], CLAIMING_MORE);

/// Tasks that get the result of another.
pub(crate) const COPY: [Column; 2] = [ID, Column::new("source", Kind::Id)];

/// Executions, and when something happened to them.
pub(crate) const SINCE: [Column; 2] = [EXECUTION_ID, AT];

/// Roots, and whether there is something below them to be summed up.
pub(crate) const WHOLE: [Column; 2] = [ID, Column::new("details", Kind::Int)];

/// The next steps of a cascade.
pub(crate) const CASCADE: [Column; 3] = [WHAT, ID, AT];

/// A key entry.
pub(crate) const KEY_ENTRY: [Column; 11] = [
    ENTRY_KEY,
    KIND,
    EXECUTION_ID,
    NAME,
    Column::new("holder_id", Kind::Id).or_null(),
    Column::new("ttl", Kind::Int).or_null(),
    ENDED_AT,
    EXPIRES_AT,
    Column::new("sends", Kind::Text).or_null(),
    VALUE_TYPE,
    VALUE,
];

/// Signals that nobody has seen: the key entry, and the task that took its value.
pub(crate) const RESTORE: [Column; 2] = [ENTRY_KEY, ID];

/// A counter, a state or a line of a summary.
pub(crate) const NOTE: [Column; 6] = [EXECUTION_ID, KIND, NAME, COUNT, VALUE_TYPE, VALUE];

/// A counter to which is added to and fro.
pub(crate) const RECOUNT: [Column; 8] = [
    EXECUTION_ID,
    NAME,
    Column::new("half", Kind::Int),
    Column::new("rest", Kind::Int),
    Column::new("top", Kind::Int),
    Column::new("bottom", Kind::Int),
    Column::new("most", Kind::Int),
    Column::new("least", Kind::Int),
];

/// An entry of progress.
pub(crate) const PROGRESS: [Column; 5] = [ID, EXECUTION_ID, TASK_ID, AT, Column::new("text", Kind::Text)];

/// A claim that ended badly.
pub(crate) const ENDED_CLAIM: [Column; 9] = [
    TASK_ID,
    EPOCH,
    AT,
    EXECUTION_ID,
    WORKER_ID,
    Column::new("how", Kind::Text),
    FAILURE,
    Column::new("data_type", Kind::Text).or_null(),
    Column::new("data", Kind::Bytes).or_null(),
];

/// Tasks that are over, or are asked to end.
pub(crate) const ENDS: [Column; 7] = [WHAT, ID, EXECUTION_ID, PARENT_ID, OWNER_ID, KEY, EXPIRES_AT];

/// Limited functions, and since when what started counts.
pub(crate) const LIMITED: [Column; 2] = [FUNCTION_KEY, BUCKET];

/// What runs and what has started of a function.
pub(crate) const USAGE: [Column; 7] = [
    FUNCTION_KEY,
    Column::new("running", Kind::Int),
    Column::new("over", Kind::Int),
    Column::new("first_end", Kind::Int).or_null(),
    Column::new("started", Kind::Int),
    Column::new("first_bucket", Kind::Int).or_null(),
    Column::new("last_bucket", Kind::Int).or_null(),
];

/// What is read of a due task to tell whether there is room for it.
pub(crate) const RANKED: [Column; 4] = [ID, Column::new("lane", Kind::Int), PRIORITY, READY_AT];

/// How many tasks of a function started in a stretch of time.
pub(crate) const RATE: [Column; 3] = [FUNCTION_KEY, BUCKET, Column::new("used", Kind::Int)];

/// How many executions stand where.
pub(crate) const TALLY: [Column; 7] = [
    Column::new("pending", Kind::Int),
    Column::new("running", Kind::Int),
    Column::new("cancelling", Kind::Int),
    Column::new("completed", Kind::Int),
    Column::new("failed", Kind::Int),
    Column::new("timed_out", Kind::Int),
    Column::new("cancelled", Kind::Int),
];

/// What waits in a lane.
pub(crate) const LANE_VIEW: [Column; 7] = joined(
    LANE_NAME,
    [
        Column::new("due", Kind::Int),
        Column::new("delayed", Kind::Int),
        Column::new("oldest_due_at", Kind::Int).or_null(),
    ],
);

/// What makes the view of a task under a lease.
pub(crate) const RUNNING: [Column; 7] = [ID, EXECUTION_ID, NAME, QUEUE, WORKER_ID, READY_AT, STARTED_AT];

/// How many dead letters there are of a kind.
pub(crate) const DEAD_LETTER_STAT: [Column; 3] = [REASON, NAME, NUMBER];

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
