//! A database for one test, on the server that `STENT_POSTGRES_URL` names; dropping it deletes the database. A schema would
//! not be enough, because settings of connections do not always reach the server in these tests.

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

    /// A database with this encoding.
    pub(crate) async fn encoded(encoding: &str) -> Self {
        let server = schema::url().unwrap_or_else(|error| panic!("{error}"));
        let name = format!("stent_{}", stent::uuid().simple());
        let create = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING";
        run(&server, format!("CREATE DATABASE {name} {create} '{encoding}'")).await.unwrap();
        Self { server, name }
    }

    /// A user with the privileges of an application only.
    pub(crate) async fn role(&self) -> Role<'_> {
        let name = format!("stent_{}", stent::uuid().simple());
        self.run(&format!("CREATE ROLE {name} LOGIN PASSWORD '{name}'")).await;
        self.run(&format!("GRANT CREATE ON DATABASE {} TO {name}", self.name)).await;
        Role { database: self, name }
    }

    /// Ends every session in it.
    pub(crate) async fn end_sessions(&self) {
        let end =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", self.name);
        run(&self.server, end).await.unwrap();
    }

    /// Undoes [`set`](Self::set).
    pub(crate) async fn reset(&self, setting: &str) {
        run(&self.server, format!("ALTER DATABASE {} RESET {setting}", self.name)).await.unwrap();
    }

    /// Runs a statement in it.
    pub(crate) async fn run(&self, statement: &str) {
        run(&self.url(), statement.to_owned()).await.unwrap();
    }

    /// Sets the default of a setting for new connections to it.
    pub(crate) async fn set(&self, setting: &str) {
        self.run(&format!("ALTER DATABASE {} SET {setting}", self.name)).await;
    }

    /// Its URL, directly at the server.
    pub(crate) fn url(&self) -> String {
        let (server, options) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let (server, _) = server.rsplit_once('/').unwrap();
        let mark = if options.is_empty() { "" } else { "?" };
        format!("{server}/{}{mark}{options}", self.name)
    }
}

/// A user; dropping this deletes the user and the user's objects.
#[derive(Debug)]
pub(crate) struct Role<'d> {
    database: &'d TestDatabase,
    name: String,
}

impl Role<'_> {
    /// The database, as this user.
    pub(crate) fn url(&self) -> String {
        self.url_of(&self.name)
    }

    /// The database, as a user of this name.
    pub(crate) fn url_of(&self, name: &str) -> String {
        let url = self.database.url();
        let (scheme, rest) = url.split_once("://").unwrap();
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        format!("{scheme}://{name}:{name}@{place}")
    }

    pub(crate) async fn alter(&self, option: &str) {
        run(&self.database.server, format!("ALTER ROLE {} {option}", self.name)).await.unwrap();
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        schema::clean_up(&self.database.url(), format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}"));
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
