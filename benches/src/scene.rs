//! The place of a measurement: a fresh store on the disk.

use std::fmt;
use std::ops::{Add, Sub};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use stent::backend::limits::PAGE_MAX;
use stent::postgres::PostgresStore;
use stent::sqlite::SqliteStore;
use stent::{ExecutionId, ExecutionStatus, Stent, WorkerBuilder};
use tempfile::TempDir;

use crate::functions::Held;
use crate::namespace::Namespace;
use crate::plan::{Backend, Durability, Spec};
use crate::schema::Schema;

/// A folder for the stores on the same disk as this program.
pub(crate) fn beside_this_program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    Ok(program.parent().context("a program lies in a folder")?.to_owned())
}

/// A fresh store, removed with this value.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) stent: Stent,
    pub(crate) meter: Meter,
    pub(crate) url: String,
    /// The folder of the store and of the other files that a measurement writes.
    pub(crate) folder: TempDir,
    concurrency: Option<usize>,
    place: Place,
}

/// The place of a store on a server.
#[derive(Debug)]
enum Place {
    /// In the folder, or in this process.
    Here,
    Postgres(Schema),
    Redis(Namespace),
}

impl Scene {
    pub(crate) async fn set(spec: &Spec) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("stent-bench-").tempdir_in(&spec.dir)?;
        let (url, place) = match spec.backend {
            Backend::Memory => ("memory:".to_owned(), Place::Here),
            Backend::Sqlite => (sqlite(spec, folder.path())?, Place::Here),
            Backend::Postgres => {
                let schema = Schema::name_one(spec.durability)?;
                (schema.url(), Place::Postgres(schema))
            }
            Backend::Redis => {
                let namespace = Namespace::name_one(spec.durability)?;
                (namespace.url(), Place::Redis(namespace))
            }
        };
        let (stent, meter) = open(&url).await?;
        Ok(Self { stent, meter, url, folder, concurrency: spec.concurrency, place })
    }

    /// The `appendfsync` of the server, if the store is in Redis.
    pub(crate) fn appendfsync(&self) -> Option<String> {
        match &self.place {
            Place::Redis(namespace) => Some(namespace.appendfsync.clone()),
            Place::Here | Place::Postgres(_) => None,
        }
    }

    /// The bytes that the server has allocated.
    pub(crate) fn used_memory(&mut self) -> Result<u64> {
        match &mut self.place {
            Place::Redis(namespace) => namespace.used_memory(),
            Place::Here | Place::Postgres(_) => {
                bail!("only Redis keeps everything in the memory of a server")
            }
        }
    }

    /// The statements of this handle of the store so far, or the commands of the server, if either is counted.
    pub(crate) fn queries(&mut self) -> Result<Option<u64>> {
        match &mut self.place {
            Place::Redis(namespace) => namespace.commands().map(Some),
            Place::Here | Place::Postgres(_) => Ok(self.meter.counts().map(|counters| counters.statements)),
        }
    }

    /// The bytes of the store, and its dead rows.
    pub(crate) async fn size(&mut self) -> Result<(u64, u64)> {
        match &mut self.place {
            Place::Redis(namespace) => Ok((namespace.used_memory()?, 0)),
            Place::Postgres(schema) => schema.size().await,
            Place::Here => {
                let mut bytes = 0;
                for file in std::fs::read_dir(self.folder.path())? {
                    bytes += file?.metadata()?.len();
                }
                Ok((bytes, 0))
            }
        }
    }

    /// Removes everything from the server.
    pub(crate) async fn strike(self) -> Result<()> {
        self.stent.close().await?;
        match self.place {
            Place::Here => Ok(()),
            Place::Postgres(schema) => schema.drop().await,
            Place::Redis(namespace) => namespace.drop(),
        }
    }

    pub(crate) fn worker(&self) -> WorkerBuilder {
        worker(&self.stent, self.concurrency)
    }

    /// Fails unless every execution has completed.
    pub(crate) async fn check_completed(&self, ids: &[ExecutionId]) -> Result<()> {
        for page in ids.chunks(PAGE_MAX) {
            let views = self.stent.store().executions(page).await?;
            let completed = views.iter().filter(|view| view.status == ExecutionStatus::Completed).count();
            ensure!(
                completed == page.len(),
                "{} of {} executions did not complete",
                page.len() - completed,
                page.len()
            );
        }
        Ok(())
    }
}

/// A worker that runs this many turns concurrently, or as many as by default.
pub(crate) fn worker(stent: &Stent, concurrency: Option<usize>) -> WorkerBuilder {
    let worker = stent.worker().state(Held::default());
    match concurrency {
        Some(turns) => worker.concurrency(turns),
        None => worker,
    }
}

fn sqlite(spec: &Spec, folder: &Path) -> Result<String> {
    let durability = match spec.durability {
        Durability::Full => "full",
        Durability::Normal | Durability::None => "normal",
    };
    let file = folder.canonicalize()?.join("bench.db");
    let file = file.to_str().context("the path of the store is not UTF-8; choose another with --dir")?;
    Ok(format!("sqlite://{file}?durability={durability}"))
}

/// Opens the store of a URL, with a meter of its work.
pub(crate) async fn open(url: &str) -> Result<(Stent, Meter)> {
    let store = match url.split_once(':') {
        Some(("sqlite", _)) => SqliteStore::open(url.parse()?).await?,
        Some(("postgres" | "postgresql", _)) => PostgresStore::open(url.parse()?).await?,
        _ => return Ok((Stent::connect(url).await?, Meter(None))),
    };
    let stent = Stent::builder().open(store.clone()).await?;
    let count = move || {
        let counters = store.counters();
        Counters {
            transactions: counters.transactions,
            statements: counters.statements,
            rows_written: counters.rows_written,
        }
    };
    Ok((stent, Meter(Some(Box::new(count)))))
}

/// Counts the work of one handle of a store, if the store counts.
pub(crate) struct Meter(Option<Box<dyn Fn() -> Counters + Send + Sync>>);

impl Meter {
    /// The work so far.
    pub(crate) fn read(&self) -> Counters {
        self.0.as_ref().map(|count| count()).unwrap_or_default()
    }

    /// The work so far, if the store counts.
    pub(crate) fn counts(&self) -> Option<Counters> {
        self.0.as_ref().map(|count| count())
    }

    /// The work since `before`.
    pub(crate) fn since(&self, before: Counters) -> Option<Counters> {
        self.0.as_ref().map(|count| count() - before)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&self.read()).finish()
    }
}

/// The work of a store.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) transactions: u64,
    pub(crate) statements: u64,
    pub(crate) rows_written: u64,
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
