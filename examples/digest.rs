//! Prints the SHA-256 of every file below a folder, as `sha256sum` does, and loses nothing in a crash.
//!
//! ```sh
//! cargo run --release --example digest -- .                     # the report on stdout, all else on stderr
//! cargo run --release --example digest -- . --crash-after 100   # dies in the middle
//! cargo run --release --example digest -- .                     # continues from there
//! ```
//!
//! ```text
//! digest(root) ─┬─ list(root, after), …     one page of paths after another
//!               └─ check::map(paths) ─┬─ check(path) ── hash_file(path)
//!                                     └─ …
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, io};

use clap::Parser;
use stent::prelude::*;
use stent_examples::meter::Meter;
use stent_examples::path::PathBytes;
use stent_examples::report::{self, Outcome, Summary};
use stent_examples::runs::{Run, queue};
use stent_examples::sha256::{self, Hashed};
use stent_examples::walk::{self, Entry, IfUnreadable, Page};
use tokio::task::spawn_blocking;

/// Lists the folder, then checks everything in it.
///
/// The function returns numbers and not the report, which may be larger than a record should be. The report is read from the
/// items of the map.
#[durable]
async fn digest(root: PathBytes, skip: Vec<PathBytes>) -> Result<Summary, stent::Error> {
    let queue = queue(&root);
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map(|entry| entry.path().clone());
        let list =
            |if_unreadable| list(root.clone(), skip.clone(), after.clone(), if_unreadable).queue(&queue);
        let page = match list(IfUnreadable::Fail).await {
            // A folder stayed unreadable in all attempts.
            Err(stent::Error::Failed(_)) => list(IfUnreadable::Note).await?,
            page => page?,
        };
        entries.extend(page.entries);
        if !page.more {
            break;
        }
    }
    let items = entries.into_iter().map(move |entry| (root.clone(), entry));
    let outcomes = check::map(items).queue(queue).await?;
    Ok(outcomes.into_iter().collect())
}

/// Lists one page of the folder's content. A recorded page does not change, even if the folder changes between a crash and the
/// next run, so `digest` continues with the same paths.
#[durable(retry(max_attempts = 4, initial_delay = "200ms"))]
async fn list(
    root: PathBytes,
    skip: Vec<PathBytes>,
    after: Option<PathBytes>,
    if_unreadable: IfUnreadable,
) -> io::Result<Page> {
    spawn_blocking(move || walk::page(root.as_path(), &skip, after.as_ref(), if_unreadable)).await?
}

/// Hashes one file, or says why it cannot. An unreadable file is an outcome here and not a failure, because the first failure
/// of an item ends the whole map.
#[durable]
async fn check(root: PathBytes, entry: Entry) -> Result<Outcome, stent::Error> {
    match entry {
        Entry::Unreadable(_, problem) => Ok(Outcome::Unreadable(problem)),
        Entry::File(path) => match hash_file(root.join(&path)).queue(queue(&root)).await {
            Ok(hashed) => Ok(Outcome::Hashed(hashed)),
            Err(stent::Error::Failed(failure)) => Ok(Outcome::Unreadable(failure.message)),
            Err(other) => Err(other),
        },
    }
}

/// Hashes one file; retried if the file cannot be read. A file of many gigabytes may take minutes: it is hashed on a thread for
/// blocking work, while the worker renews its lease.
#[durable(retry(max_attempts = 5, initial_delay = "200ms"))]
async fn hash_file(path: PathBytes, State(meter): State<Meter>) -> io::Result<Hashed> {
    let turn = meter.turn().await;
    let file = path.clone();
    let hashed = spawn_blocking(move || sha256::hash(file.as_path()))
        .await?
        .inspect_err(|error| tracing::warn!("cannot read {path:?}: {error}"))?;
    turn.count();
    Ok(hashed)
}

/// Does nothing. An execution of it marks that the report of a run has been written.
#[durable]
async fn reported() -> Result<(), Infallible> {
    Ok(())
}

/// Prints the SHA-256 of every regular file below a folder, as sha256sum does
///
/// A store records the run. If the run is interrupted, the same command continues from the record; once the report is written,
/// the same command starts a new run. Symbolic links are not followed. A file that cannot be read is retried for some seconds,
/// then named on stderr.
///
/// A store file inside the folder is left out of the report, together with its companions whose names end in -wal, -shm or
/// -journal: they change with every hash.
///
/// Exit code: 0 if every file was hashed, 1 if some could not be read, 2 if there is no report.
#[derive(Debug, Parser)]
#[command(name = "digest")]
struct Options {
    /// The folder
    path: PathBuf,

