//! `stent_task`: one row per task. A root's row is its execution; a step's row is its parent's record of it.
//!
//! A new column is a line in the table, and a line for its value: in [`Row`], or in the constant part.

use stent_core::backend::Result;
use stent_core::ledger::{Insert, Row, Update, Written};
use stent_core::model::{Epoch, Lane, LaneKey, Marks, RetryPolicy, Seq, Slot, StepKind, TaskStatus, Tree};
use stent_core::{Digest, ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};
use uuid::Uuid;

use super::task;
use crate::batch::{Batch, Cell, Column};
use crate::row::cell::{Encode, Json, Tags};
use crate::row::shape::{Columns, Read, Shape, Write, batch, begins_with, find, is_same, rows};
use crate::row::{Reader, failure, tags};

super::table! { "stent_task" {
    /// Version 7, so it sorts by age. A root has the id of its execution.
    ID "id": TaskId,
    /// The execution that it belongs to.
    EXECUTION_ID "execution_id": ExecutionId,
    /// The task that counts its end; none for a root.
    PARENT_ID "parent_id": Option<TaskId>,
    /// For an item of a map, the task that contains the map.
    OWNER_ID "owner_id": Option<TaskId>,
    /// Its position in the parent.
    SEQ "seq": Seq,
    KIND "kind": StepKind,
    /// The lane that it waits in; null for kinds that no worker claims.
    LANE "lane": Option<LaneKey>,
    /// Empty for kinds that no worker claims.
    QUEUE "queue": String,
    /// The function, or the step's name.
    NAME "name": String,
    /// Higher runs first.
    PRIORITY "priority": i16,
    STATUS "status": TaskStatus,
    /// Its last claim: the number of claims, times 2³¹, plus the nonce of the last claim. Programs before nonces wrote the
    /// number alone.
    EPOCH "epoch": Epoch,
    /// Claims since the last committed turn.
    UNCOMMITTED_CLAIMS "uncommitted_claims": u32,
    /// Attempts that failed and were retried.
    ATTEMPTS "attempts": u32,
    /// Transitions committed by its leaseholders.
    COMMIT_NO "commit_no": u32,
    /// The claim under which the last of them was committed.
    COMMIT_EPOCH "commit_epoch": Epoch,
    /// When it is due: due time, end of the lease, latest moment of a wait, moment of a sleep.
    READY_AT "ready_at": Option<Timestamp>,
    /// The worker that holds the lease.
    WORKER_ID "worker_id": Option<WorkerId>,
    /// Steps, or items, that have ended.
    DONE "done": u32,
    /// The count of `done` at which it is woken; for a map, the count at which its owner is woken.
    WAKE_THRESHOLD "wake_threshold": Option<u32>,
    /// The number of its completion in the parent.
    DONE_ORDER "done_order": Option<u32>,
    /// Items written, for a map.
    FED "fed": u32,
    /// Items in all, for a map whose last item is written.
    TOTAL "total": Option<u32>,
    /// The digest of its arguments, or of the items that a map was fed with so far.
    DIGEST "digest": Option<Digest>,
    /// When it was written.
    CREATED_AT "created_at": Timestamp,
    /// When it was first claimed.
    STARTED_AT "started_at": Option<Timestamp>,
    ENDED_AT "ended_at": Option<Timestamp>,
    /// The retry policy, if one was set, as JSON.
    RETRY "retry": Option<String>,
    /// The last failure, as JSON; the user's data is in `result`.
    FAILURE "failure": Option<String>,
    /// Content type of `args`.
    ARGS_TYPE "args_type": String,
    ARGS "args": Vec<u8>,
    /// Content type of `result`.
    RESULT_TYPE "result_type": Option<String>,
    /// The encoded result, or the data of the failure.
    RESULT "result": Option<Vec<u8>>,
    /// A JSON array; null if there are none.
    TAGS "tags": Option<Tags>,
    /// Claims whose lease expired.
    CRASHES "crashes": u32,
    /// Claims that were released.
    RELEASES "releases": u32,
    /// Notes that its code has written.
    NOTED "noted": u32,
    /// Facts that its status does not express: null for none, or their words with commas, `cancel` before all others.
    MARK "mark": Marks,
    /// The key under which other tasks find it.
    KEY "key": Option<Key>,
    /// Its deadline.
    EXPIRES_AT "expires_at": Option<Timestamp>,
    /// The function whose limit it takes a slot of, while it runs.
    LIMIT_KEY "limit_key": Option<Slot>,
    /// The kind of the last failure.
    REASON "reason": Option<String>,
    /// 1 for a root whose steps were summarized and deleted.
    COMPACTED "compacted": i64,
    /// The trace that it continues, as W3C `traceparent` text.
    TRACE "trace": Option<String>,
}}

