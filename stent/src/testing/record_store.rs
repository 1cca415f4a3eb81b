//! A store that has one recording, for code that reads items of its maps. Nothing is ever written to it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;

use async_trait::async_trait;
use stent_core::backend::{
    Error, ErrorKind, ExportRecord, Forward, HostTransaction, ItemView, Result, Store, Transactions,
};
use stent_core::model::Seq;
use stent_core::transition::{Outcome, Transition};
use stent_core::{Payload, TaskId};

/// The arguments and the items of a recording, in front of an empty store.
#[derive(Debug)]
pub(super) struct RecordStore {
    inner: Arc<dyn Store>,
    args: BTreeMap<TaskId, Payload>,
    items: BTreeMap<TaskId, BTreeMap<Seq, ItemView>>,
}

impl RecordStore {
    pub(super) fn new(inner: Arc<dyn Store>, parts: &[ExportRecord]) -> Self {
        let (mut args, mut items) = (BTreeMap::new(), BTreeMap::<_, BTreeMap<_, _>>::new());
        for part in parts {
            match part {
                ExportRecord::Task { task, args: Some(payload) } => {
                    args.insert(task.id, payload.clone());
                }
                ExportRecord::Item { map, item } => {
                    items.entry(*map).or_default().insert(item.seq, item.clone());
                }
                _ => {}
            }
        }
        Self { inner, args, items }
    }

    /// The arguments of the item of a map.
    pub(super) fn item_args(&self, map: TaskId, seq: Seq) -> Option<Payload> {
        Some(self.items.get(&map)?.get(&seq)?.args.clone())
    }
}

#[async_trait]
impl Forward for RecordStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        // Code asks whether there are any before it looks into its record.
        Some(self)
    }

    async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        Ok(self.args.get(&task).cloned())
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        let items = self.items.get(&map).into_iter().flat_map(|items| items.range(from..));
        Ok(items.take(max).map(|(_, item)| item.clone()).collect())
    }
}

#[async_trait]
impl Transactions for RecordStore {
    async fn begin(&self) -> Result<Arc<HostTransaction>> {
        Err(none())
    }

    async fn exchange_within(&self, _: &HostTransaction, _: &[Transition]) -> Result<Vec<Outcome>> {
        Err(none())
    }

    async fn commit(&self, _: Arc<HostTransaction>) -> Result<()> {
        Err(none())
    }

    fn classify(&self, _: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        None
    }
}

/// Not reached: a replay for a test begins no step.
fn none() -> Error {
    Error::new(ErrorKind::Closed, "transaction").with_message("a replay of a recording runs no transaction")
}
