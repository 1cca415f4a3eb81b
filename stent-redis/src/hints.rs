//! Hints through a stream: [`HintReader`] reads a stream, and [`RedisHints`] also writes to it, for stores that are not in Redis.
//! Both report to a [`Health`] whether they work.
//!
//! An entry has the field `t`, which is `w` for [`Topic::Work`], `e` for [`Topic::Ended`] or `we` for both. It may have the field
//! `o`, the id of the handle that wrote it. The stream is `stent:{namespace}:hints`. Every write trims it, so it stays small. A
//! slow reader loses old entries, and newer entries of the same topics replace them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use stent_core::backend::{Error, HintChannel, Hints, Listener, Result, Topic};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::error::{Call, failed};
use crate::keys::Keys;
use crate::link::{Link, Purpose, pause, said};
use crate::options::RedisOptions;
use crate::store::RedisStore;

/// The approximate number of entries that the stream keeps. A reader that is further behind still gets newer hints.
const ENTRIES_MAX: u32 = 1_000;

/// How long a read waits for an entry. The reader detects a silently broken connection after this time plus [`SILENCE`].
const BLOCK: Duration = Duration::from_secs(5);

/// How much later than [`BLOCK`] a reply may arrive.
const SILENCE: Duration = Duration::from_secs(10);

/// The pause between two entries of one writer. Changes within the pause share an entry.
const GAP: Duration = Duration::from_millis(2);

/// How long closing a handle waits for the last entry to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the first read on a connection waits for an entry. Its reply shows that the connection works, so it must not wait for
/// long.
const PROBE: Duration = Duration::from_millis(1);

/// Reads the hints of one namespace on a dedicated connection, until the reader is closed or dropped.
pub(crate) struct HintReader {
    topics: Arc<Topics>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Topics {
    work: watch::Sender<()>,
    ended: watch::Sender<()>,
}

impl HintReader {
    /// Starts to read. The reader sees every entry that is written after this method returns. If the server is unreachable, the
    /// reader keeps trying to connect, and sends a hint for both topics once it is connected.
    ///
    /// `trouble` is the reason if the link could not connect just now. The reader then does not make its caller wait for the server
    /// once more.
    ///
    /// # Panics
    /// If it is called outside a tokio runtime.
    pub(crate) async fn open(link: &Link, stream: Vec<u8>, trouble: Option<Error>) -> Result<Self> {
        let health = Arc::new(Health::new(link.options().location()));
        let stream = Stream { link: link.clone(), key: stream, origin: Vec::new() };
        Self::open_beside(stream, health, trouble).await
    }

    /// Like [`open`](Self::open), for a stream with an origin: the writer of its entries has notified its own listeners already.
    async fn open_beside(stream: Stream, health: Arc<Health>, trouble: Option<Error>) -> Result<Self> {
        let attempt = health.attempt();
        let began = match trouble {
            Some(error) => Err(error),
            None => stream.begin().await,
        };
        let began = match began {
            Err(error) if !error.is_transient() => return Err(error),
            Err(error) => {
                health.fails(Direction::Incoming, attempt, &error);
                None
            }
            Ok(place) => Some(place),
        };
        let topics = Arc::new(Topics { work: watch::Sender::new(()), ended: watch::Sender::new(()) });
        let task = tokio::spawn(follow(stream, Arc::clone(&topics), health, began)).abort_handle();
        Ok(Self { topics, task })
    }

    /// Starts to listen. The listener registers every hint from now on, even between two calls of `changed`.
    pub(crate) fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        Box::new(Heard(self.topics.sender(topic).subscribe()))
    }

    /// Stops reading. Listeners get no more hints.
    pub(crate) fn close(&self) {
        self.task.abort();
    }
}

impl Drop for HintReader {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for HintReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HintReader").field("is_closed", &self.task.is_finished()).finish_non_exhaustive()
    }
}

impl Topics {
    fn sender(&self, topic: Topic) -> &watch::Sender<()> {
        match topic {
            Topic::Work => &self.work,
            Topic::Ended => &self.ended,
        }
    }

    fn hint_all(&self) {
        self.work.send_replace(());
        self.ended.send_replace(());
    }

    /// Passes on the hints of these entries.
    fn hint<'a>(&self, entries: impl Iterator<Item = &'a Fields>) {
        let (mut work, mut ended) = (false, false);
        for about in entries.filter_map(|fields| fields.get("t")) {
            work |= about.contains(&b'w');
            ended |= about.contains(&b'e');
        }
        if work {
            self.work.send_replace(());
        }
        if ended {
            self.ended.send_replace(());
        }
    }
}