/// Declares the parts of a [`Row`]: the columns of each part, and the field with each column's value. A column has its
/// field's name, its singular, or its name with the suffix `_id` or `_no`; otherwise it does not compile.
macro_rules! parts_of_row {
    ($($(#[$doc:meta])* $part:ident { $($column:ident = $($place:ident).+,)+ })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub(crate) struct $part<'r>(pub(crate) &'r Row);

            impl $part<'_> {
                /// Whether all values are the defaults of their columns: null, or zero for columns that cannot be null.
                #[allow(dead_code, reason = "of some parts nobody asks")]
                fn is_blank(self) -> bool {
                    $(is_default(&column($column), &self.0.$($place).+.encode()))&&+
                }
            }

            impl Shape for $part<'_> {
                const ALL: &'static Columns = &Columns::new()$(.with(column($column)))+;
            }

            impl<'a> Write<'a> for $part<'_> {
                fn write(self, cells: &mut Vec<Cell<'a>>) {
                    $(cells.push(self.0.$($place).+.encode());)+
                }
            }

            const _: () = { $(assert!(is_place_of($column, &[$(stringify!($place)),+]), "the column has another field's name");)+ };
        )+

        impl Shape for Row {
            const ALL: &'static Columns = &Columns::new()$(.with_all($part::COLUMNS))+;
        }

        impl Read for Row {
            fn read(reader: &mut Reader) -> Result<Self> {
                let nil = Uuid::nil();
                let tree = Tree { execution: ExecutionId::from_uuid(nil), parent: None, owner: None };
                let mut row = Self::new(TaskId::from_uuid(nil), tree, StepKind::Call);
                $($(row.$($place).+ = reader.take($column)?;)+)+
                Ok(row)
            }
        }
    };
}

parts_of_row! {
    /// Columns that never change.
    Fixed {
        ID = id,
        EXECUTION_ID = tree.execution,
        PARENT_ID = tree.parent,
        OWNER_ID = tree.owner,
        KIND = kind,
    }
    /// Columns that change in a task's life, except its result.
    Changing {
        STATUS = status,
        EPOCH = epoch,
        UNCOMMITTED_CLAIMS = uncommitted_claims,
        ATTEMPTS = attempts,
        COMMIT_NO = commit,
        COMMIT_EPOCH = commit_epoch,
        READY_AT = ready_at,
        WORKER_ID = worker,
        DONE = done,
        WAKE_THRESHOLD = wake_threshold,
        DONE_ORDER = done_order,
        FED = fed,
        TOTAL = total,
        DIGEST = digest,
        STARTED_AT = started_at,
        ENDED_AT = ended_at,
    }
    /// Rare columns that never change: null or zero in most tasks.
    RareFixed {
        KEY = key,
    }
    /// Rare columns that change: null or zero in most tasks. Separate statements write tasks that have any of them.
    Rare {
        CRASHES = crashes,
        RELEASES = releases,
        NOTED = noted,
        MARK = marks,
        EXPIRES_AT = expires_at,
        LIMIT_KEY = limit_key,
    }
}

