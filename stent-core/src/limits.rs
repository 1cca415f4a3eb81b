//! Every bound, each with the reason for its size.

use std::time::Duration;

/// Largest payload, in bytes. A store is not a file system; keep large data elsewhere and pass a reference.
pub const PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A payload above this many bytes is accepted with a warning: it is rewritten whenever its row changes.
pub const PAYLOAD_BYTES_WARN: usize = 512 * 1024;

/// How deep a value may be nested in CBOR: as deep as the decoder can read. An enum is a level, and a variant with several
/// fields adds another; so does the list of a function's arguments.
pub const CBOR_DEPTH_MAX: u16 = 256;

/// How deep a value may be nested in JSON: as deep as the decoder can read. Levels are counted as in CBOR.
pub const JSON_DEPTH_MAX: u16 = 127;

/// Largest payload, in bytes, that is always decoded where it is encoded, to check that it can be. A type that cannot read what
/// it writes usually fails with small values, too; larger payloads are read back only if they contain something rare.
pub const READ_BACK_BYTES_MAX: usize = 16 * 1024;

/// Most transitions in one exchange. Large enough for hundreds of tasks to share the fsync of a commit, small enough to hold
/// the writer for no longer than some tens of milliseconds.
pub const EXCHANGE_TRANSITIONS_MAX: usize = 512;

/// Most rows inserted by the transitions of one exchange, for the same reason. One transition may exceed it alone.
pub const EXCHANGE_ROWS_MAX: usize = 4_096;

/// Most bytes of the transitions in one exchange: a store that writes twenty of them per second is held for less than half of
/// one second, and no statement comes near a database's limit. One transition may exceed it alone.
pub const EXCHANGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most tasks of an execution that is imported. An import is one transition, so its rows and indexes are written while other writers
/// of the same store wait: about a second.
pub const IMPORT_TASKS_MAX: usize = 10_000;

/// Most bytes of an execution that is imported, for the same reason, and because a database takes no value of unlimited size.
pub const IMPORT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most tasks claimed in one exchange.
pub const CLAIM_MAX: usize = 512;

/// Most expired tasks that one claim reports; the next claim reports the rest.
pub const EXPIRED_MAX: usize = 256;

/// Most rows in one page of a read.
pub const PAGE_MAX: usize = 1_000;

/// Most open executions, and most ended ones of each status, that one read counts: a second's work for a database.
pub const COUNT_MAX: usize = 1_000_000;

/// How far the moment in an execution's id may lie from its dispatch for [lists by time](crate::backend::Filter::ids) to find it.
/// Longer than clocks of machines differ, and than most callers keep an id before they dispatch under it.
pub const ID_DRIFT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Most counters, states and lines of a summary, of one execution, in one read. Their names are written in code, so there are
/// far fewer.
pub const NOTES_MAX: usize = 10_000;

/// Most lanes in one read. A lane is a function on a queue, with its tags, so a program has far fewer.
pub const LANES_MAX: usize = 10_000;

/// Most executions looked up by id in one read: usually all that a process waits for.
pub const LOOKUP_MAX: usize = 16_384;

/// Items that a map writes in one transition.
pub const MAP_CHUNK: usize = 1_000;

/// Bytes of arguments after which a chunk of a map, or a batch of a bulk dispatch, is closed, so that large items make small
/// chunks.
pub const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Chunks of a map that may be open at once; the parent feeds more when half of them are done. Its next turn queues behind the
/// items that are open by then, so there must be enough of them to keep workers busy most of the time.
pub const MAP_WINDOW_CHUNKS: usize = 16;

/// Claims without a committed turn after which a task is failed: it kills the workers that take it.
pub const CRASHES_MAX: u32 = 10;

/// How long a claim is valid without a renewal.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often a worker writes its [record](crate::model::WorkerRecord) at most, except for changes of its state: an idle worker makes
/// two writes a minute.
pub const WORKER_REPORT: Duration = Duration::from_secs(30);

/// How long a worker may be silent before it is taken for dead: four reports, so that a short outage of the store kills nobody.
pub const WORKER_SILENCE_MAX: Duration = Duration::from_secs(120);

/// Most functions, and most queues, in a worker's record, which is rewritten with each report.
pub const WORKER_NAMES_MAX: usize = 1_000;

/// How long running code may clean up after a cancellation, by default.
pub const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// Ids of sends that are kept per signal. A send of unknown fate is repeated at once, so few others come in between.
pub const SIGNAL_SENDS_KEPT: usize = 16;

/// Progress entries that are kept per execution; older ones are deleted.
pub const PROGRESS_MAX: usize = 1_000;

/// Longest text of a progress entry, in bytes.
pub const PROGRESS_BYTES_MAX: usize = 4_096;

/// Most tags of a task, and of a worker.
pub const TAGS_MAX: usize = 16;

/// Longest name of a function, a step or a queue, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest kind of a failure, in bytes: as long as a name. Stores find dead letters by kind, and an index needs a bounded
/// length. A longer kind is truncated, and says so.
pub const FAILURE_KIND_BYTES_MAX: usize = NAME_BYTES_MAX;

/// Longest message and longest trace of a failure, and most bytes of all its causes together. A failure is stored once for each
/// attempt, and people read it. Longer texts are truncated, and say so.
pub const FAILURE_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Longest trace context of a task, in bytes; a longer one is dropped. A `traceparent` has 55 bytes, and later versions of it
/// may have more.
pub const TRACE_BYTES_MAX: usize = 512;

/// Most bytes of an argument that a message shows.
pub const EXCERPT_BYTES: usize = 512;

/// Most bytes of an argument in which a message looks for the difference from another argument. A message shows
/// [`EXCERPT_BYTES`] around it.
pub const EXCERPT_BYTES_MAX: usize = 16 * 1024;

/// Items of a map among which a message looks for the first different one.
pub const EXCERPT_ITEMS_MAX: usize = 32;

/// Most parked functions in a worker's sticky cache.
pub const CACHE_MAX: usize = 10_000;

const _: () = assert!(PAYLOAD_BYTES_WARN < PAYLOAD_BYTES_MAX);
const _: () = assert!(MAP_CHUNK <= EXCHANGE_ROWS_MAX);
const _: () = assert!(WORKER_SILENCE_MAX.as_secs() == 4 * WORKER_REPORT.as_secs());
const _: () = assert!(CHUNK_BYTES_MAX <= EXCHANGE_BYTES_MAX);

/// How late a claim may arrive and still count with earlier claims of a rate: longer than a database lets a claim wait for the
/// write lock, and than clocks differ within the bound of the default lease.
pub const CLAIM_LATE_MAX: Duration = Duration::from_secs(30);
