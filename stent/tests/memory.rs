//! The memory of a process while it maps over 300,000 items, counted and measured. This is the only test of its program, so
//! that all measured memory belongs to it.

#![cfg(feature = "sqlite")]

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use stent::backend::limits::{MAP_CHUNK, MAP_WINDOW_CHUNKS};
use stent::prelude::*;

const ITEMS: u64 = 300_000;

/// The payload of each item, large enough that keeping all items would show: 75 MB in all.
const BYTES: usize = 250;

/// The most memory that the process may use, in bytes. 64 MiB of it are the page caches of the two connections, and 7 MB the
/// results.
const PEAK_MAX: u64 = 128 << 20;

/// Items in memory as values: the current number and the maximum.
static HELD: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(0);
/// Items that were drawn and have not run: the current number and the maximum.
static OPEN: AtomicU64 = AtomicU64::new(0);
static MOST_OPEN: AtomicU64 = AtomicU64::new(0);

/// An item that is counted while it exists.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    n: u64,
    carried: String,
    #[serde(skip)]
    _counted: Counted,
}

#[derive(Debug)]
struct Counted(());

impl Default for Counted {
    fn default() -> Self {
        MOST.fetch_max(HELD.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

#[durable]
async fn number(item: Item) -> Result<u64, String> {
    OPEN.fetch_sub(1, Ordering::SeqCst);
    assert_eq!(item.carried.len(), BYTES);
    Ok(item.n)
}

#[durable]
async fn numbers(items: u64) -> Result<u64, stent::Error> {
    let items = (0..items).map(|n| {
        MOST_OPEN.fetch_max(OPEN.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Item { n, carried: "x".repeat(BYTES), _counted: Counted::default() }
    });
    let results = number::map(items).await?;
    assert!((0..).zip(&results).all(|(n, result)| n == *result), "results stand in the order of the items");
    Ok(results.len() as u64)
}

/// The peak memory of this process, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    let kilobytes = line.trim().strip_suffix(" kB").expect("in kilobytes");
    kilobytes.trim().parse::<u64>().expect("a number") * 1_024
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_of_300_000_items_is_held_as_a_window_and_its_results() {
    let folder = tempfile::tempdir().expect("a folder");
    // A test need not survive a power failure, and each reader would have a page cache of its own.
    let url = format!("sqlite://{}?durability=normal&readers=1", folder.path().join("test.db").display());
    let stent = Stent::connect(&url).await.expect("opens");
    let worker = stent.worker().concurrency(512).start().await.expect("starts");

    assert_eq!(stent.run(numbers(ITEMS)).await.expect("runs"), ITEMS);

    let window = (MAP_CHUNK * MAP_WINDOW_CHUNKS) as u64;
    let (open, held) = (MOST_OPEN.load(Ordering::SeqCst), MOST.load(Ordering::SeqCst));
    // One more item is drawn, to find out whether there is one.
    assert!(open <= window + 1, "{open} items were drawn and had not run");
    // The items of running turns, and the chunk that is being written.
    assert!(held <= 2 * 512, "{held} items were in memory at once");
    let peak = peak();
    println!("{} kB at most, with {open} items open and {held} as values", peak / 1_024);
    assert!(peak <= PEAK_MAX, "{peak} bytes");
    worker.drain().await.expect("drains");
}
