//! The connection to the server: sends commands, pipelines and scripts, and returns errors of a store.
//!
//! All callers of a link share one connection. When the connection breaks, the next call opens another connection. After each
//! failed attempt to connect, the link pauses for longer, and calls within the pause fail at once with the last failure.
//!
//! **A link sends no command twice**, except when the server reports that it has not run the command: it has lost the script
//! (`NOSCRIPT`), or another node serves the namespace (`MOVED`). The link does not follow `ASK`: while a slot moves, its new node
//! has only some rows of the namespace, and a script there would treat the other rows as absent. See
//! `docs/decisions/0029-the-link-to-redis.md`.

mod connect;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Script, Value};
use stent_core::backend::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::error::{Call, Verdict, failed, is_missing_script, is_wrong_type, unexpected, verdict};
use crate::keys::{Keys, shown};
use crate::options::RedisOptions;

use connect::Way;
pub(crate) use connect::{Purpose, said};

/// The pause after the first failed attempt to connect. Each further failure doubles the pause.
const PAUSE_MIN: Duration = Duration::from_millis(25);

/// The longest pause between two attempts, and so the longest time until the link notices that a server is back.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many pages of keys a link searches for a value that is not Stent's, and the size of a page: 100,000 keys take about a
/// second.
const SEARCH_PAGES: usize = 100;
const SEARCH_PAGE: usize = 1_000;

/// The keys that a link remembers. A program that has written under more of them is found by one of these.
const FOUND_MAX: usize = 16;

/// A search may read that many keys, and the call that failed is retried for as long as nobody deletes the key.
const SEARCH_EVERY: Duration = Duration::from_secs(60);

/// How often a link sends a command again because the namespace has moved. The nodes agree after one move.
const MOVES_MAX: u32 = 2;

/// A connection that many callers share and that the next call reopens after a failure.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    way: Way,
    open: Mutex<Option<Opened>>,
    /// Locked by the caller that opens a connection.
    door: tokio::sync::Mutex<Door>,
    search: Mutex<Search>,
    is_closed: AtomicBool,
}

/// The last search of the namespace for a value that is not Stent's.
#[derive(Debug, Default)]
struct Search {
    began: Option<Instant>,
    /// The keys under which such values were found, at most [`FOUND_MAX`]: they are looked at first.
    found: Vec<Vec<u8>>,
}

impl Search {
    /// Whether it is time for a search, which then begins.
    fn begins(&mut self, now: Instant) -> bool {
        let is_due = self.began.is_none_or(|began| now.duration_since(began) >= SEARCH_EVERY);
        if is_due {
            self.began = Some(now);
        }
        is_due
    }
}

#[derive(Clone)]
struct Opened {
    /// Distinguishes a connection from the one that replaced it.
    nth: u64,
    connection: MultiplexedConnection,
}

/// The results of the last attempts to connect.
#[derive(Default)]
struct Door {
    opened: u64,
    failures: u32,
    last: Option<Failure>,
}

struct Failure {
    kind: ErrorKind,
    message: String,
    /// The end of the pause: no caller tries to connect before this moment.
    until: Instant,
}

impl Link {
    /// Opens a link to the server of a store, and checks that the server can keep executions.
    ///
    /// An unreachable server is no error here: the first call reports it, so a process can start before its server.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the options are invalid, if the server refuses the login, or if `server.rs` refuses the server.
    ///
    /// Returns the reason beside the link if the server cannot be reached now.
    pub(crate) async fn open(options: &RedisOptions) -> Result<(Self, Option<Error>)> {
        Self::open_for(options, Purpose::Store).await
    }

    /// Opens a link for this purpose.
    pub(crate) async fn open_for(options: &RedisOptions, purpose: Purpose) -> Result<(Self, Option<Error>)> {
        let link = Self(Arc::new(Shared {
            way: Way::new(options, purpose)?,
            open: Mutex::default(),
            door: tokio::sync::Mutex::default(),
            search: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }));
        match link.connection("connect").await {
            Err(error) if !error.is_transient() => Err(error),
            connected => Ok((link, connected.err())),
        }
    }

    /// Runs a command.
    ///
    /// # Errors
    /// The errors of [`failed`]. Unless the message says otherwise, the server may have applied the command.
    pub(crate) async fn run<T: FromRedisValue>(&self, operation: &'static str, cmd: &Cmd) -> Result<T> {
        let key = cmd.args_iter().nth(1).and_then(|arg| match arg {
            redis::Arg::Simple(key) => Some(key),
            _ => None,
        });
        let call = self.call(operation, key);
        let ran = self.sent(call, cmd, None).await?;
        T::from_redis_value(ran).map_err(|error| unexpected(call, error))
    }

