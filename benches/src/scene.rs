//! Where a measurement happens: a fresh store, on the disk.

use std::ops::{Add, Sub};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use stent::core::backend::Inspect;
use stent::core::limits::PAGE_MAX;
use stent::{ExecutionId, ExecutionStatus, Stent, WorkerBuilder};
use tempfile::TempDir;

use crate::plan::{Backend, Durability, Spec};

/// A folder for the stores that is on the same disk as this program.
pub(crate) fn beside_this_program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own path")?;
    Ok(program.parent().context("a program lies in a folder")?.to_owned())
}

/// A store that nobody has used, gone with this value.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) stent: Stent,
    pub(crate) url: String,
    /// Where the store is, and what else a measurement writes.
    pub(crate) folder: TempDir,
    concurrency: Option<usize>,
}

impl Scene {
    pub(crate) async fn set(spec: &Spec) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("stent-bench-").tempdir_in(&spec.dir)?;
        let url = url(spec, folder.path())?;
        let stent = Stent::connect(&url).await?;
        Ok(Self { stent, url, folder, concurrency: spec.concurrency })
    }

    pub(crate) fn worker(&self) -> WorkerBuilder {
        worker(&self.stent, self.concurrency)
    }

    /// Fails unless every execution has completed.
    pub(crate) async fn check_completed(&self, ids: &[ExecutionId]) -> Result<()> {
        for page in ids.chunks(PAGE_MAX) {
            let views = self.stent.store().executions(page).await?;
            let completed = views.iter().filter(|view| view.status == ExecutionStatus::Completed).count();
            ensure!(completed == page.len(), "{} of {} executions did not complete", page.len() - completed, page.len());
        }
        Ok(())
    }
}

/// A worker that runs so many turns at once, or as many as it does by default.
pub(crate) fn worker(stent: &Stent, concurrency: Option<usize>) -> WorkerBuilder {
    match concurrency {
        Some(turns) => stent.worker().concurrency(turns),
        None => stent.worker(),
    }
}

fn url(spec: &Spec, folder: &Path) -> Result<String> {
    let durability = match (spec.backend, spec.durability) {
        (Backend::Memory, _) => return Ok("memory:".to_owned()),
        (Backend::Sqlite, Durability::Full) => "full",
        (Backend::Sqlite, Durability::Normal | Durability::None) => "normal",
    };
    let file = folder.canonicalize()?.join("bench.db");
    let file = file.to_str().context("the path of the store is not UTF-8; choose another with --dir")?;
    Ok(format!("sqlite://{file}?durability={durability}"))
}

/// What a store has done.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) transactions: u64,
    pub(crate) statements: u64,
    pub(crate) rows_written: u64,
}

impl Counters {
    /// What the store has done so far, if it counts.
    pub(crate) fn of(_stent: &Stent) -> Option<Self> {
        None
    }
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            transactions: self.transactions + other.transactions,
            statements: self.statements + other.statements,
            rows_written: self.rows_written + other.rows_written,
        }
    }
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            transactions: self.transactions - earlier.transactions,
            statements: self.statements - earlier.statements,
            rows_written: self.rows_written - earlier.rows_written,
        }
    }
}
