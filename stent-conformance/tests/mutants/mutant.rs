//! A mutant: a name, the case that must catch it, and the one thing that it does wrong.

use std::collections::BTreeMap;

use stent_core::backend::{
    ClaimRequest, Claimed, DeadLetter, DeadLetterStat, Exchanged, ExecutionView, Filter, ItemView, LaneView,
    NotesView, PurgeRequest, Purged, Renewal, Result, RunningView, SchemaVersion, TaskView, Topic,
};
use stent_core::model::{EndedClaim, ExecutionStatus, Lease, Seq, Step};
use stent_core::transition::{Outcome, Transition};
use stent_core::{ExecutionId, Payload, TaskId, Timestamp};
use stent_memory::MemoryStore;

use crate::past::Past;
use crate::store::Sound;

/// An exchange, given the store that does it right.
type Exchange = fn(&Sound, &[Transition], Option<&ClaimRequest<'_>>, &Past) -> Result<Exchanged>;

/// A renewal, given the store that does it right, the moment, and the end of the leases.
type Renew = fn(&Sound, &[Lease], Timestamp, Timestamp) -> Result<Vec<Renewal>>;

/// A read of executions by a filter, given the store that does it right, the end of the page before, and the page's size.
type ListBy = fn(&Sound, &Filter, Option<ExecutionId>, usize) -> Result<Vec<ExecutionView>>;

/// A read of dead letters, given the same.
type LettersBy = fn(&Sound, Option<ExecutionId>, usize) -> Result<Vec<DeadLetter>>;

/// A read of a timeline, given the same.
type TasksBy = fn(&Sound, ExecutionId, Option<TaskId>, usize) -> Result<Vec<TaskView>>;

/// A read of a map's items, given where the page begins.
type ItemsBy = fn(&Sound, TaskId, Seq, usize) -> Result<Vec<ItemView>>;

macro_rules! sins {
    ($($(#[$doc:meta])* $sin:ident: $hook:ty,)+) => {
        /// A store that does one thing wrong.
        #[derive(Clone, Debug)]
        pub(crate) struct Mutant {
            /// What it does wrong, in a few words.
            pub(crate) name: &'static str,
            /// The case that must catch it.
            pub(crate) case: &'static str,
            /// What the report of that case says, each in a line of it: it must fail over this very thing.
            pub(crate) over: &'static [&'static str],
            $($(#[$doc])* pub(crate) $sin: Option<$hook>,)+
        }

        /// A mutant that has done nothing wrong yet.
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
    // On the way in.

    /// Rewrites a transition before the store sees it.
    rewrites: fn(&mut Transition, &Past),
    /// Answers a transition with `Applied` and forgets it.
    drops: fn(&Transition, &Past) -> bool,
    /// Rewrites what a worker asks for.
    asks: fn(&mut ClaimRequest<'_>, &Past),
    /// Does an exchange in its own way.
    exchanges: Exchange,
    /// Applies a batch in two halves, with time between them in which the caller may go away; this is where it is cut.
    tears: fn(usize) -> usize,
    /// Renews leases in its own way.
    renews: Renew,
    /// Rewrites what is to be purged; it may do more harm before.
    purges: fn(&Sound, &mut PurgeRequest, &Past),
    /// Does harm after a purge.
    leaves: fn(&Sound, &PurgeRequest, &Past),
    /// Does harm while the schema is migrated.
    migrates: fn(&Sound, &Past),

    // On the way out.

    /// Rewrites the answer to a transition.
    answers: fn(&mut Outcome, &Transition, &Past),
    /// Rewrites a claimed task.
    hands_out: fn(&mut Claimed, &Past),
    /// Rewrites what an exchange brings.
    brings: fn(&mut Exchanged, &Past),
    /// Miscounts what was purged.
    counts_purged: fn(&mut Purged),

    // To readers.

    /// Misreads executions.
    shows_executions: fn(&mut Vec<ExecutionView>, &Past),
    /// Misreads a page of tasks.
    shows_tasks: fn(&mut Vec<TaskView>, &Past),
    /// Misreads items.
    shows_items: fn(&mut Vec<ItemView>),
    /// Misreads what a task was called with.
    shows_args: fn(&mut Option<Payload>),
    /// Misreads what has become of a task's steps.
    shows_completions: fn(&mut Vec<Step>),
    /// Misreads whose steps have ended.
    shows_news: fn(&mut Vec<(TaskId, Vec<Step>)>),
    /// Misunderstands what is to be listed.
    filters: fn(&mut Filter),
    /// Misreads a page of a list; the page before it ended here.
    lists: fn(&mut Vec<ExecutionView>, Option<ExecutionId>),
    /// Miscounts executions.
    counts: fn(&mut BTreeMap<ExecutionStatus, u64>),
    /// Misreads what waits.
    shows_lanes: fn(&mut Vec<LaneView>),
    /// Misreads what runs.
    shows_running: fn(&mut Vec<RunningView>),
    /// Misreads tries.
    shows_tries: fn(&mut Vec<EndedClaim>),
    /// Misreads notes.
    shows_notes: fn(&mut NotesView, &Past),
    /// Misreads dead letters.
    shows_dead_letters: fn(&mut Vec<DeadLetter>),
    /// Miscounts dead letters.
    shows_stats: fn(&mut Vec<DeadLetterStat>),
    /// Reads a page of executions in its own way.
    lists_by: ListBy,
    /// Reads a page of dead letters in its own way.
    letters_by: LettersBy,
    /// Reads a page of a timeline in its own way.
    tasks_by: TasksBy,
    /// Reads a page of items in its own way.
    items_by: ItemsBy,

    // Around it.

    /// Opens a handle in its own way; what it opens from is the store of the place.
    opens: fn(&mut MemoryStore, &Past) -> MemoryStore,
    /// Closes a handle in its own way.
    closes: fn() -> Result<()>,
    /// Reads the clock in its own way.
    ticks: fn(Timestamp, &mut Past) -> Timestamp,
    /// Never hears of some topic.
    misses: fn(Topic) -> bool,
    /// Tells nobody of what it wrote last.
    mutes: fn(&Transition, &Past) -> bool,
    /// Tells nobody of what a purge brings about.
    hushes: (),
    /// Hears only what happens while somebody waits.
    dozes: (),
    /// Misreads the version of the schema.
    versions: fn(&mut SchemaVersion),
}