    /// Runs a pipeline. If one of its commands fails, the server may have applied others. A link never sends a pipeline twice.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T> {
        let call = self.call(operation, None);
        let opened = self.connection(operation).await?;
        match pipeline.query_async::<Value>(&mut opened.connection.clone()).await {
            Ok(ran) => T::from_redis_value(ran).map_err(|error| unexpected(call, error)),
            Err(error) => {
                let is_wrong_type = is_wrong_type(&error);
                let error = self.learn(call, &opened, error);
                Err(if is_wrong_type {
                    self.misplaced(&opened, pipeline.cmd_iter(), error).await
                } else {
                    error
                })
            }
        }
    }

    /// Runs a script by its hash, and loads the script if the server does not have it.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Script,
        key: &[u8],
        args: &[Vec<u8>],
    ) -> Result<T> {
        let call = self.call(operation, Some(key));
        let mut run = redis::cmd("EVALSHA");
        run.arg(script.get_hash()).arg(1).arg(key);
        for arg in args {
            run.arg(arg.as_slice());
        }
        let ran = self.sent(call, &run, Some(script)).await?;
        T::from_redis_value(ran).map_err(|error| unexpected(call, error))
    }

    /// Opens a dedicated connection to the same server, without a limit on the time until a reply.
    pub(crate) async fn dedicated(&self) -> Result<MultiplexedConnection> {
        if self.0.is_closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "connect"));
        }
        self.0.way.connect(None).await
    }

    /// Returns the options of the link.
    pub(crate) fn options(&self) -> &RedisOptions {
        self.0.way.options()
    }

    /// Closes the link: later calls fail with [`ErrorKind::Closed`], and the connection closes after the running calls.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        *self.opened() = None;
    }

    fn call<'a>(&'a self, operation: &'static str, key: Option<&'a [u8]>) -> Call<'a> {
        Call { operation, server: self.0.way.server(), key }
    }

    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a command once. Sends it again, to another node, if the first node replies that it does not serve the namespace.
    async fn sent(&self, call: Call<'_>, cmd: &Cmd, script: Option<&Script>) -> Result<Value> {
        let mut moves = 0;
        loop {
            let opened = self.connection(call.operation).await?;
            let error = match send(&mut opened.connection.clone(), cmd, script).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let (is_moved, is_wrong_type) = (verdict(&error) == Verdict::Redirect, is_wrong_type(&error));
            let error = self.learn(call, &opened, error);
            if is_wrong_type {
                return Err(self.misplaced(&opened, std::iter::once(cmd), error).await);
            }
            if !is_moved || moves == MOVES_MAX || !self.options().cluster {
                return Err(error);
            }
            moves += 1;
        }
    }

    /// Converts the error, and gives up the connection if the error comes from the connection.
    fn learn(&self, call: Call<'_>, opened: &Opened, error: RedisError) -> Error {
        if verdict(&error) != Verdict::Keep {
            let mut open = self.opened();
            if open.as_ref().is_some_and(|open| open.nth == opened.nth) {
                *open = None;
            }
        }
        failed(call, error)
    }

    /// Names the key under which another program has written: the reply to a script or a pipeline does not. If it cannot be found,
    /// the error stays as it is.
    async fn misplaced(&self, opened: &Opened, sent: impl Iterator<Item = &Cmd>, error: Error) -> Error {
        let keys = Keys::new(&self.options().namespace);
        let mut used = keys.singles();
        for arg in sent.flat_map(Cmd::args_iter) {
            match arg {
                redis::Arg::Simple(word) if word.starts_with(keys.prefix()) => used.push(word.to_vec()),
                _ => {}
            }
        }
        let searches = {
            let mut search = self.search();
            used.extend(search.found.iter().cloned());
            // Otherwise the keys at hand are looked at.
            search.begins(Instant::now())
        };
        let mut connection = opened.connection.clone();
        let found = find_misplaced(&mut connection, &keys, used, searches).await;
        if let Ok(Some((key, ..))) = &found {
            let mut search = self.search();
            if !search.found.contains(key) && search.found.len() < FOUND_MAX {
                search.found.push(key.clone());
            }
        }
        match found {
            Ok(Some((key, is, should))) => Error::new(ErrorKind::Corrupt, error.operation())
                .with_message(format!(
                    "{} stores a {is} under {}, where Stent keeps a {should}; another program wrote it: restore a backup, or delete the key there and lose what it held",
                    self.0.way.server(),
                    shown(&key)
                ))
                .with_source(error),
            Ok(None) | Err(_) => error,
        }
    }

    /// Searches a bounded part of the namespace for a key under which another program has written, and returns the key with what
    /// is there and what should be.
    pub(crate) async fn find_foreign(
        &self,
        operation: &'static str,
    ) -> Result<Option<(Vec<u8>, String, &'static str)>> {
        let opened = self.connection(operation).await?;
        let keys = Keys::new(&self.options().namespace);
        let found = find_misplaced(&mut opened.connection.clone(), &keys, keys.singles(), true).await;
        found.map_err(|error| failed(self.call(operation, None), error))
    }

    fn search(&self) -> MutexGuard<'_, Search> {
        self.0.search.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self, operation: &'static str) -> Result<Opened> {
        if self.0.is_closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, operation));
        }
        if let Some(opened) = &*self.opened() {
            return Ok(opened.clone());
        }
        let mut door = self.0.door.lock().await;
        // Another caller may have opened a connection meanwhile.
        if let Some(opened) = &*self.opened() {
            return Ok(opened.clone());
        }
        if let Some(failure) = door.last.as_ref().filter(|failure| Instant::now() < failure.until) {
            return Err(Error::new(failure.kind, operation).with_message(failure.message.clone()));
        }
        match self.0.way.connect(self.0.way.response_timeout()).await {
            Ok(connection) => {
                let opened = Opened { nth: door.opened, connection };
                *door = Door { opened: door.opened + 1, ..Door::default() };
                *self.opened() = Some(opened.clone());
                if self.0.is_closed.load(Ordering::Acquire) {
                    *self.opened() = None;
                }
                Ok(opened)
            }
            Err(error) => {
                door.failures = door.failures.saturating_add(1);
                let until = Instant::now() + pause(door.failures);
                let message = connect::said(&error);
                let failure = Failure { kind: error.kind(), message, until };
                let error = Error::new(failure.kind, operation).with_message(failure.message.clone());
                door.last = Some(failure);
                Err(error)
            }
        }
    }
}