    /// The store that records the run. Processes that share a store and a folder share the work
    #[arg(long, value_name = "URL", default_value = "sqlite://digest.db")]
    store: String,

    /// Abort the process, as a crash would, as soon as it has recorded N files
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    crash_after: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .without_time()
        .init();
    match run(&Options::parse()).await {
        Ok(Summary { unreadable: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("digest: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> Result<Summary, Box<dyn Error>> {
    let started = Instant::now();
    let root = folder(&options.path)?;
    let stent = Stent::connect(&options.store).await?;
    let run = Run::find(&stent, &root).await?;
    let from_store = run.recorded(&stent).await?;
    if run.resumed {
        eprintln!("digest: continuing an interrupted run; {from_store} files come from the store");
    }

    let meter = Meter::new(options.crash_after);
    let worker = stent
        .worker()
        .queues([queue(&root)])
        .state(meter.clone())
        // Tasks that a crashed process held can be claimed once their leases have expired. A short lease lets the next run
        // start soon; its price is one renewal per second.
        .lease("3s")
        .heartbeat("1s")
        .start()
        .await?;

    // For an interrupted run this writes nothing: an execution is started once under its id.
    let call = digest(root.clone(), store_files(&stent, &root)).queue(queue(&root));
    let execution = stent.dispatch(call).id(run.id).await?;
    let summary = tokio::select! {
        summary = execution.result() => summary?,
        crashed = watch(&stent, &run, &meter, from_store) => match crashed? {},
    };
    crash_if_due(&stent, &run, &meter, from_store).await?;

    report::write(run.items(&stent).await?, &options.path, io::stdout()).await?;
    stent.dispatch(reported().queue(queue(&root))).id(run.note).await?.result().await?;
    worker.drain().await?;
    stent.close().await?;
    eprintln!(
        "digest: {} files, {} bytes in {:.1} s; {from_store} files came from the store, {} could not be read",
        summary.files,
        summary.bytes,
        started.elapsed().as_secs_f64(),
        summary.unreadable,
    );
    Ok(summary)
}

/// The canonical path of the folder, which is the same wherever the program is started.
fn folder(path: &Path) -> Result<PathBytes, String> {
    let is_folder = fs::metadata(path).and_then(|metadata| {
        if metadata.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
    });
    let root = is_folder.and_then(|()| fs::canonicalize(path));
    root.map(PathBytes::from).map_err(|error| format!("cannot read the folder {path:?}: {error}"))
}

/// The store's own files, by their paths relative to the folder, if they are in it.
fn store_files(stent: &Stent, root: &PathBytes) -> Vec<PathBytes> {
    let Ok(store) = fs::canonicalize(stent.store().info().location) else { return Vec::new() };
    let Ok(store) = store.strip_prefix(root.as_path()) else { return Vec::new() };
    let beside = |end: &str| PathBytes::new([store.as_os_str().as_encoded_bytes(), end.as_bytes()].concat());
    ["", "-wal", "-shm", "-journal"].map(beside).into()
}

/// Shows the run's progress, until it is dropped or it is time to crash.
async fn watch(stent: &Stent, run: &Run, meter: &Meter, from_store: u64) -> stent::Result<Infallible> {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let (mut shown, mut shown_at) = (0, Instant::now());
    loop {
        looks.tick().await;
        crash_if_due(stent, run, meter, from_store).await?;
        if meter.hashed() > shown && shown_at.elapsed() >= Duration::from_secs(1) {
            (shown, shown_at) = (meter.hashed(), Instant::now());
            eprintln!("digest: {} files", from_store + shown);
        }
    }
}

/// Aborts the process if it was asked to and has recorded its number of files. It asks the store, because a file that was
/// hashed and not committed is not recorded.
async fn crash_if_due(stent: &Stent, run: &Run, meter: &Meter, from_store: u64) -> stent::Result<()> {
    if let Some(limit) = meter.reached()
        && run.recorded(stent).await? >= from_store + limit
    {
        eprintln!("digest: {limit} files recorded; crashing, as asked");
        std::process::abort();
    }
    Ok(())
}
