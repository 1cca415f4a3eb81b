//! `stent_task`: one row per task. A root's row is its execution; a step's row is its parent's record of it.

use sea_orm::entity::prelude::*;

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stent_task")]
pub struct Model {
    /// Version 7, so it sorts by age. A root's is that of its execution.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The execution that it belongs to.
    pub execution_id: Uuid,
    /// The task that counts its end; none for a root.
    pub parent_id: Option<Uuid>,
    /// For an item of a map, the task that contains the map.
    pub owner_id: Option<Uuid>,
    /// Its position in the parent.
    pub seq: i64,
    /// `call`, `sleep`, `inline`, `map`, `gather`, `signal`, `spawn` or `join`.
    pub kind: String,
    /// The line it waits in; none for kinds that no worker claims.
    pub lane: Option<i64>,
    /// The queue; empty for kinds that no worker claims.
    pub queue: String,
    /// The function, or the step's name.
    pub name: String,
    /// Higher runs first.
    pub priority: i16,
    /// `pending`, `running`, `waiting`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// Its last claim: how many there were, times 2³¹, plus the nonce of the last. A claim without a nonce, by a program of
    /// before there were any, is the number alone.
    pub epoch: i64,
    /// Claims since the last committed turn.
    pub uncommitted_claims: i64,
    /// Attempts that failed and were retried.
    pub attempts: i64,
    /// Transitions committed by its leaseholders.
    pub commit_no: i64,
    /// The claim under which the last of them was committed.
    pub commit_epoch: i64,
    /// When it is worth claiming: due time, end of the lease, latest moment of a wait, moment of a sleep.
    pub ready_at: Option<i64>,
    /// Who holds the lease.
    pub worker_id: Option<Uuid>,
    /// Steps, or items, that have ended.
    pub done: i64,
    /// The count of `done` at which it is woken, or its owner, for a map.
    pub wake_threshold: Option<i64>,
    /// Which completion of its parent it was.
    pub done_order: Option<i64>,
    /// Items written, for a map.
    pub fed: i64,
    /// Items in all, for a map whose last item is written.
    pub total: Option<i64>,
    /// The digest of its arguments, or of the items that a map was fed with so far: the 64 bits of a [`Digest`](stent_core::Digest).
    pub digest: Option<i64>,
    /// When it was written.
    pub created_at: i64,
    /// When it was first claimed.
    pub started_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// The retry policy, where one was set, as JSON.
    pub retry: Option<String>,
    /// The last failure, as JSON; the user's own data of it is in `result`.
    pub failure: Option<String>,
    /// Content type of `args`.
    pub args_type: String,
    /// The encoded arguments.
    pub args: Vec<u8>,
    /// Content type of `result`.
    pub result_type: Option<String>,
    /// The encoded result, or the data of the failure.
    pub result: Option<Vec<u8>>,
    /// The tags, as a JSON array; null where there are none.
    pub tags: Option<String>,
    /// Claims whose lease ran out.
    pub crashes: i64,
    /// Claims that were handed back.
    pub releases: i64,
    /// Notes that its code has written.
    pub noted: i64,
    /// What its status does not say: `hit`, `cancel`, `expire`, `redrive` or `discard`.
    pub mark: Option<String>,
    /// The key under which it is found.
    pub key: Option<Uuid>,
    /// When its time is up.
    pub expires_at: Option<i64>,
    /// Set while it runs and the running tasks of its function are counted.
    pub limit_key: Option<i64>,
    /// The kind of the last failure.
    pub reason: Option<String>,
    /// 1 for a root whose steps were summed up and deleted.
    pub compacted: i64,
    /// The trace that it goes on with, as W3C `traceparent` text.
    pub trace: Option<String>,
}

/// A task refers to its parent and its execution; no foreign keys, which would cost every insert a look-up.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
