//! A schema for one test, on the Postgres server that `STENT_POSTGRES_URL` names; dropping it deletes the schema with its
//! content. All tests on Postgres include this module by its path, also tests that see only `stent`: of Stent it knows only
//! the form of a URL.

use std::error::Error;

use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use uuid::Uuid;

/// The environment variable with the server's URL.
const VARIABLE: &str = "STENT_POSTGRES_URL";

/// Most connections of each handle: many tests run at once, each with several handles, and share the server.
const CONNECTIONS: u32 = 4;

/// How long dropping a schema waits for transactions that a test has left open.
const PATIENCE: &str = "10s";

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
    server: String,
    name: String,
}

impl Schema {
    /// A name that no schema has yet: the first migration creates the schema.
    ///
    /// # Panics
    /// Without a server: a test that did not run must not look like one that passed.
    pub(crate) fn new() -> Self {
        let server = url().unwrap_or_else(|error| panic!("{error}"));
        Self { server, name: format!("stent_{}", Uuid::now_v7().simple()) }
    }

    #[allow(dead_code, reason = "not every test looks into its schema past Stent")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL of a store in the schema.
    pub(crate) fn url(&self) -> String {
        self.url_with(&format!("schema={}&max_connections={CONNECTIONS}", self.name))
    }

    /// The URL for an application whose own tables are in the same schema.
    #[allow(dead_code, reason = "not every test has tables of the application's own")]
    pub(crate) fn application_url(&self) -> String {
        self.url_with(&format!("options=-c%20search_path%3D{}", self.name))
    }

    /// The server's URL with further parameters.
    pub(crate) fn url_with(&self, parameters: &str) -> String {
        let and = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{and}{parameters}", self.server)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // One batch, and so one connection.
        clean_up(
            &self.server,
            format!(
                "SET lock_timeout = '{PATIENCE}'; SET client_min_messages = warning; DROP SCHEMA IF EXISTS \"{}\" CASCADE",
                self.name
            ),
        );
    }
}

/// Runs statements on the server that remove data of a test. Runs on a separate thread, because a test ends within a
/// runtime, which must not block.
pub(crate) fn clean_up(server: &str, statement: String) {
    let (server, told) = (server.to_owned(), statement.clone());
    let cleaned = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            // A slow clean-up must not fail the test.
            let mut options = ConnectOptions::new(&server);
            options.sqlx_logging(false);
            let database = Database::connect(options).await?;
            database.execute_unprepared(&statement).await?;
            database.close().await
        })?;
        Ok::<_, BoxError>(())
    });
    if let Ok(Err(error)) = cleaned.join() {
        eprintln!("a test has left something on the server, since `{told}` failed: {error}");
    }
}