#[derive(Debug)]
struct Heard(watch::Receiver<()>);

#[async_trait]
impl Listener for Heard {
    async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The reader has been dropped, so no hint follows.
            std::future::pending::<()>().await;
        }
    }
}

/// The stream to read, and the origin whose entries the reader ignores.
struct Stream {
    link: Link,
    key: Vec<u8>,
    origin: Vec<u8>,
}

/// A position in the stream, and the connection that continues to read from it.
struct Place {
    connection: MultiplexedConnection,
    last: String,
    /// Whether a read has succeeded.
    is_proved: bool,
}

type Fields = HashMap<String, Vec<u8>>;
type Entries = Vec<(String, Fields)>;

impl Stream {
    /// Connects, and finds the position after the last entry.
    async fn begin(&self) -> Result<Place> {
        let mut connection = self.link.dedicated().await?;
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        let newest = timeout(SILENCE, newest.query_async::<Entries>(&mut connection)).await;
        let newest = newest.unwrap_or_else(|elapsed| Err(silent(elapsed))).map_err(|error| {
            let server = self.link.options().server_name();
            failed(Call { operation: "listen", server: &server, key: Some(&self.key) }, error)
        })?;
        let last = newest.into_iter().next().map_or_else(|| "0-0".to_owned(), |(id, _)| id);
        Ok(Place { connection, last, is_proved: false })
    }

    /// Waits for entries and returns them. Returns no entries after [`BLOCK`], or at once if it is the connection's first read.
    async fn next(&self, place: &mut Place) -> RedisResult<Entries> {
        let block = if place.is_proved { BLOCK } else { PROBE };
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(ENTRIES_MAX).arg("BLOCK").arg(block.as_millis().to_string());
        read.arg("STREAMS").arg(&self.key).arg(&place.last);
        let read = read.query_async::<Option<Vec<(Vec<u8>, Entries)>>>(&mut place.connection);
        let read = timeout(BLOCK + SILENCE, read).await.unwrap_or_else(|elapsed| Err(silent(elapsed)))?;
        let entries: Entries = read.into_iter().flatten().flat_map(|(_, entries)| entries).collect();
        if let Some((id, _)) = entries.last() {
            place.last.clone_from(id);
        }
        place.is_proved = true;
        Ok(entries)
    }

    fn is_own(&self, fields: &Fields) -> bool {
        !self.origin.is_empty() && fields.get("o") == Some(&self.origin)
    }
}

fn silent(elapsed: tokio::time::error::Elapsed) -> RedisError {
    std::io::Error::from(elapsed).into()
}

async fn follow(stream: Stream, topics: Arc<Topics>, health: Arc<Health>, mut began: Option<Place>) {
    let mut failures = u32::from(began.is_none());
    if began.is_none() {
        sleep(pause(failures)).await;
    }
    loop {
        let attempt = health.attempt();
        let begun = match began.take() {
            Some(place) => Ok(place),
            // The reader has missed the entries that were written since it lost the connection.
            None => stream.begin().await.inspect(|_| topics.hint_all()),
        };
        match begun {
            Err(error) => health.fails(Direction::Incoming, attempt, &error),
            Ok(mut place) => {
                let error = loop {
                    match stream.next(&mut place).await {
                        Ok(entries) => {
                            failures = 0;
                            health.works(Direction::Incoming);
                            topics
                                .hint(entries.iter().map(|(_, fields)| fields).filter(|f| !stream.is_own(f)));
                        }
                        Err(error) => break error,
                    }
                };
                if place.is_proved || failures == 0 {
                    // A connection may break while the server is up. It is an outage if the next one does not work either.
                    tracing::debug!(%error, "lost a connection for hints");
                } else {
                    health.fails(Direction::Incoming, attempt, &error);
                }
            }
        }
        failures = failures.saturating_add(1);
        sleep(pause(failures)).await;
    }
}

/// Whether hints go through in both directions. Logs one warning per outage, and counts outages. An outage begins when either
/// direction fails, and ends when both work.
#[derive(Debug)]
struct Health {
    server: String,
    state: Mutex<State>,
    outages: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    broken: Broken,
    /// How many outages have ended.
    ended: u64,
}

/// When an attempt to read or to send began: after this number of outages had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt(u64);

/// The directions that fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Broken {
    incoming: bool,
    outgoing: bool,
}

/// The direction of hints, as this process sees it.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Incoming,
    Outgoing,
}

impl Health {
    fn new(server: String) -> Self {
        Self { server, state: Mutex::default(), outages: watch::Sender::new(0) }
    }

