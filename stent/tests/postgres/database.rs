//! A database of one test's own, on the server that `STENT_POSTGRES_URL` names; gone with everything in it when it is dropped.
//! What a connection is set up with does not always come through to the server here, so a schema would not do.

use stent::sea_orm::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::schema;

#[derive(Debug)]
pub(crate) struct TestDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    /// # Panics
    /// Without a server: a test that did not run must not look like one that passed.
    pub(crate) async fn new() -> Self {
        let server = schema::url().unwrap_or_else(|error| panic!("{error}"));
        let name = format!("stent_{}", stent::uuid().simple());
        run(&server, format!("CREATE DATABASE {name}")).await.unwrap();
        Self { server, name }
    }

    /// Runs a statement in it.
    pub(crate) async fn run(&self, statement: &str) {
        run(&self.url(), statement.to_owned()).await.unwrap();
    }

    /// What connections to it begin with from now on, unless they say otherwise.
    pub(crate) async fn set(&self, setting: &str) {
        self.run(&format!("ALTER DATABASE {} SET {setting}", self.name)).await;
    }

    /// Where it is, past everything.
    pub(crate) fn url(&self) -> String {
        let (server, options) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let (server, _) = server.rsplit_once('/').unwrap();
        let mark = if options.is_empty() { "" } else { "?" };
        format!("{server}/{}{mark}{options}", self.name)
    }
}

async fn run(server: &str, statement: String) -> Result<(), stent::sea_orm::sqlx::Error> {
    let mut connection = PgConnection::connect(server).await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    connection.close().await
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        schema::clean_up(&self.server, format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
