//! A store in front of another one. Only this file repeats every verb: a new verb is forwarded here, and so in every wrapper.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use async_trait::async_trait;

use super::{
    Backend, BackendInfo, ClaimRequest, DeadLetter, DeadLetterStat, Exchanged, ExecutionView, Filter,
    Finding, Hints, Inspect, ItemView, LaneView, Listener, Migrate, NotesView, PurgeRequest, Purged, Reads,
    Renewal, Result, RunningView, SchemaVersion, Store, StoredTask, TaskView, Topic, Transactions,
};
use crate::model::{EndedClaim, ExecutionStatus, KeyEntry, Lease, Seq, Step, WorkerRecord};
use crate::transition::Transition;
use crate::{ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};

/// Writes [`Forward`] and the traits of a store for it, from one list of verbs.
macro_rules! forward {
    ($($store:ident {
        $(fn $now:ident($($now_arg:ident: $now_ty:ty),*) -> $now_out:ty;)*
        $(async fn $verb:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*
    })*) => {
        /// A store in front of another one, which adds to some verbs and passes all others on. Implement
        /// [`inner`](Self::inner) and the verbs that differ; the type is then a [`Store`].
        ///
        /// ```
        /// use std::sync::Arc;
        /// use stent_core::backend::{Forward, Result, Store};
        /// use stent_core::Timestamp;
        ///
        /// /// Counts how often the clock is read.
        /// #[derive(Debug)]
        /// struct Counted(Arc<dyn Store>);
        ///
        /// #[async_trait::async_trait]
        /// impl Forward for Counted {
        ///     fn inner(&self) -> &dyn Store {
        ///         &*self.0
        ///     }
        ///
        ///     async fn clock(&self) -> Result<Timestamp> {
        ///         println!("the clock is read");
        ///         self.inner().clock().await
        ///     }
        /// }
        /// ```
        #[async_trait]
        pub trait Forward: Debug + Send + Sync + 'static {
            /// The inner store.
            fn inner(&self) -> &dyn Store;

            /// `None` by default: the transactions of the inner store would bypass this one.
            fn transactions(&self) -> Option<&dyn Transactions> {
                None
            }

            $($(
                #[doc = concat!("Passes [`", stringify!($store), "::", stringify!($now), "`] on.")]
                fn $now(&self, $($now_arg: $now_ty),*) -> $now_out {
                    self.inner().$now($($now_arg),*)
                }
            )*)*

            $($(
                #[doc = concat!("Passes [`", stringify!($store), "::", stringify!($verb), "`] on.")]
                ///
                /// # Errors
                /// The errors of the inner store.
                async fn $verb(&self, $($arg: $ty),*) -> $out {
                    self.inner().$verb($($arg),*).await
                }
            )*)*
        }

        $(forward!(impl $store {
            $(fn $now($($now_arg: $now_ty),*) -> $now_out;)*
            $(async fn $verb($($arg: $ty),*) -> $out;)*
        });)*
    };

    (impl Backend {
        $(fn $now:ident($($now_arg:ident: $now_ty:ty),*) -> $now_out:ty;)*
        $(async fn $verb:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*
    }) => {
        #[async_trait]
        impl<T: Forward> Backend for T {
            fn transactions(&self) -> Option<&dyn Transactions> {
                Forward::transactions(self)
            }

            $(fn $now(&self, $($now_arg: $now_ty),*) -> $now_out {
                Forward::$now(self, $($now_arg),*)
            })*

            $(async fn $verb(&self, $($arg: $ty),*) -> $out {
                Forward::$verb(self, $($arg),*).await
            })*
        }
    };

    (impl $store:ident {
        $(fn $now:ident($($now_arg:ident: $now_ty:ty),*) -> $now_out:ty;)*
        $(async fn $verb:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*
    }) => {
        #[async_trait]
        impl<T: Forward> $store for T {
            $(fn $now(&self, $($now_arg: $now_ty),*) -> $now_out {
                Forward::$now(self, $($now_arg),*)
            })*

            $(async fn $verb(&self, $($arg: $ty),*) -> $out {
                Forward::$verb(self, $($arg),*).await
            })*
        }
    };
}

forward! {
    Backend {
        fn info() -> BackendInfo;
        async fn clock() -> Result<Timestamp>;
        async fn exchange(commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged>;
        async fn renew(leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>>;
        async fn report(worker: &WorkerRecord) -> Result<()>;
        async fn purge(request: &PurgeRequest) -> Result<Purged>;
        async fn backup_to(path: &Path) -> Result<()>;
        async fn close() -> Result<()>;
    }
    Reads {
        async fn executions(ids: &[ExecutionId]) -> Result<Vec<ExecutionView>>;
        async fn items(map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>>;
        async fn args(task: TaskId) -> Result<Option<Payload>>;
        async fn completions(seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>>;
    }
    Inspect {
        async fn tasks(execution: ExecutionId, after: Option<TaskId>, max: usize) -> Result<Vec<TaskView>>;
        async fn stored(execution: ExecutionId, after: Option<TaskId>, max: usize) -> Result<Vec<StoredTask>>;
        async fn key_entries(execution: ExecutionId, after: Option<Key>, max: usize) -> Result<Vec<KeyEntry>>;
        async fn list(filter: &Filter, before: Option<ExecutionId>, max: usize) -> Result<Vec<ExecutionView>>;
        async fn count(max: usize) -> Result<BTreeMap<ExecutionStatus, u64>>;
        async fn lanes(now: Timestamp, max: usize) -> Result<Vec<LaneView>>;
        async fn running(max: usize) -> Result<Vec<RunningView>>;
        async fn ended_claims(task: TaskId) -> Result<Vec<EndedClaim>>;
        async fn notes(execution: ExecutionId) -> Result<NotesView>;
        async fn dead_letters(before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>>;
        async fn dead_letter(execution: ExecutionId) -> Result<Option<DeadLetter>>;
        async fn dead_letter_stats(max: usize) -> Result<Vec<DeadLetterStat>>;
        async fn workers(after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>>;
        async fn diagnose() -> Result<Vec<Finding>>;
    }
    Hints {
        fn listen(topic: Topic) -> Box<dyn Listener>;
    }
    Migrate {
        async fn migrate() -> Result<()>;
        async fn version() -> Result<SchemaVersion>;
        async fn restore_indexes() -> Result<Vec<String>>;
    }
}
