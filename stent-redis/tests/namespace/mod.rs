//! A private namespace for one test, on the Redis server in `STENT_REDIS_URL`. Dropping it deletes all its keys.
//! Tests that see only `stent` include this module by its path: it knows nothing of Stent except the form of a URL.

use std::error::Error;

use uuid::Uuid;

/// The environment variable with the URL of the server.
const VARIABLE: &str = "STENT_REDIS_URL";

/// The most keys that one command deletes.
const PIECE: usize = 1_000;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Returns the URL of the server to test against.
pub(crate) fn url() -> Result<String, BoxError> {
    std::env::var(VARIABLE).map_err(|_| {
        format!(
            "{VARIABLE} names no server to test against, like redis://localhost:6379; `cargo xtask test` finds or starts one \
             and sets it"
        )
        .into()
    })
}

#[derive(Debug)]
pub(crate) struct Namespace {
    server: String,
    name: String,
}

impl Namespace {
    /// Draws a name that no other namespace has.
    ///
    /// # Panics
    /// If no server is set: a test that did not run must not look like a test that passed.
    pub(crate) fn new() -> Self {
        let server = url().unwrap_or_else(|error| panic!("{error}"));
        Self { server, name: format!("test_{}", Uuid::now_v7().simple()) }
    }

    /// Returns the URL of a store in the namespace. The store requires no durability, because tests need no data after a crash.
    pub(crate) fn url(&self) -> String {
        let and = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{and}namespace={}&durability=none", self.server, self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.server, &format!("stent:{{{}}}:*", self.name)) {
            eprintln!("the test left the namespace {} on the server: {error}", self.name);
        }
    }
}

/// Deletes the keys that match a pattern.
fn delete(server: &str, pattern: &str) -> redis::RedisResult<()> {
    let server = server.split('?').next().unwrap_or(server);
    let mut connection = redis::Client::open(server)?.get_connection()?;
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(PIECE);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query(&mut connection)?;
        if !keys.is_empty() {
            redis::cmd("UNLINK").arg(keys).exec(&mut connection)?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}
