//! A custom backend: executions in one JSON file, under a lock.
//!
//! ```
//! # use custom_backend::JsonStore;
//! # use stent::Stent;
//! # async fn program() -> Result<(), Box<dyn std::error::Error>> {
//! let stent = Stent::builder().open(JsonStore::open("x.json")?).await?;
//! # Ok(()) }
//! ```
//!
//! Any number of handles, in any number of processes on one machine, may have the same file open. Read it together with [the
//! guide](https://github.com/stent-rs/stent/blob/main/docs/guide/write-a-backend.md), which quotes it. It passes the whole
//! conformance suite.
//!
//! | File | Holds |
//! |---|---|
//! | `data.rs` | all tables as one value, and what a transition does to it |
//! | `claims.rs` | claims and renewals |
//! | `purge.rs` | deletion of old data |
//! | `inspect.rs` | the reads |
//! | `place.rs` | the file, its lock, and how it is replaced |
//! | `listener.rs` | hints |
//!
//! # How it keeps the guarantees
//!
//! | Guarantee | Kept by |
//! |---|---|
//! | all or nothing (G1) | a new file is written beside the old one and renamed over it. Calls never wait inside, so a dropped call was applied or never began |
//! | one claim at a time, no commit in between (G2, G3, G5, G8, G11, G12) | an exclusive lock on `x.json.lock` from the read to the rename. It is released when its process dies |
//! | the rules themselves (G3, G4, G7, G15) | `stent_core::ledger` |
//! | claim order (G6, G9, G10) | all due tasks are examined and sorted |
//! | bytes come back unchanged (G14) | `serde_json`, with `float_roundtrip` |
//! | acknowledged commits survive a power loss | `fsync` of the file, then of its folder: [`Durability::Full`] |
//! | hints may be lost (G17) | listeners compare counters in the first line of the file |
//!
//! # Limits
//!
//! - **Many executions.** Every commit writes the whole file, and every other handle reads it again: hundreds are fine, many
//!   thousands are not. Purge what has ended.
//! - **Large payloads.** JSON writes bytes as a list of numbers, which takes four times the space.
//! - **Busy runtimes.** Calls block the thread that polls them, for a write and an `fsync`, and for as long as another process
//!   has the lock: a process that is stopped (not killed) in the middle of a commit stops all others.
//! - **Network file systems**, whose locks and renames are unreliable; and systems without `fsync` of folders (Windows).
//! - Deleting or replacing the file while a handle is open on it.

mod claims;
mod data;
mod inspect;
mod listener;
mod place;
mod purge;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use async_trait::async_trait;
use stent_core::Timestamp;
use stent_core::backend::{
    Backend, BackendInfo, ClaimRequest, Error, ErrorKind, Exchanged, Hints, Listener, Migrate, PurgeRequest,
    Purged, Renewal, Result, SchemaVersion, Topic,
};
use stent_core::model::{Lease, WorkerRecord};
use stent_core::transition::Transition;

use self::data::Data;
use self::listener::FileListener;
use self::place::{FORMAT, Place};

/// A handle on a file of executions.
#[derive(Debug)]
pub struct JsonStore {
    place: Arc<Place>,
    /// Each call holds it shared, and `close` holds it exclusively.
    is_open: RwLock<bool>,
}

/// The failures that an acknowledged commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Power loss: each commit waits for the disk, twice.
    #[default]
    Full,
    /// The death of the process, but not of the machine: for tests, and for work that can be repeated.
    Process,
}

impl JsonStore {
    /// Opens a file, which need not exist yet; its folder must exist. The store also creates `….lock`, which stays, and
    /// `….new`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the folder does not exist, [`ErrorKind::Schema`] if the file is newer than this program,
    /// [`ErrorKind::Corrupt`] if it is another kind of file.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>> {
        Self::open_with(path, Durability::default())
    }

    /// Opens a file with a choice of what its commits survive. Handles on one file may differ in it.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, durability: Durability) -> Result<Arc<Self>> {
        let config = || Error::new(ErrorKind::Config, "open");
        let path = std::path::absolute(path).map_err(|error| config().with_source(error))?;
        if !path.parent().is_some_and(Path::is_dir) {
            let message = format!("the folder {} does not exist; create it first", path.display());
            return Err(config().with_message(message));
        }
        let place = Place::new(path, durability);
        place.header("open")?;
        Ok(Arc::new(Self { place: Arc::new(place), is_open: RwLock::new(true) }))
    }

    /// Changes the stored data. Nothing is awaited in here, so a dropped call was applied or never began (G1).
    fn update<T>(&self, operation: &'static str, change: impl FnOnce(&mut Data) -> T) -> Result<T> {
        let _call = self.call(operation)?;
        self.place.update(operation, change)
    }

    /// Reads the stored data.
    fn data(&self, operation: &'static str) -> Result<Arc<Data>> {
        let _call = self.call(operation)?;
        self.place.read(operation)
    }

    /// Registers a call, which `close` waits for.
    fn call(&self, operation: &'static str) -> Result<RwLockReadGuard<'_, bool>> {
        let is_open = self.is_open.read().unwrap_or_else(PoisonError::into_inner);
        if *is_open { Ok(is_open) } else { Err(Error::new(ErrorKind::Closed, operation)) }
    }
}

#[async_trait]
impl Backend for JsonStore {
    fn info(&self) -> BackendInfo {
        BackendInfo { name: "json", location: self.place.path().display().to_string(), parallel: false }
    }

    async fn clock(&self) -> Result<Timestamp> {
        let _call = self.call("clock")?;
        Ok(SystemTime::now().into())
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        self.update("exchange", |data| {
            let outcomes = commit.iter().map(|transition| data.apply(transition)).collect();
            let claimed = claim.map(|request| data.claim(request)).unwrap_or_default();
            Exchanged { outcomes, ..claimed }
        })
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        self.update("renew", |data| leases.iter().map(|lease| data.renew(lease, now, until)).collect())
    }

    async fn report(&self, worker: &WorkerRecord) -> Result<()> {
        self.update("report", |data| drop(data.workers.insert(worker.id, worker.clone())))
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.update("purge", |data| data.purge(request))
    }

    async fn close(&self) -> Result<()> {
        *self.is_open.write().unwrap_or_else(PoisonError::into_inner) = false;
        Ok(())
    }
}

impl Hints for JsonStore {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        Box::new(FileListener::new(Arc::clone(&self.place), topic))
    }
}

#[async_trait]
impl Migrate for JsonStore {
    /// Creates an empty file if there is none: the format has had one version so far.
    async fn migrate(&self) -> Result<()> {
        self.update("migrate", |_| ())
    }

    async fn version(&self) -> Result<SchemaVersion> {
        let _call = self.call("version")?;
        let applied = self.place.header("version")?.map_or(0, |header| header.format);
        Ok(SchemaVersion { applied, known: FORMAT })
    }
}