const fn column(name: &str) -> Column {
    match find(COLUMNS, name) {
        Some(column) => *column,
        None => panic!("no such column in the table"),
    }
}

fn is_default(column: &Column, cell: &Cell<'_>) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Int(0) => !column.nullable,
        _ => false,
    }
}

const fn is_place_of(column: &str, place: &[&str]) -> bool {
    let field = place[place.len() - 1];
    if begins_with(field, column) && is_same(field.split_at(column.len()).1, "s") {
        return true;
    }
    if !begins_with(column, field) {
        return false;
    }
    let rest = column.split_at(field.len()).1;
    is_same(rest, "") || is_same(rest, "_id") || is_same(rest, "_no")
}

rows! {
    /// A result, or a failure with its data in the result's columns.
    write Outcome<'a> of task {
        failure: Option<String>,
        result_type: Option<&'a str>,
        result: Option<&'a [u8]>,
    }

    /// The kind of the failure.
    write Reason<'a> of task {
        reason: Option<&'a str>,
    }

    /// A new task.
    write PlainInsert<'a> of task {
        ..fixed: Fixed<'a>,
        ..changing: Changing<'a>,
        ..outcome: Outcome<'a>,
        seq: Seq,
        lane: Option<LaneKey>,
        queue: &'a str,
        name: &'a str,
        priority: i16,
        created_at: Timestamp,
        retry: Option<String>,
        args_type: &'a str,
        args: &'a [u8],
    }

    /// A new task with rare columns.
    write RareInsert<'a> of task {
        ..plain: PlainInsert<'a>,
        ..fixed: RareFixed<'a>,
        ..rare: Rare<'a>,
        ..reason: Reason<'a>,
        tags: Option<String>,
        trace: Option<&'a str>,
    }

    /// The changes of a task.
    write PlainUpdate<'a> {
        ..changing: Changing<'a>,
        ..outcome: Outcome<'a>,
        id: TaskId,
        /// Whether the result is written.
        written: bool,
    }

    /// The changes of a task that has, or had, rare columns. A retry policy is written if there is one.
    write RareUpdate<'a> {
        ..plain: PlainUpdate<'a>,
        ..rare: Rare<'a>,
        ..reason: Reason<'a>,
        retry: Option<String>,
    }

    /// A task that moves to another lane.
    write Moved<'a> of task {
        id: TaskId,
        lane: LaneKey,
        queue: &'a str,
    }

    /// The names of a task's lane.
    read LaneNames of task {
        id: TaskId,
        queue: String,
        name: String,
        tags: Option<Tags>,
    }

    /// The values of a claim that differ between tasks.
    write PlainClaim of task {
        id: TaskId,
        epoch: Epoch,
        uncommitted_claims: u32,
        started_at: Option<Timestamp>,
    }

    /// The same, for tasks that take a slot of a limit, or were taken over.
    write RareClaim of task {
        ..plain: PlainClaim,
        crashes: u32,
        limit_key: Option<Slot>,
    }

    /// The columns that a claim reads.
    read Picked of task {
        ..row: Row,
        seq: Seq,
        queue: String,
        name: String,
        tags: Option<Tags>,
        priority: i16,
        created_at: Timestamp,
        retry: Option<Json<RetryPolicy>>,
        trace: Option<String>,
        args_type: String,
        args: Vec<u8>,
    }
}

/// Whether a row has rare columns. A task that was retried has the reason of its last failure.
pub(crate) fn is_rare(row: &Row) -> bool {
    row.attempts > 0 || !Rare(row).is_blank()
}

