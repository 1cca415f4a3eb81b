//! A schema for one measurement, on the server that `STENT_POSTGRES_URL` names.

use anyhow::{Context, Result};
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};

use crate::plan::Durability;

const VARIABLE: &str = "STENT_POSTGRES_URL";

/// The URL of the server.
pub(crate) fn server() -> Result<String> {
    std::env::var(VARIABLE).with_context(|| {
        format!(
            "{VARIABLE} names no server to measure, like postgres://user@localhost/postgres; \
             `cargo xtask bench --backend postgres` finds or starts one and sets it"
        )
    })
}

/// An unused name; opening a store on its [`url`](Self::url) creates the schema.
#[derive(Debug)]
pub(crate) struct Schema {
    server: String,
    name: String,
    durability: Durability,
}

impl Schema {
    pub(crate) fn name_one(durability: Durability) -> Result<Self> {
        let server = server()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let name = format!("stent_bench_{}_{}", std::process::id(), now.as_micros());
        Ok(Self { server, name, durability })
    }

    /// The meaning of `normal` here: a crash of the server may lose the last commits, and nothing else.
    pub(crate) fn url(&self) -> String {
        let mark = if self.server.contains('?') { '&' } else { '?' };
        let commit = match self.durability {
            Durability::Full => "on",
            Durability::Normal | Durability::None => "off",
        };
        format!("{}{mark}schema={}&options=-csynchronous_commit%3D{commit}", self.server, self.name)
    }

    /// The bytes of the tables and their indexes, and the dead rows.
    pub(crate) async fn size(&self) -> Result<(u64, u64)> {
        let connection = Database::connect(&self.server).await?;
        let ask = format!(
            "SELECT sum(pg_total_relation_size(relid))::bigint AS bytes, sum(n_dead_tup)::bigint AS dead \
             FROM pg_stat_user_tables WHERE schemaname = '{}'",
            self.name
        );
        let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, ask)).await?;
        connection.close().await?;
        let row = row.context("a sum has a row")?;
        let (bytes, dead): (i64, i64) = (row.try_get("", "bytes")?, row.try_get("", "dead")?);
        Ok((u64::try_from(bytes)?, u64::try_from(dead)?))
    }

    pub(crate) async fn drop(self) -> Result<()> {
        let connection = Database::connect(&self.server).await?;
        connection.execute_unprepared(&format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name)).await?;
        Ok(connection.close().await?)
    }
}

/// A database for one measurement of a peer, which may use fixed names for its schemas.
#[derive(Debug)]
pub(crate) struct OwnDatabase {
    server: String,
    name: String,
}

impl OwnDatabase {
    /// Creates an empty one, whose commits wait for the disk or not.
    pub(crate) async fn create(durability: Durability) -> Result<Self> {
        let server = server()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let database =
            Self { server, name: format!("stent_bench_{}_{}", std::process::id(), now.as_micros()) };
        let commit = if matches!(durability, Durability::Full) { "on" } else { "off" };
        let name = &database.name;
        database.run(&format!("CREATE DATABASE {name}")).await?;
        database.run(&format!("ALTER DATABASE {name} SET synchronous_commit = {commit}")).await?;
        Ok(database)
    }

    pub(crate) fn url(&self) -> String {
        in_database(&self.server, &self.name)
    }

    /// Ends what is still connected, and drops it.
    pub(crate) async fn drop(self) -> Result<()> {
        self.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await
    }

    async fn run(&self, statement: &str) -> Result<()> {
        let connection = Database::connect(&self.server).await?;
        connection.execute_unprepared(statement).await?;
        Ok(connection.close().await?)
    }
}

/// The URL with another database; its parameters are Stent's and stay away.
fn in_database(server: &str, name: &str) -> String {
    let plain = server.split('?').next().unwrap_or(server);
    let authority = plain.split_once("://").map_or(0, |(scheme, _)| scheme.len() + 3);
    let path =
        plain.get(authority..).and_then(|rest| rest.find('/')).map_or(plain.len(), |at| authority + at);
    format!("{}/{name}", plain.get(..path).unwrap_or(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_changes() {
        assert_eq!(in_database("postgres://me:x@h:5/postgres?schema=a", "b"), "postgres://me:x@h:5/b");
        assert_eq!(in_database("postgres://h", "b"), "postgres://h/b");
    }
}
