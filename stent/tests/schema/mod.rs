//! A schema of one test's own, on the Postgres server that `STENT_POSTGRES_URL` names; gone with everything in it when it is
//! dropped.

use std::error::Error;

use stent::sea_orm::{ConnectionTrait, Database};

/// What the tests find the server by.
const VARIABLE: &str = "STENT_POSTGRES_URL";

/// Most connections of each handle: many tests run at once, each with several handles, and share the server.
const CONNECTIONS: u32 = 4;

/// How long dropping a schema waits for transactions that a test has left open.
const PATIENCE: &str = "10s";

#[derive(Debug)]
pub(crate) struct Schema {
    server: String,
    name: String,
}

impl Schema {
    /// A name that no schema has yet: the first migration makes one.
    ///
    /// # Panics
    /// Without a server: a test that did not run must not look like one that passed.
    pub(crate) fn new() -> Self {
        let server = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!(
                "{VARIABLE} names no server to test against, like postgres://user@localhost/postgres; `cargo xtask test` \
                 finds or starts one and sets it"
            )
        });
        Self { server, name: format!("stent_{}", stent::uuid().simple()) }
    }

    #[allow(dead_code, reason = "for transactions of the application's own")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a `Stent` is connected by.
    pub(crate) fn url(&self) -> String {
        let and = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{and}schema={}&max_connections={CONNECTIONS}", self.server, self.name)
    }

    /// What an application is connected by whose own tables are in the same schema.
    #[allow(dead_code, reason = "for transactions of the application's own")]
    pub(crate) fn application_url(&self) -> String {
        let and = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{and}options=-c%20search_path%3D{}", self.server, self.name)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread of its own: a test ends within a runtime, which must not block.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let database = Database::connect(&server).await?;
                // One batch, and so one connection.
                let drop =
                    format!("SET lock_timeout = '{PATIENCE}'; DROP SCHEMA IF EXISTS \"{name}\" CASCADE");
                database.execute_unprepared(&drop).await?;
                database.close().await
            })?;
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("schema {} was not dropped: {error}", self.name);
        }
    }
}