/// New tasks, separated into those without and those with rare columns.
pub(crate) fn insert_batches<'a>(inserts: &'a [Insert<'a>]) -> Result<(Batch<'a>, Batch<'a>)> {
    let (mut plain, mut rare) = (Vec::with_capacity(inserts.len()), Vec::new());
    for insert in inserts {
        let Insert { task, row, created_at, .. } = insert;
        let (outcome, reason) = outcome(row, insert.result.as_ref())?;
        let all = PlainInsert {
            fixed: Fixed(row),
            changing: Changing(row),
            outcome,
            seq: task.seq,
            lane: (task.kind == StepKind::Call).then(|| task.lane.key()),
            queue: &task.lane.queue,
            name: &task.lane.function,
            priority: task.priority,
            created_at: *created_at,
            retry: retry_text(task.retry.as_ref(), task.id)?,
            args_type: task.args.content_type(),
            args: task.args.bytes(),
        };
        let has_tags = !task.lane.tags.is_empty();
        if is_rare(row)
            || !RareFixed(row).is_blank()
            || reason.reason.is_some()
            || has_tags
            || task.trace.is_some()
        {
            rare.push(RareInsert {
                plain: all,
                fixed: RareFixed(row),
                rare: Rare(row),
                reason,
                tags: has_tags.then(|| tags::to_text(&task.lane.tags)),
                trace: task.trace.as_deref(),
            });
        } else {
            plain.push(all);
        }
    }
    Ok((batch(plain), batch(rare)))
}

/// Changed rows, separated into those without and those with rare columns, now or when they were read.
pub(crate) fn update_batches<'a>(
    updates: &'a [Update<'a>],
    was_rare: impl Fn(TaskId) -> bool,
) -> Result<(Batch<'a>, Batch<'a>)> {
    let (mut plain, mut rare) = (Vec::with_capacity(updates.len()), Vec::new());
    for update in updates {
        let Update { row, result, retry, queue: _ } = update;
        let (outcome, reason) = outcome(row, result.as_ref())?;
        let all = PlainUpdate { changing: Changing(row), outcome, id: row.id, written: result.is_some() };
        if is_rare(row) || was_rare(row.id) || reason.reason.is_some() || retry.is_some() {
            rare.push(RareUpdate { plain: all, rare: Rare(row), reason, retry: retry_text(*retry, row.id)? });
        } else {
            plain.push(all);
        }
    }
    Ok((batch(plain), batch(rare)))
}

/// The tasks that move to another lane, each with the lane.
pub(crate) fn moved_batch(moved: &[(TaskId, Lane)]) -> Batch<'_> {
    batch(moved.iter().map(|(id, lane)| Moved { id: *id, lane: lane.key(), queue: &lane.queue }))
}

/// Reads a task with its lane.
pub(crate) fn task_lane(reader: &mut Reader) -> Result<(TaskId, Lane)> {
    let LaneNames { id, queue, name, tags } = LaneNames::read(reader)?;
    Ok((id, Lane { queue, function: name, tags: tags.unwrap_or_default().0 }))
}

fn outcome<'a>(row: &Row, written: Option<&'a Written<'a>>) -> Result<(Outcome<'a>, Reason<'a>)> {
    let (failure, payload): (_, Option<&'a Payload>) = match written.map(Written::as_result) {
        None => (None, None),
        Some(Ok(payload)) => (None, Some(payload)),
        Some(Err(failure)) => (Some(failure), failure.data.as_ref()),
    };
    let outcome = Outcome {
        failure: failure.map(|failure| failure::to_text(failure, row.id)).transpose()?,
        result_type: payload.map(Payload::content_type),
        result: payload.map(Payload::bytes),
    };
    Ok((outcome, Reason { reason: failure.map(|failure| failure.kind.as_str()) }))
}

fn retry_text(retry: Option<&RetryPolicy>, task: TaskId) -> Result<Option<String>> {
    let text = retry.map(serde_json::to_string).transpose();
    text.map_err(|error| failure::unfit("retry policy", task, error))
}

impl PlainClaim {
    pub(crate) const fn of(row: &Row) -> Self {
        let Row { id, epoch, uncommitted_claims, started_at, .. } = *row;
        Self { id, epoch, uncommitted_claims, started_at }
    }
}

impl RareClaim {
    pub(crate) const fn of(row: &Row) -> Self {
        Self { plain: PlainClaim::of(row), crashes: row.crashes, limit_key: row.limit_key }
    }
}

