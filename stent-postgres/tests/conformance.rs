//! The conformance suite against Postgres: a schema per case.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sqlx::{Connection, Executor, PgConnection};
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::Store;
use stent_postgres::{PostgresOptions, PostgresStore};
use uuid::Uuid;

/// Connections of one handle: cases run at the same time, some with dozens of handles, and a server has a hundred.
const CONNECTIONS: u32 = 2;

#[derive(Debug)]
struct Postgres {
    url: String,
}

#[async_trait]
impl Harness for Postgres {
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        let schema = format!("stent_{}", Uuid::now_v7().simple());
        Ok(Box::new(Schema { url: self.url.clone(), schema }))
    }
}

/// Goes with everything in it.
#[derive(Debug)]
struct Schema {
    url: String,
    schema: String,
}

#[async_trait]
impl Fixture for Schema {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        let options: PostgresOptions = self.url.parse()?;
        Ok(PostgresStore::open(options.schema(&self.schema)?.max_connections(CONNECTIONS)).await?)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (url, drop) = (self.url.clone(), format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.schema));
        // A thread of its own: a case ends within a runtime, which must not block.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await?;
                connection.execute(sea_orm::sqlx::AssertSqlSafe(drop)).await?;
                connection.close().await
            })?;
            Ok::<_, BoxError>(())
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("schema {} was not dropped: {error}", self.schema);
        }
    }
}

fn main() -> ExitCode {
    match std::env::var("STENT_POSTGRES_URL") {
        Ok(url) => stent_conformance::run(Postgres { url }),
        Err(_) => {
            eprintln!(
                "STENT_POSTGRES_URL names no server to test against, like postgres://user@localhost/postgres; \
                 `cargo xtask test` finds or starts one and sets it"
            );
            ExitCode::FAILURE
        }
    }
}