    /// An attempt begins.
    fn attempt(&self) -> Attempt {
        Attempt(self.state().ended)
    }

    /// An attempt has failed. If an outage has ended since it began, it says nothing about the server as it is now: the two
    /// directions do not wait for each other, and the other one was faster. The next attempt tells.
    fn fails(&self, direction: Direction, attempt: Attempt, error: &(dyn std::error::Error + Send + Sync)) {
        let (server, mut state) = (&self.server, self.state());
        let is_new = state.broken == Broken::default();
        if is_new && state.ended != attempt.0 {
            tracing::debug!(server, %error, "an attempt failed that began before hints got through again");
            return;
        }
        state.broken.set(direction, true);
        drop(state);
        if is_new {
            self.outages.send_modify(|outages| *outages += 1);
            tracing::warn!(server, %error, "hints do not get through; changes are found by polling meanwhile");
        } else {
            tracing::debug!(server, %error, "hints still do not get through");
        }
    }

    fn works(&self, direction: Direction) {
        let mut state = self.state();
        let was = state.broken;
        state.broken.set(direction, false);
        let has_ended = was != state.broken && state.broken == Broken::default();
        state.ended += u64::from(has_ended);
        drop(state);
        if has_ended {
            tracing::info!(server = self.server, "hints get through again");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broken {
    const fn set(&mut self, direction: Direction, fails: bool) {
        match direction {
            Direction::Incoming => self.incoming = fails,
            Direction::Outgoing => self.outgoing = fails,
        }
    }
}

impl Hints for RedisStore {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        self.hints.listen(topic)
    }
}

/// A channel of hints through Redis, for stores that are not in Redis. Processes that share an SQLite file or a Postgres database
/// learn of each other's changes at once, even where the store's own hints are slow or do not arrive.
///
/// Pass it to `stent::StentBuilder::hints`, or put it in front of a store with [`Announced`](stent_core::backend::Announced).
/// Connect a handle for each store: a handle does not notify its own listeners, because the store does.
///
/// Hints may be lost, so the server needs no append-only file, and may evict keys. While it is unreachable, changes are found by
/// polling, and the handle logs one warning per outage. It repairs itself.
///
/// ```no_run
/// # async fn example(store: std::sync::Arc<dyn stent_core::backend::Store>) -> stent_core::backend::Result<()> {
/// use std::sync::Arc;
/// use stent_core::backend::Announced;
/// use stent_redis::RedisHints;
///
/// let hints = RedisHints::connect("redis://cache?namespace=orders").await?;
/// let store = Announced::new(store, Arc::new(hints));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisHints {
    reader: HintReader,
    told: Arc<Told>,
    health: Arc<Health>,
    sender: Mutex<Option<JoinHandle<()>>>,
}

/// Topics whose hints have not been sent yet.
#[derive(Debug, Default)]
struct Told {
    work: AtomicBool,
    ended: AtomicBool,
    is_closing: AtomicBool,
    due: Notify,
}

impl RedisHints {
    /// Connects to the server at this URL. All processes that share a store must use the same server and namespace. The form of
    /// the URL is that of [`RedisOptions`].
    ///
    /// An unreachable server is no error: hints begin when the server is reachable, and until then changes are found by polling.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](stent_core::backend::ErrorKind::Config) if the URL is invalid, or if the server refuses the login.
    ///
    /// # Panics
    /// If it is called outside a tokio runtime.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::open(&url.parse().map_err(of_hints)?).await
    }

    /// Connects to the server in these options, and ignores their [`durability`](RedisOptions::durability).
    ///
    /// # Errors
    /// The same as [`connect`](Self::connect).
    ///
    /// # Panics
    /// If it is called outside a tokio runtime.
    pub async fn open(options: &RedisOptions) -> Result<Self> {
        let (link, trouble) = Link::open_for(options, Purpose::Hints).await.map_err(of_hints)?;
        let key = Keys::new(&options.namespace).one("hints");
        let origin = uuid::Uuid::new_v4().as_bytes().to_vec();
        let health = Arc::new(Health::new(options.location()));
        let stream = Stream { link: link.clone(), key: key.clone(), origin: origin.clone() };
        let reader = HintReader::open_beside(stream, Arc::clone(&health), trouble).await.map_err(of_hints)?;
        let told = Arc::new(Told::default());
        let sender = Sender { link, key, origin, told: Arc::clone(&told), health: Arc::clone(&health) };
        let sender = Mutex::new(Some(tokio::spawn(sender.send_all())));
        Ok(Self { reader, told, health, sender })
    }

