//! The conformance suite against Postgres: a schema per case.

mod schema;

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::Store;

use schema::Schema;

/// Connections of one handle: cases run at the same time, some with dozens of handles, and a server has a hundred.
const CONNECTIONS: u32 = 2;

#[derive(Debug)]
struct Postgres {
    url: String,
}

#[async_trait]
impl Harness for Postgres {
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Schema::of(&self.url)))
    }
}

#[async_trait]
impl Fixture for Schema {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Self::open(self, CONNECTIONS).await?)
    }
}

fn main() -> ExitCode {
    match schema::url() {
        Ok(url) => stent_conformance::run(Postgres { url }),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
