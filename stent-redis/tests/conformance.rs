//! Runs the conformance suite on Redis, with a namespace for each case.

mod namespace;

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::Store;
use stent_redis::RedisStore;

use namespace::Namespace;

#[derive(Debug)]
struct Redis;

#[async_trait]
impl Harness for Redis {
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Namespace::new()))
    }
}

#[async_trait]
impl Fixture for Namespace {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        Ok(RedisStore::open(self.url().parse()?).await?)
    }
}

fn main() -> ExitCode {
    match namespace::url() {
        Ok(_) => stent_conformance::run(Redis),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
