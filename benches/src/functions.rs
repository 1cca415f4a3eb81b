//! The durable functions that are measured. They do nothing, so only Stent is measured.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use stent::prelude::*;
use tokio::sync::Notify;

/// Counts ended executions, so that a bench need not ask the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ended(Arc<(AtomicU32, Notify)>);

impl Ended {
    fn one_more(&self) {
        let (count, changed) = &*self.0;
        count.fetch_add(1, Ordering::AcqRel);
        changed.notify_one();
    }

    /// Waits until this many have ended. For one waiter.
    pub(crate) async fn reached(&self, n: u32) {
        let (count, changed) = &*self.0;
        while count.load(Ordering::Acquire) < n {
            changed.notified().await;
        }
    }
}

/// The file in which a job of `two-workers` notes that it ran, and a job of `start` when; `None` in the other benches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(pub(crate) Option<Arc<File>>);

/// The length of a note in bytes.
pub(crate) const NOTE_LEN: usize = 11;

#[durable]
pub(crate) async fn job(number: u32, State(ended): State<Ended>) {
    let _ = number;
    ended.one_more();
}

#[durable]
pub(crate) async fn noted_job(number: u32, State(notes): State<Notes>) -> Result<(), std::io::Error> {
    if let Some(file) = &notes.0 {
        // One write for the whole line: the file is opened in append mode.
        (&**file).write_all(format!("{number:010}\n").as_bytes())?;
    }
    Ok(())
}

/// Whether `held` never ends: in the process that is killed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held(pub(crate) bool);

/// The length in bytes of the moment that [`stamped()`] notes.
pub(crate) const STAMP_LEN: usize = 17;

/// Notes when it started, in microseconds since 1970.
#[durable]
pub(crate) async fn stamped(State(notes): State<Notes>) -> Result<(), std::io::Error> {
    stamp(&notes)
}

fn stamp(notes: &Notes) -> Result<(), std::io::Error> {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if let Some(file) = &notes.0 {
        (&**file).write_all(format!("{:016}\n", started.as_micros()).as_bytes())?;
    }
    Ok(())
}

/// Notes when it started, and then keeps its task, or ends.
#[durable]
pub(crate) async fn held(
    number: u32,
    State(notes): State<Notes>,
    State(held): State<Held>,
) -> Result<(), std::io::Error> {
    let _ = number;
    stamp(&notes)?;
    if held.0 {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Waits for a signal that nobody sends.
#[durable]
pub(crate) async fn parked(number: u32, State(ended): State<Ended>) -> Result<u32, stent::Error> {
    let _ = number;
    ended.one_more();
    stent::signal("never").await
}

#[durable]
pub(crate) async fn echo(text: String, State(ended): State<Ended>) -> String {
    ended.one_more();
    text
}

/// Calls as many steps, one after the other, and returns how many.
#[durable]
pub(crate) async fn many_steps(steps: u32) -> Result<u32, stent::Error> {
    let mut n = 0;
    while n < steps {
        n = add_one(n).await?;
    }
    Ok(n)
}

#[durable]
pub(crate) async fn add_one(n: u32) -> u32 {
    n + 1
}

#[durable]
pub(crate) async fn one_step(n: u32, State(ended): State<Ended>) -> Result<u32, stent::Error> {
    let n = add_one(n).await?;
    ended.one_more();
    Ok(n)
}

#[durable]
pub(crate) async fn three_steps(n: u32, State(ended): State<Ended>) -> Result<u32, stent::Error> {
    let n = add_one(n).await?;
    let n = add_one(n).await?;
    let n = add_one(n).await?;
    ended.one_more();
    Ok(n)
}

/// How many results came in the order of their items.
#[durable]
pub(crate) async fn fan_out(items: u32) -> Result<u32, stent::Error> {
    let results = add_one::map(0..items).await?;
    Ok(results.iter().zip(1..=items).map(|(result, expected)| u32::from(*result == expected)).sum())
}
