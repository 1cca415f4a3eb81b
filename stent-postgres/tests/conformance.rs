//! The conformance suite against Postgres: a schema per case.

mod schema;

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::Store;
use stent_postgres::{PostgresOptions, PostgresStore};

use schema::Schema;

/// Connections of one handle: cases run at the same time, some with dozens of handles, and a server has a hundred.
const CONNECTIONS: u32 = 2;

#[derive(Debug)]
struct Postgres;

#[async_trait]
impl Harness for Postgres {
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Schema::new()))
    }
}

#[async_trait]
impl Fixture for Schema {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        let options: PostgresOptions = self.url().parse()?;
        Ok(PostgresStore::open(options.max_connections(CONNECTIONS)).await?)
    }
}

fn main() -> ExitCode {
    match schema::url() {
        Ok(_) => stent_conformance::run(Postgres),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
