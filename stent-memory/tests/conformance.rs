//! The conformance suite against memory.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::Store;
use stent_memory::MemoryStore;

#[derive(Debug)]
struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Place(MemoryStore::new())))
    }
}

/// The data lives here; a crash only loses a handle.
#[derive(Debug)]
struct Place(MemoryStore);

#[async_trait]
impl Fixture for Place {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Arc::new(self.0.peer()))
    }
}

fn main() -> ExitCode {
    stent_conformance::run(Memory)
}
