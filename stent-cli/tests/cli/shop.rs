//! A store with an execution in each state that an operator meets. Their ids are fixed, and so are those of their steps.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::view::TaskStatus;
use stent::{Error, ExecutionId, Uuid};
use tempfile::TempDir;

use crate::program::{self, Ran};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    number: u64,
    parcels: Vec<String>,
}

/// Why a bank does not pay.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Declined {
    code: u16,
}

impl std::fmt::Display for Declined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "declined with code {}", self.code)
    }
}

impl std::error::Error for Declined {}

#[durable]
async fn reserve(number: u64) -> u64 {
    number
}

/// The bank declines order 13.
#[durable(queue = "payments", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn charge(number: u64) -> Result<String, Declined> {
    if number == 13 { Err(Declined { code: 51 }) } else { Ok(format!("receipt {number}")) }
}

#[durable]
async fn pack(parcel: String) -> String {
    format!("{parcel}, packed")
}

#[durable]
async fn checkout(order: Order) -> Result<String, Error> {
    let number = reserve(order.number).await?;
    let receipt = charge(number).await?;
    let packed = pack::map(order.parcels).await?;
    Ok(format!("{receipt}: {}", packed.join("; ")))
}

#[durable(tags = ["eu"])]
async fn approval(what: String) -> Result<String, Error> {
    let execution = stent::execution()?;
    execution.counter("asked").add(1)?;
    execution.state("phase").set(&"asking")?;
    execution.progress(format!("asked about {what}"))?;
    let by: String = stent::signal("approval").await?;
    Ok(format!("{what} approved by {by}"))
}

/// A task that runs until its worker is stopped.
#[durable]
async fn endless(n: u64) -> u64 {
    std::future::pending::<()>().await;
    n
}

/// Completed, failed, waiting for a signal, and pending until tomorrow.
pub(crate) const PAID: u32 = 1;
pub(crate) const DECLINED: u32 = 2;
pub(crate) const ASKED: u32 = 3;
pub(crate) const LATER: u32 = 4;

/// The id of an execution by its number. It sorts by the number.
pub(crate) fn id(n: u32) -> String {
    execution(n).to_string()
}

fn execution(n: u32) -> ExecutionId {
    ExecutionId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(n)))
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// Opens a store, and creates it.
pub(crate) async fn open(url: &str) -> Stent {
    Stent::connect(url).await.expect("a store")
}

/// Fills a store, and leaves it without a worker.
pub(crate) async fn fill(url: &str) {
    let stent = open(url).await;
    let worker = stent.worker().poll_max("50ms").start().await.expect("a worker");
    let order = |number| Order { number, parcels: vec!["bell".to_owned(), "saddle".to_owned()] };
    let paid = stent.dispatch(checkout(order(7))).id(execution(PAID)).await.expect("dispatched");
    let declined = stent.dispatch(checkout(order(13))).id(execution(DECLINED)).await.expect("dispatched");
    let asked = stent.dispatch(approval("a bike".to_owned())).id(execution(ASKED)).await.expect("dispatched");
    let later = stent.dispatch(reserve(4)).queue("slow").delay("1d").priority(3);
    later.id(execution(LATER)).await.expect("dispatched");

    paid.result().timeout("30s").await.expect("paid");
    declined.result().timeout("30s").await.expect_err("declined");
    eventually(async || {
        let tasks = stent.inspect().timeline(asked.id()).await.expect("read");
        tasks.len() == 2 && tasks.iter().all(|task| task.status == TaskStatus::Waiting)
    })
    .await;
    worker.drain().await.expect("drained");
    stent.close().await.expect("closed");
}

/// Waits until something is so; fails after a long time.
pub(crate) async fn eventually(is_so: impl AsyncFn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < end, "it did not become so in a minute");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A filled store in a file.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) folder: TempDir,
    pub(crate) url: String,
}

impl Shop {
    pub(crate) fn open() -> Self {
        let shop = Self::empty();
        run(fill(&shop.url));
        shop
    }

    /// A store that does not exist yet.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("shop.db").display());
        Self { folder, url }
    }

    /// Runs the program on the store.
    pub(crate) fn stent(&self, args: &[&str]) -> Ran {
        program::on(&self.url, args)
    }

    /// Whether a process has the store open: only the last one that closes it removes its log.
    pub(crate) fn is_open(&self) -> bool {
        self.folder.path().join("shop.db-wal").exists()
    }
}
