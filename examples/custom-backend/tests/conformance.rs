//! Runs the conformance suite against the store.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use custom_backend::{Durability, JsonStore};
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::Store;
use tempfile::TempDir;

#[derive(Debug)]
struct Json;

#[async_trait]
impl Harness for Json {
    /// An empty, separate place: a folder, a schema, a prefix. Cases run concurrently.
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Folder(tempfile::tempdir()?)))
    }
}

/// Dropping it removes the data.
#[derive(Debug)]
struct Folder(TempDir);

#[async_trait]
impl Fixture for Folder {
    /// Another handle on this place, as another process would open it. Not migrated: the suite does that.
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        // No case simulates a power loss, so no case waits for the disk.
        Ok(JsonStore::open_with(self.0.path().join("x.json"), Durability::Process)?)
    }
}

fn main() -> ExitCode {
    stent_conformance::run(Json)
}