/// Sends a command. If the command runs a script that the server does not have, loads the script and sends the command again.
async fn send(
    connection: &mut MultiplexedConnection,
    cmd: &Cmd,
    script: Option<&Script>,
) -> RedisResult<Value> {
    match (cmd.query_async::<Value>(connection).await, script) {
        (Err(error), Some(script)) if is_missing_script(&error) => {
            // EVAL loads a script too, but newer servers evict such scripts sooner.
            script.prepare_invoke().load_async(connection).await?;
            cmd.query_async::<Value>(connection).await
        }
        (sent, _) => sent,
    }
}

/// Searches these keys, and then, if it is time for that, a bounded part of the namespace, for a key whose value has another type than it should. Returns
/// the key with both types.
async fn find_misplaced(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    used: Vec<Vec<u8>>,
    searches: bool,
) -> RedisResult<Option<(Vec<u8>, String, &'static str)>> {
    let (mut found, mut next) = (used, searches.then_some(0_u64));
    for _ in 0..=SEARCH_PAGES {
        for page in found.chunks(SEARCH_PAGE) {
            let mut pipeline = Pipeline::new();
            page.iter().for_each(|key| _ = pipeline.cmd("TYPE").arg(key));
            let types: Vec<String> = pipeline.query_async(connection).await?;
            for (key, is) in page.iter().zip(types) {
                if let Some(should) = keys.type_of(key).filter(|should| is != "none" && is != *should) {
                    return Ok(Some((key.clone(), is, should)));
                }
            }
        }
        let Some(cursor) = next else { break };
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg([keys.prefix(), b"*"].concat()).arg("COUNT").arg(SEARCH_PAGE);
        let (cursor, page): (u64, Vec<Vec<u8>>) = scan.query_async(connection).await?;
        (found, next) = (page, (cursor != 0).then_some(cursor));
    }
    Ok(None)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.options().location()).finish()
    }
}

/// Returns the pause after this number of consecutive failures. Each failure doubles the pause. A random jitter shortens it by up
/// to a half, so that processes that lost the same server do not reconnect at the same moment.
pub(crate) fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX);
    let chance = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    doubled - doubled / 2 * chance / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_retried_searches_the_namespace_once_a_minute() {
        let (mut search, start) = (Search::default(), Instant::now());
        let after: Vec<_> =
            (0..150).filter(|seconds| search.begins(start + Duration::from_secs(*seconds))).collect();
        assert_eq!(after, [0, 60, 120]);
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        for (failures, most) in
            [(1, 25), (2, 50), (3, 100), (6, 800), (7, 1_000), (40, 1_000), (u32::MAX, 1_000)]
        {
            let most = Duration::from_millis(most);
            for _ in 0..100 {
                let pause = pause(failures);
                assert!(most / 2 <= pause && pause <= most, "{failures}: {pause:?}");
            }
        }
    }
}
