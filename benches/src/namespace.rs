//! A namespace for one measurement, on the Redis server that `STENT_REDIS_URL` names, and what the server says about itself.

use anyhow::{Context, Result, ensure};
use redis::{Client, Connection};

use crate::plan::Durability;

const VARIABLE: &str = "STENT_REDIS_URL";

/// The URL of the server.
fn server() -> Result<String> {
    std::env::var(VARIABLE).with_context(|| {
        format!(
            "{VARIABLE} names no server to measure, like redis://localhost:6379; `cargo xtask bench --backend redis` finds or \
             starts one and sets it"
        )
    })
}

/// A connection to the server.
pub(crate) fn connect() -> Result<Connection> {
    Client::open(plain(&server()?))?.get_connection().context("cannot connect to Redis")
}

/// An unused name, and a connection to its server.
pub(crate) struct Namespace {
    server: String,
    name: String,
    connection: Connection,
    /// The server's `appendfsync`.
    pub(crate) appendfsync: String,
}

impl Namespace {
    /// Draws a name on the server, whose settings must be those of the durability to measure.
    pub(crate) fn name_one(durability: Durability) -> Result<Self> {
        let server = server()?;
        let mut connection = connect()?;
        let appendonly = setting(&mut connection, "appendonly")?;
        let appendfsync = setting(&mut connection, "appendfsync")?;
        let needed = match durability {
            Durability::Full => "always",
            Durability::Normal | Durability::None => "everysec",
        };
        ensure!(
            appendonly == "yes" && appendfsync == needed,
            "the server has appendonly {appendonly} and appendfsync {appendfsync}; this durability is measured on a server with \
             appendonly yes and appendfsync {needed}"
        );
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let name = format!("bench_{}_{}", std::process::id(), now.as_micros());
        Ok(Self { server, name, connection, appendfsync })
    }

    pub(crate) fn url(&self) -> String {
        let mark = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{mark}namespace={}", self.server, self.name)
    }

    /// The bytes that the server has allocated, for all that it keeps.
    pub(crate) fn used_memory(&mut self) -> Result<u64> {
        let info: String = redis::cmd("INFO").arg("memory").query(&mut self.connection)?;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.context("the server does not say how much memory it uses")?.trim().parse().context("used_memory")
    }

    /// The commands that the server has run, for everyone.
    pub(crate) fn commands(&mut self) -> Result<u64> {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut self.connection)?;
        let commands = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        commands
            .context("the server does not count its commands")?
            .trim()
            .parse()
            .context("total_commands_processed")
    }

    /// The name alone, and the server, for a peer that has its own way to use it.
    pub(crate) fn for_a_peer(&self) -> (&str, &str) {
        (plain(&self.server), &self.name)
    }

    /// Deletes its keys, and those that have its name in another place: a peer's.
    pub(crate) fn drop(mut self) -> Result<()> {
        /// The most keys that one command deletes.
        const PIECE: usize = 1_000;
        let pattern = format!("*{}*", self.name);
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(PIECE);
            let (next, keys): (u64, Vec<Vec<u8>>) = scan.query(&mut self.connection)?;
            if !keys.is_empty() {
                redis::cmd("UNLINK").arg(keys).exec(&mut self.connection)?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Namespace").field(&self.name).finish()
    }
}

/// The URL without Stent's own parameters.
fn plain(server: &str) -> &str {
    server.split('?').next().unwrap_or(server)
}

fn setting(connection: &mut Connection, name: &str) -> Result<String> {
    let answer: Vec<String> = redis::cmd("CONFIG").arg("GET").arg(name).query(connection)?;
    answer.into_iter().nth(1).with_context(|| format!("the server does not tell its {name}"))
}
