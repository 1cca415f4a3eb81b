//! The conformance suite against SQLite: a file per case.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::Store;
use stent_sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

#[derive(Debug)]
struct Sqlite;

#[async_trait]
impl Harness for Sqlite {
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Folder(tempfile::tempdir()?)))
    }
}

/// Deleted with its content when dropped.
#[derive(Debug)]
struct Folder(TempDir);

#[async_trait]
impl Fixture for Folder {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        Ok(SqliteStore::open(SqliteOptions::file(self.0.path().join("stent.db"))).await?)
    }
}

fn main() -> ExitCode {
    stent_conformance::run(Sqlite)
}
