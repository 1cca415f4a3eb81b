//! The store of a run: its location, and its faults.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use stent::ExecutionId;
use stent::sea_orm::sqlx::sqlite::SqliteConnectOptions;
use stent::sea_orm::sqlx::{Connection, Executor, PgConnection, Row, SqliteConnection};
use tokio::sync::Mutex;

use crate::faults::Backend;
use crate::moment::Moment;
use crate::programs;
use crate::redis_server;
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
    Redis(Mutex<redis_server::Server>),
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
            Backend::Redis => {
                let server = tokio::task::block_in_place(|| redis_server::Server::start(&[]));
                let url = format!("redis://127.0.0.1:{}?namespace={NAME}&response_timeout=3s", server.port());
                Ok(Self { url, place: Place::Redis(Mutex::new(server)) })
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
        match &self.place {
            Place::File(_) => Ok(()),
            Place::Server { server, .. } => {
                let mut server = server.lock().await;
                server.stop();
                tokio::time::sleep(after).await;
                server.start_again().await;
                Ok(())
            }
            Place::Redis(server) => {
                let mut server = server.lock().await;
                server.kill();
                tokio::time::sleep(after).await;
                tokio::task::block_in_place(|| server.run()).map_err(Error::msg)
            }
        }
    }

    /// Ends all connections of the workers and the dispatcher. A Redis server also forgets its scripts.
    pub(crate) async fn terminate(&self) -> Result<()> {
        if let Place::Redis(_) = &self.place {
            self.command(&["SCRIPT", "FLUSH"]).await?;
            return self.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        }
        let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{NAME}'");
        self.administer(&[sql]).await
    }

    /// Makes all sessions read-only: new ones by a setting, open ones by ending them. Sessions that are open when the fault
    /// ends stay read-only, as after a failover: their owners have to notice.
    pub(crate) async fn be_read_only(&self, duration: Duration) -> Result<()> {
        if let Place::Redis(_) = &self.place {
            // A port on which nobody listens: the replica keeps its data.
            self.command(&["REPLICAOF", "127.0.0.1", "1"]).await?;
            tokio::time::sleep(duration).await;
            return self.command(&["REPLICAOF", "NO", "ONE"]).await;
        }
        self.administer(&[
            format!("ALTER ROLE {NAME} SET default_transaction_read_only = on"),
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{NAME}'"),
        ])
        .await?;
        tokio::time::sleep(duration).await;
        self.administer(&[format!("ALTER ROLE {NAME} RESET default_transaction_read_only")]).await
    }

    /// Stops the process of the server for a while.
    pub(crate) async fn freeze(&self, duration: Duration) -> Result<()> {
        let Place::Redis(server) = &self.place else { return Ok(()) };
        let server = server.lock().await;
        let pid = server.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.context("the server does not run")?;
        kill_process(pid, Signal::STOP)?;
        tokio::time::sleep(duration).await;
        Ok(kill_process(pid, Signal::CONT)?)
    }

    /// Makes the server refuse writes for lack of memory. A restart may end this earlier.
    pub(crate) async fn fill_memory(&self, duration: Duration) -> Result<()> {
        self.command(&["CONFIG", "SET", "maxmemory", "1"]).await?;
        tokio::time::sleep(duration).await;
        self.command(&["CONFIG", "SET", "maxmemory", "0"]).await
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

    /// The step place of each row in the application's table.
    pub(crate) async fn rows(&self) -> Result<Vec<String>> {
        let sql = "SELECT place FROM chaos_posted";
        Ok(match &self.place {
            Place::Redis(_) => Vec::new(),
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

    /// Runs a command on the Redis server, again until it succeeds: another fault may keep the server away.
    async fn command(&self, words: &[&str]) -> Result<()> {
        let Place::Redis(server) = &self.place else { return Ok(()) };
        let start = Moment::now();
        loop {
            // Not locked for the command: the server may stand still meanwhile.
            let port = server.lock().await.port();
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let done = tokio::task::spawn_blocking(move || run(port, &words)).await?;
            match done {
                Ok(()) => return Ok(()),
                Err(error) if Moment::now().since(start) > PATIENCE => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
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

/// Runs a command on the Redis server at a port.
fn run(port: u16, words: &[String]) -> redis::RedisResult<()> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let Some((name, args)) = words.split_first() else { return Ok(()) };
    redis::cmd(name).arg(args).exec(&mut connection)
}
