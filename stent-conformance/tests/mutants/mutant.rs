//! A mutant: a name, the case that must catch it, and one fault.

use std::collections::BTreeMap;

use stent_core::backend::{
    ClaimRequest, Claimed, DeadLetter, DeadLetterStat, Exchanged, ExecutionView, Filter, Finding, ItemView,
    LaneView, NotesView, PurgeRequest, Purged, Renewal, Result, RunningView, SchemaVersion, TaskView, Topic,
};
use stent_core::model::{EndedClaim, ExecutionStatus, Lease, Seq, Step, WorkerRecord};
use stent_core::transition::{Outcome, Transition};
use stent_core::{ExecutionId, Payload, TaskId, Timestamp, WorkerId};
use stent_memory::MemoryStore;

use crate::past::Past;
use crate::store::Sound;

/// An exchange, given the correct store.
type Exchange = fn(&Sound, &[Transition], Option<&ClaimRequest<'_>>, &Past) -> Result<Exchanged>;

/// A renewal, given the correct store, the moment, and the end of the leases.
type Renew = fn(&Sound, &[Lease], Timestamp, Timestamp) -> Result<Vec<Renewal>>;

/// A read of executions by a filter, given the correct store, the end of the page before, and the page size.
type ListBy = fn(&Sound, &Filter, Option<ExecutionId>, usize) -> Result<Vec<ExecutionView>>;

/// A read of dead letters, given the same.
type LettersBy = fn(&Sound, Option<ExecutionId>, usize) -> Result<Vec<DeadLetter>>;

/// A read of a timeline, given the same.
type TasksBy = fn(&Sound, ExecutionId, Option<TaskId>, usize) -> Result<Vec<TaskView>>;

/// A read of a map's items, given where the page begins.
type ItemsBy = fn(&Sound, TaskId, Seq, usize) -> Result<Vec<ItemView>>;

macro_rules! sins {
    ($($(#[$doc:meta])* $sin:ident: $hook:ty,)+) => {
        /// A store with one fault.
        #[derive(Clone, Debug)]
        pub(crate) struct Mutant {
            /// The fault, in a few words.
            pub(crate) name: &'static str,
            /// The case that must catch it.
            pub(crate) case: &'static str,
            /// Parts of that case's report, each within one line: the case must fail for this reason.
            pub(crate) over: &'static [&'static str],
            $($(#[$doc])* pub(crate) $sin: Option<$hook>,)+
        }

        /// A mutant without a fault.
        pub(crate) const fn mutant(
            name: &'static str,
            case: &'static str,
            over: &'static [&'static str],
        ) -> Mutant {
            Mutant { name, case, over, $($sin: None,)+ }
        }

        impl Mutant {
            $($(#[$doc])* pub(crate) const fn $sin(mut self, sin: $hook) -> Self {
                self.$sin = Some(sin);
                self
            })+
        }
    };
}

sins! {
    // Requests.

    /// Rewrites a transition before the store sees it.
    rewrites: fn(&mut Transition, &Past),
    /// Answers a transition with `Applied` and forgets it.
    drops: fn(&Transition, &Past) -> bool,
    /// Rewrites a claim request.
    asks: fn(&mut ClaimRequest<'_>, &Past),
    /// Replaces the exchange.
    exchanges: Exchange,
    /// Applies a batch in two halves, split at this index, and pauses in between, so that the caller may go away.
    tears: fn(usize) -> usize,
    /// Replaces the renewal of leases.
    renews: Renew,
    /// Rewrites the record of a worker before the store sees it.
    reports: fn(&mut WorkerRecord, &Sound),
    /// Rewrites a purge request; it may do other damage first.
    purges: fn(&Sound, &mut PurgeRequest, &Past),
    /// Does damage after a purge.
    leaves: fn(&Sound, &PurgeRequest, &Past),
    /// Does damage while the schema is migrated.
    migrates: fn(&Sound, &Past),

    // Answers.

    /// Rewrites the answer to a transition.
    answers: fn(&mut Outcome, &Transition, &Past),
    /// Rewrites a claimed task.
    hands_out: fn(&mut Claimed, &Past),
    /// Rewrites the result of an exchange.
    brings: fn(&mut Exchanged, &Past),
    /// Miscounts what was purged.
    counts_purged: fn(&mut Purged),

    // Reads.

    /// Misreads executions.
    shows_executions: fn(&mut Vec<ExecutionView>, &Past),
    /// Misreads a page of tasks.
    shows_tasks: fn(&mut Vec<TaskView>, &Past),
    /// Misreads items.
    shows_items: fn(&mut Vec<ItemView>),
    /// Misreads a task's arguments.
    shows_args: fn(&mut Option<Payload>),
    /// Misreads a task's completed steps.
    shows_completions: fn(&mut Vec<Step>),
    /// Misreads which tasks have new completions.
    shows_news: fn(&mut Vec<(TaskId, Vec<Step>)>),
    /// Misunderstands the filter of a list.
    filters: fn(&mut Filter),
    /// Misreads a page of a list; the page before it ended here.
    lists: fn(&mut Vec<ExecutionView>, Option<ExecutionId>),
    /// Counts and reads another number than it was asked for.
    bounds: fn(usize) -> usize,
    /// Miscounts executions.
    counts: fn(&mut BTreeMap<ExecutionStatus, u64>),
    /// Misreads waiting tasks.
    shows_lanes: fn(&mut Vec<LaneView>),
    /// Misreads running tasks.
    shows_running: fn(&mut Vec<RunningView>),
    /// Misreads ended claims.
    shows_ended_claims: fn(&mut Vec<EndedClaim>),
    /// Misreads notes.
    shows_notes: fn(&mut NotesView, &Past),
    /// Misreads dead letters.
    shows_dead_letters: fn(&mut Vec<DeadLetter>),
    /// Miscounts dead letters.
    shows_stats: fn(&mut Vec<DeadLetterStat>),
    /// Misreads a page of workers; the page before it ended here.
    shows_workers: fn(&mut Vec<WorkerRecord>, Option<WorkerId>),
    /// Misreads the findings of a store about itself; it may do damage.
    examines: fn(&mut Vec<Finding>, &Sound, &Past),
    /// Replaces the read of a page of executions.
    lists_by: ListBy,
    /// Replaces the read of a page of dead letters.
    letters_by: LettersBy,
    /// Replaces the read of a page of a timeline.
    tasks_by: TasksBy,
    /// Replaces the read of a page of items.
    items_by: ItemsBy,

    // Handles, clock and hints.

    /// Replaces the opening of a handle; it opens from the store of the place.
    opens: fn(&mut MemoryStore, &Past) -> MemoryStore,
    /// Replaces the closing of a handle.
    closes: fn() -> Result<()>,
    /// Replaces the reading of the clock.
    ticks: fn(Timestamp, &mut Past) -> Timestamp,
    /// Never receives hints of a topic.
    misses: fn(Topic) -> bool,
    /// Sends no hint for its last write.
    mutes: fn(&Transition, &Past) -> bool,
    /// Sends no hint for the effects of a purge.
    hushes: (),
    /// Receives only hints that are sent while somebody waits.
    dozes: (),
    /// Misreads the version of the schema.
    versions: fn(&mut SchemaVersion),
}
