//! The runs of `digest` over a folder, as the store has them.

use sha2::{Digest, Sha256};
use stent::view::{ItemView, Seq, StepKind};
use stent::{ExecutionId, ExecutionStatus, Stent, TaskId};

use crate::path::PathBytes;

/// The most tasks or items that one read returns.
const PAGE: usize = 1_000;

/// The queue of a folder's work. Each folder has its own queue, so that a worker for one folder does not take up work that was
/// left behind by another.
#[must_use]
pub fn queue(root: &PathBytes) -> String {
    format!("digest-{}", derive_id("queue", root, 0))
}

/// One run over a folder.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The execution that does the work.
    pub id: ExecutionId,
    /// The execution whose existence shows that the report was written.
    pub note: ExecutionId,
    /// Whether the run began before this process did.
    pub resumed: bool,
}

impl Run {
    /// Finds the last run over this folder if it was interrupted, or creates the next one.
    ///
    /// Runs are counted, and their ids are derived from folder and number, so that every process computes the same ids and
    /// nothing has to be written down.
    ///
    /// # Errors
    /// Store errors.
    pub async fn find(stent: &Stent, root: &PathBytes) -> stent::Result<Self> {
        let mut number = 0;
        loop {
            let run = |resumed| Self {
                id: derive_id("run", root, number),
                note: derive_id("note", root, number),
                resumed,
            };
            match status(stent, run(true).id).await? {
                None => return Ok(run(false)),
                // Everything is hashed, and the process died before the report was written.
                Some(ExecutionStatus::Completed) if status(stent, run(true).note).await?.is_none() => {
                    return Ok(run(true));
                }
                Some(status) if status.is_terminal() => number += 1,
                Some(_) => return Ok(run(true)),
            }
        }
    }

    /// The number of files whose outcome is in the store.
    ///
    /// # Errors
    /// Store errors.
    pub async fn recorded(&self, stent: &Stent) -> stent::Result<u64> {
        let mut recorded = 0;
        let mut items = self.items(stent).await?;
        while let Some(page) = items.page().await? {
            recorded += page.iter().filter(|item| item.status.is_terminal()).count() as u64;
        }
        Ok(recorded)
    }

    /// The items of the run's map, as far as the run has got.
    ///
    /// # Errors
    /// Store errors.
    pub async fn items<'a>(&self, stent: &'a Stent) -> stent::Result<Items<'a>> {
        let (mut map, mut after) = (None, None);
        loop {
            let tasks = stent.inspect().tasks(self.id, after, PAGE).await?;
            map = map.or_else(|| tasks.iter().find(|task| task.kind == StepKind::Map).map(|task| task.id));
            if map.is_some() || tasks.len() < PAGE {
                return Ok(Items { stent, map, next: 0 });
            }
            after = tasks.last().map(|task| task.id);
        }
    }
}

/// Reads a map's items page by page, in order.
#[derive(Debug)]
pub struct Items<'a> {
    stent: &'a Stent,
    map: Option<TaskId>,
    next: u32,
}

impl Items<'_> {
    /// The next page, or `None` after the last.
    ///
    /// # Errors
    /// Store errors.
    pub async fn page(&mut self) -> stent::Result<Option<Vec<ItemView>>> {
        let Some(map) = self.map else { return Ok(None) };
        let page = self.stent.inspect().items(map, Seq(self.next), PAGE).await?;
        self.next += u32::try_from(page.len()).unwrap_or(u32::MAX);
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

async fn status(stent: &Stent, id: ExecutionId) -> stent::Result<Option<ExecutionStatus>> {
    match stent.status(id).await {
        Ok(status) => Ok(Some(status)),
        Err(stent::Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn derive_id(what: &str, root: &PathBytes, number: u64) -> ExecutionId {
    let hash = Sha256::new()
        .chain_update(what)
        .chain_update(number.to_be_bytes())
        .chain_update(root.as_bytes())
        .finalize();
    let id = std::array::from_fn(|i| hash[i]);
    uuid::Builder::from_custom_bytes(id).into_uuid().into()
}
