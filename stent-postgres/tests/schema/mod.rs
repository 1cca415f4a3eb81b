//! A schema of one test's own, on the server that `STENT_POSTGRES_URL` names; gone with everything in it when it is dropped.

use std::error::Error;
use std::sync::Arc;

use sea_orm::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use stent_postgres::{PostgresOptions, PostgresStore};
use stent_sql::SqlStore;
use uuid::Uuid;

/// What the tests find the server by.
const VARIABLE: &str = "STENT_POSTGRES_URL";

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The server to test against.
pub(crate) fn url() -> Result<String, BoxError> {
    std::env::var(VARIABLE).map_err(|_| {
        format!(
            "{VARIABLE} names no server to test against, like postgres://user@localhost/postgres; `cargo xtask test` finds \
             or starts one and sets it"
        )
        .into()
    })
}

#[derive(Debug)]
pub(crate) struct Schema {
    url: String,
    pub(crate) name: String,
}

impl Schema {
    /// A name that no schema has yet: the first migration makes one.
    pub(crate) fn of(url: &str) -> Self {
        Self { url: url.to_owned(), name: format!("stent_{}", Uuid::now_v7().simple()) }
    }

    /// How a handle is opened that has so many connections.
    pub(crate) fn options(&self, connections: u32) -> Result<PostgresOptions, BoxError> {
        Ok(self.url.parse::<PostgresOptions>()?.schema(&self.name)?.max_connections(connections))
    }

    pub(crate) async fn open(&self, connections: u32) -> Result<Arc<SqlStore>, BoxError> {
        Ok(PostgresStore::open(self.options(connections)?).await?)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (url, drop) = (self.url.clone(), format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.name));
        // A thread of its own: a test ends within a runtime, which must not block.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await?;
                connection.execute(AssertSqlSafe(drop)).await?;
                connection.close().await
            })?;
            Ok::<_, BoxError>(())
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("schema {} was not dropped: {error}", self.name);
        }
    }
}