    fn take_sender(&self) -> Option<JoinHandle<()>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An error that names the hints, so that nobody looks for it in the URL of the store.
fn of_hints(error: Error) -> Error {
    Error::new(error.kind(), "connect hints").with_message(said(&error)).with_source(error)
}

impl Hints for RedisHints {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        self.reader.listen(topic)
    }
}

#[async_trait]
impl HintChannel for RedisHints {
    /// Notifies the other processes. A background task sends the hint; calls during such a send share the next entry.
    fn notify(&self, topic: Topic) {
        match topic {
            Topic::Work => self.told.work.store(true, Ordering::Release),
            Topic::Ended => self.told.ended.store(true, Ordering::Release),
        }
        self.told.due.notify_one();
    }

    async fn outages(&self, seen: u64) -> u64 {
        let mut outages = self.health.outages.subscribe();
        let counted = outages.wait_for(|outages| *outages > seen).await.map(|outages| *outages);
        // The sender lives as long as this handle, so the wait does not fail.
        counted.unwrap_or(seen)
    }

    async fn close(&self) {
        self.reader.close();
        self.told.is_closing.store(true, Ordering::Release);
        self.told.due.notify_one();
        if let Some(mut sender) = self.take_sender()
            && timeout(LAST_WORDS, &mut sender).await.is_err()
        {
            sender.abort();
        }
    }
}

impl Drop for RedisHints {
    fn drop(&mut self) {
        self.take_sender().iter().for_each(JoinHandle::abort);
    }
}

/// The sending side of a handle.
struct Sender {
    link: Link,
    key: Vec<u8>,
    origin: Vec<u8>,
    told: Arc<Told>,
    health: Arc<Health>,
}

impl Sender {
    /// Sends hints, one entry at a time, until the handle is closed. The next entry repeats the topics of an entry that failed.
    async fn send_all(self) {
        let told = &*self.told;
        let mut failures = 0_u32;
        loop {
            told.due.notified().await;
            let is_last = told.is_closing.load(Ordering::Acquire);
            let work = told.work.swap(false, Ordering::AcqRel);
            let ended = told.ended.swap(false, Ordering::AcqRel);
            let about = match (work, ended) {
                (true, true) => "we",
                (true, false) => "w",
                (false, true) => "e",
                (false, false) if is_last => return,
                (false, false) => continue,
            };
            let attempt = self.health.attempt();
            let mut sent = self.send(about).await;
            if sent.is_err() && failures == 0 {
                // The connection may have broken long ago, and the server may be back. The attempt on another connection tells.
                // If both get through, the second entry costs other processes a look.
                sent = self.send(about).await;
            }
            match sent {
                Ok(()) => {
                    failures = 0;
                    self.health.works(Direction::Outgoing);
                    if is_last {
                        return;
                    }
                    sleep(GAP).await;
                }
                Err(error) => {
                    self.health.fails(Direction::Outgoing, attempt, &error);
                    if is_last {
                        return;
                    }
                    told.work.fetch_or(work, Ordering::AcqRel);
                    told.ended.fetch_or(ended, Ordering::AcqRel);
                    told.due.notify_one();
                    failures = failures.saturating_add(1);
                    sleep(pause(failures)).await;
                }
            }
        }
    }

    async fn send(&self, about: &str) -> Result<()> {
        let mut add = redis::cmd("XADD");
        add.arg(&self.key).arg("MAXLEN").arg("~").arg(ENTRIES_MAX).arg("*");
        add.arg("t").arg(about).arg("o").arg(&self.origin);
        self.link.run::<redis::Value>("notify", &add).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> RedisError {
        std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()
    }

    #[test]
    fn a_late_failure_of_one_direction_is_no_new_outage() {
        let health = Health::new("server".to_owned());
        let outages = || *health.outages.borrow();
        health.fails(Direction::Incoming, health.attempt(), &refused());
        let late = health.attempt();
        health.works(Direction::Incoming);

        health.fails(Direction::Outgoing, late, &refused());
        assert_eq!(outages(), 1, "the attempt began during the outage");

        health.fails(Direction::Outgoing, health.attempt(), &refused());
        assert_eq!(outages(), 2, "the attempt began after it");
    }

    #[test]
    fn an_outage_ends_when_both_directions_work() {
        let health = Health::new("server".to_owned());
        health.fails(Direction::Incoming, health.attempt(), &refused());
        health.fails(Direction::Outgoing, health.attempt(), &refused());
        let during = health.attempt();

        health.works(Direction::Incoming);
        assert_eq!(health.attempt(), during);
        health.works(Direction::Outgoing);
        assert_ne!(health.attempt(), during);
        assert_eq!(*health.outages.borrow(), 1);
    }
}