#[cfg(test)]
mod tests {
    use stent_core::Failure;
    use stent_core::model::{Keyed, Mark, NewTask, NewTaskState, Nonce, TaskResult};

    use super::*;

    fn uuid(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn t(n: i64) -> Option<Timestamp> {
        Some(Timestamp::from_micros(n))
    }

    /// Each field has a value that no other field has.
    fn row() -> Row {
        Row {
            id: TaskId::from_uuid(uuid(1)),
            tree: Tree {
                execution: ExecutionId::from_uuid(uuid(2)),
                parent: Some(TaskId::from_uuid(uuid(3))),
                owner: Some(TaskId::from_uuid(uuid(4))),
            },
            kind: StepKind::Call,
            status: TaskStatus::Waiting,
            epoch: Epoch { count: 5, nonce: Nonce::new(6) },
            uncommitted_claims: 7,
            attempts: 8,
            crashes: 9,
            releases: 10,
            commit: 11,
            commit_epoch: Epoch { count: 12, nonce: Nonce::new(13) },
            ready_at: t(14),
            worker: Some(WorkerId::from_uuid(uuid(15))),
            done: 16,
            wake_threshold: Some(17),
            done_order: Some(18),
            fed: 19,
            total: Some(20),
            digest: Some(Digest::from_i64(21)),
            noted: 22,
            marks: Marks::of(Mark::Hit).with(Mark::Cancel),
            key: Some(Key::from_uuid(uuid(23))),
            expires_at: t(24),
            limit_key: Some(Slot::from_i64(25)),
            started_at: t(26),
            ended_at: t(27),
        }
    }

    fn new_task() -> NewTask {
        let row = row();
        NewTask {
            id: row.id,
            tree: row.tree,
            seq: Seq(28),
            kind: row.kind,
            lane: Lane {
                queue: "queue".to_owned(),
                function: "function".to_owned(),
                tags: ["tag".to_owned()].into(),
            },
            priority: 29,
            args: Payload::new("type of arguments", b"arguments".to_vec()),
            retry: Some(RetryPolicy::default().max_attempts(30)),
            attempts: row.attempts,
            failure: None,
            keyed: row.key.map(Keyed::new),
            expires_at: row.expires_at,
            trace: Some("trace".to_owned()),
            digest: row.digest,
            state: NewTaskState::Signal,
        }
    }

    /// The only row of a batch, in the columns of a row that is read.
    fn brought<T: Read>(batch: &Batch<'_>) -> T {
        assert_eq!(batch.len(), 1);
        let cells = batch.rows().next().expect("a row");
        let cell = |column: &Column| {
            let at = batch.columns().iter().position(|written| written.name == column.name);
            owned(&cells[at.unwrap_or_else(|| panic!("{} is not written", column.name))])
        };
        let cells: Vec<_> = T::COLUMNS.iter().map(cell).collect();
        T::read(&mut Reader::new(T::COLUMNS, cells.into_iter())).expect("reads")
    }

    fn owned(cell: &Cell<'_>) -> Cell<'static> {
        match cell {
            Cell::Null => Cell::Null,
            Cell::Id(id) => Cell::Id(*id),
            Cell::Int(value) => Cell::Int(*value),
            Cell::Text(text) => Cell::Text(text.to_string().into()),
            Cell::Bytes(bytes) => Cell::Bytes(bytes.to_vec().into()),
        }
    }

    fn names(columns: &[Column]) -> Vec<&str> {
        columns.iter().map(|column| column.name).collect()
    }

    #[test]
    fn every_field_of_a_row_has_a_column() {
        let fields = serde_json::to_value(row()).expect("encodes");
        let fields = fields.as_object().expect("fields");
        let tree = fields["tree"].as_object().expect("fields").len();

        assert_eq!(Row::COLUMNS.len(), fields.len() - 1 + tree, "{fields:?}");
    }

    #[test]
    fn what_is_inserted_is_what_a_claim_reads() {
        let (task, result) =
            (new_task(), TaskResult::Ok(Payload::new("type of the result", b"result".to_vec())));
        let created_at = Timestamp::from_micros(31);
        let insert = [Insert { task: &task, row: row(), created_at, result: Some(Written::Result(&result)) }];

        let (plain, rare) = insert_batches(&insert).expect("encodes");

        assert!(plain.is_empty());
        let picked: Picked = brought(&rare);
        assert_eq!(picked.row, row());
        let claimed = picked.into_task(&row());
        assert_eq!(
            (claimed.seq, &claimed.lane, claimed.priority, &claimed.args, &claimed.retry, &claimed.trace),
            (task.seq, &task.lane, task.priority, &task.args, &task.retry, &task.trace)
        );
        assert_eq!(claimed.created_at, created_at);
        assert!(names(rare.columns()).contains(&RESULT));
    }

    #[test]
    fn what_is_inserted_is_every_column_but_what_compaction_writes() {
        let written = names(RareInsert::COLUMNS);
        let not_written: Vec<_> = names(COLUMNS).into_iter().filter(|name| !written.contains(name)).collect();

        assert_eq!(not_written, [COMPACTED]);
    }

    #[test]
    fn what_is_updated_is_what_changes() {
        let failure = Failure::new("Declined", "no funds");
        let retry = RetryPolicy::default().max_attempts(30);
        let update =
            Update { row: row(), result: Some(Written::Failure(&failure)), retry: Some(&retry), queue: None };

        let update = [update];
        let (plain, rare) = update_batches(&update, |_| false).expect("encodes");

        assert!(plain.is_empty());
        let written = names(rare.columns());
        let rows = names(Row::COLUMNS).into_iter();
        let kept: Vec<_> = rows.filter(|name| !written.contains(name)).collect();
        assert_eq!(kept, [EXECUTION_ID, PARENT_ID, OWNER_ID, KIND, KEY]);
        let cells = rare.rows().next().expect("a row");
        let cell = |name| &cells[written.iter().position(|written| *written == name).expect("is written")];
        assert_eq!((cell(REASON), cell("written")), (&Cell::text("Declined"), &Cell::Int(1)));
        assert_eq!(
            (cell(READY_AT), cell(STARTED_AT), cell(ENDED_AT)),
            (&Cell::Int(14), &Cell::Int(26), &Cell::Int(27))
        );
    }

    #[test]
    fn rows_with_nothing_rare_are_written_by_the_plain_statements() {
        let plain = Row::new(row().id, row().tree, StepKind::Call);
        assert!(!is_rare(&plain));
        let rare = [
            Row { attempts: 1, ..plain.clone() },
            Row { crashes: 1, ..plain.clone() },
            Row { releases: 1, ..plain.clone() },
            Row { noted: 1, ..plain.clone() },
            Row { marks: Marks::of(Mark::Cancel), ..plain.clone() },
            Row { expires_at: t(0), ..plain.clone() },
            Row { limit_key: Some(Slot::Vacated), ..plain },
        ];
        assert!(rare.iter().all(is_rare));
    }

    #[test]
    fn a_column_is_in_the_field_of_its_name() {
        assert!(is_place_of(STARTED_AT, &["started_at"]) && is_place_of(WORKER_ID, &["worker"]));
        assert!(is_place_of(MARK, &["marks"]) && !is_place_of(MARK, &["markers"]));
        assert!(is_place_of(COMMIT_NO, &["commit"]) && is_place_of(EXECUTION_ID, &["tree", "execution"]));
        assert!(!is_place_of(STARTED_AT, &["ended_at"]) && !is_place_of(ENDED_AT, &["started_at"]));
        assert!(!is_place_of(COMMIT_EPOCH, &["commit"]) && !is_place_of(PARENT_ID, &["tree", "execution"]));
        assert!(!is_place_of(DONE_ORDER, &["done"]) && !is_place_of(DONE, &["done_order"]));
    }
}
