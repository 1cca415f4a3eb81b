//! The store of a run: where it is, and the faults that it can have.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use stent::ExecutionId;
use stent::sea_orm::sqlx::sqlite::SqliteConnectOptions;
use stent::sea_orm::sqlx::{Connection, Executor, PgConnection, Row, SqliteConnection};
use tokio::sync::Mutex;

use crate::faults::Backend;
use crate::moment::Moment;
use crate::programs;
use crate::server::Server;

/// How long a request to the store between faults may take, while another fault is being played.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long our processes may hold the write lock of a file: longer than a paused one holds it.
pub(crate) const LOCKED_MAX: Duration = Duration::from_secs(30);
/// The pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(50);
/// The number of rows locked at once: of several workers, and not all running tasks.
const ROWS: u32 = 5;
/// The user and the database of the workers. The faults use the administrator's connection.
const NAME: &str = "chaos";

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) url: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(std::path::PathBuf),
    Server { server: Mutex<Server>, admin: String },
}

impl Store {
    /// Creates a store, and in its database the table of the application.
    pub(crate) async fn start(backend: Backend, folder: &Path) -> Result<Self> {
        match backend {
            Backend::Sqlite => {
                let path = folder.join("store.db");
                let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
                let mut connection = SqliteConnection::connect_with(&options).await?;
                connection.execute(programs::TABLE).await?;
                connection.close().await?;
                Ok(Self { url: format!("sqlite://{}", path.display()), place: Place::File(path) })
            }
            Backend::Postgres => {
                let server = Server::start().await;
                let password = stent::uuid().simple().to_string();
                let url = server.url();
                let base = url.rsplit_once('/').map_or(url.as_str(), |(base, _)| base);
                let host = base.rsplit_once('@').map_or(base, |(_, host)| host);
                let mut admin = PgConnection::connect(&url).await?;
                for statement in [
                    format!("CREATE ROLE {NAME} LOGIN PASSWORD '{password}'"),
                    format!("CREATE DATABASE {NAME} OWNER {NAME}"),
                ] {
                    admin.execute(stent::sea_orm::sqlx::AssertSqlSafe(statement)).await?;
                }
                admin.close().await?;
                let plain = format!("postgres://{NAME}:{password}@{host}/{NAME}");
                let mut connection = PgConnection::connect(&plain).await?;
                connection.execute(programs::TABLE).await?;
                connection.close().await?;
                let admin = format!("{base}/{NAME}");
                Ok(Self {
                    url: format!("{plain}?acquire_timeout=3s"),
                    place: Place::Server { server: Mutex::new(server), admin },
                })
            }
        }
    }

    /// Stops the server as a crash would, and starts it again after `after`.
    pub(crate) async fn restart(&self, after: Duration) -> Result<()> {
        let Place::Server { server, .. } = &self.place else { return Ok(()) };
        let mut server = server.lock().await;
        server.stop();
        tokio::time::sleep(after).await;
        server.start_again().await;
        Ok(())
    }

    /// Ends all connections of the workers and the dispatcher.
    pub(crate) async fn terminate(&self) -> Result<()> {
        let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{NAME}'");
        self.administer(&[sql]).await
    }

    /// Makes all sessions read-only: new ones by a setting, open ones by ending them. Sessions that are open when the fault
    /// ends stay read-only, as after a failover: their owners have to notice.
    pub(crate) async fn be_read_only(&self, duration: Duration) -> Result<()> {
        self.administer(&[
            format!("ALTER ROLE {NAME} SET default_transaction_read_only = on"),
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{NAME}'"),
        ])
        .await?;
        tokio::time::sleep(duration).await;
        self.administer(&[format!("ALTER ROLE {NAME} RESET default_transaction_read_only")]).await
    }

    /// Locks some rows of running tasks, and returns their executions and when the lock began.
    pub(crate) async fn lock_rows(&self, duration: Duration) -> Result<(Moment, Vec<ExecutionId>)> {
        let Place::Server { admin, .. } = &self.place else { return Ok((Moment::now(), Vec::new())) };
        let sql = format!(
            "SELECT execution_id::text FROM stent_task WHERE status = 'running' ORDER BY random() LIMIT {ROWS} \
             FOR UPDATE SKIP LOCKED"
        );
        let sql = sql.as_str();
        let start = Moment::now();
        loop {
            let locked = async {
                let mut connection = PgConnection::connect(admin).await?;
                connection.execute("BEGIN").await?;
                let rows = connection.fetch_all(stent::sea_orm::sqlx::AssertSqlSafe(sql)).await?;
                let ids = rows.iter().map(|row| Ok(row.try_get::<String, _>(0)?.parse()?));
                let ids: Vec<ExecutionId> = ids.collect::<Result<_>>()?;
                anyhow::Ok((connection, ids))
            };
            match locked.await {
                Ok((connection, ids)) => {
                    let from = Moment::now();
                    tokio::time::sleep(duration).await;
                    // Closes the connection; another fault may have ended it already.
                    let _ = connection.close().await;
                    return Ok((from, ids));
                }
                Err(error) if Moment::now().since(start) > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Holds the write lock of the file, and returns when it began; `None` if it could not get the lock.
    pub(crate) async fn lock_file(&self, duration: Duration) -> Result<Option<Moment>> {
        let Place::File(path) = &self.place else { return Ok(None) };
        let start = Moment::now();
        let mut connection = SqliteConnection::connect_with(
            &SqliteConnectOptions::new().filename(path).busy_timeout(LOCKED_MAX / 4),
        )
        .await?;
        while connection.execute("BEGIN IMMEDIATE").await.is_err() {
            if Moment::now().since(start) > LOCKED_MAX {
                return Ok(None);
            }
        }
        let from = Moment::now();
        tokio::time::sleep(duration).await;
        connection.execute("ROLLBACK").await?;
        connection.close().await?;
        Ok(Some(from))
    }

    /// The place of each row in the application's table.
    pub(crate) async fn rows(&self) -> Result<Vec<String>> {
        let sql = "SELECT place FROM chaos_posted";
        Ok(match &self.place {
            Place::File(path) => {
                let options = SqliteConnectOptions::new().filename(path);
                let mut connection = SqliteConnection::connect_with(&options).await?;
                let rows = connection.fetch_all(sql).await?;
                rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
            }
            Place::Server { admin, .. } => {
                let mut connection = PgConnection::connect(admin).await?;
                let rows = connection.fetch_all(sql).await?;
                rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
            }
        })
    }

    async fn administer(&self, statements: &[String]) -> Result<()> {
        let Place::Server { admin, .. } = &self.place else { return Ok(()) };
        let start = Moment::now();
        for statement in statements {
            loop {
                let done = async {
                    let mut connection = PgConnection::connect(admin).await?;
                    connection.execute(stent::sea_orm::sqlx::AssertSqlSafe(statement.as_str())).await?;
                    connection.close().await
                };
                let Err(error) = done.await else { break };
                if Moment::now().since(start) > PATIENCE {
                    return Err(error).with_context(|| statement.clone());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}
