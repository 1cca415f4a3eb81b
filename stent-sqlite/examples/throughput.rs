//! Measures how many rows a second exchanges write:
//!
//! ```text
//! cargo run --release -p stent-sqlite --example throughput [full|normal [SIZE]]
//! ```
//!
//! Prints one JSON line per durability and size of exchange. One job is three rows written: dispatched, claimed, ended.

use std::error::Error;
use std::time::{Duration, Instant};

use stent_core::backend::{Backend, ClaimRequest, Claimed, Migrate, NoStickyCache};
use stent_core::model::{Lane, NewTask, NewTaskState, Nonce, Seq, StepKind, Tree};
use stent_core::transition::{Commit, Dispatch, Next, Transition};
use stent_core::{ExecutionId, Payload, Timestamp, WorkerId};
use stent_sqlite::{Durability, SqliteOptions, SqliteStore};
use uuid::Uuid;

const JOBS: usize = 50_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let durabilities = match arguments.next().as_deref() {
        Some("full") => vec![Durability::Full],
        Some("normal") => vec![Durability::Normal],
        _ => vec![Durability::Full, Durability::Normal],
    };
    let sizes = match arguments.next() {
        Some(size) => vec![size.parse()?],
        None => vec![1, 64, 500],
    };
    for durability in durabilities {
        for size in &sizes {
            run(durability, *size).await?;
        }
    }
    Ok(())
}

async fn run(durability: Durability, batch: usize) -> Result<(), Box<dyn Error>> {
    let jobs = if batch == 1 { 2_000 } else { JOBS };
    let directory = tempfile::tempdir_in(".")?;
    let options = SqliteOptions::file(directory.path().join("throughput.db")).durability(durability);
    let store = SqliteStore::open(options).await?;
    store.migrate().await?;
    let now = store.clock().await?;

    let dispatches: Vec<_> = (0..jobs).map(|_| dispatch(now)).collect();
    let before = Instant::now();
    for chunk in dispatches.chunks(batch) {
        store.exchange(chunk, None).await?;
    }
    let dispatched = before.elapsed();

    let functions = ["charge".to_owned()];
    let request = ClaimRequest {
        worker: WorkerId::from_uuid(Uuid::now_v7()),
        nonce: Nonce::new(7),
        now,
        until: now + Duration::from_secs(30),
        max: batch,
        functions: &functions,
        queues: None,
        tags: &[],
        limits: &[],
        cache: &NoStickyCache,
    };
    let before = Instant::now();
    let (mut ends, mut done) = (Vec::new(), 0);
    while done < jobs {
        let exchanged = store.exchange(&ends, Some(&request)).await?;
        done += ends.len();
        ends = exchanged.claimed.iter().map(|claimed| end(claimed, now)).collect();
    }
    let worked = before.elapsed();

    let counters = store.counters();
    println!(
        r#"{{"durability":"{durability:?}","batch":{batch},"jobs":{jobs},"dispatch_rows_per_s":{:.0},"work_rows_per_s":{:.0},"jobs_per_s":{:.0},"transactions":{},"statements":{},"rows_written":{}}}"#,
        jobs as f64 / dispatched.as_secs_f64(),
        2.0 * jobs as f64 / worked.as_secs_f64(),
        jobs as f64 / (dispatched + worked).as_secs_f64(),
        counters.transactions,
        counters.statements,
        counters.rows_written,
    );
    store.close().await?;
    Ok(())
}

fn dispatch(now: Timestamp) -> Transition {
    let id = ExecutionId::from_uuid(Uuid::now_v7());
    let root = NewTask {
        id: id.root(),
        tree: Tree::root(id),
        seq: Seq(0),
        kind: StepKind::Call,
        lane: Lane::new(Lane::DEFAULT_QUEUE, "charge"),
        priority: 0,
        args: Payload::new("application/cbor", vec![7; 64]),
        retry: None,
        attempts: 0,
        failure: None,
        keyed: None,
        expires_at: None,
        trace: None,
        digest: None,
        state: NewTaskState::Pending { ready_at: now },
    };
    Dispatch { root, key: None, at: now }.into()
}

fn end(claimed: &Claimed, now: Timestamp) -> Transition {
    let next = Next::End(Ok(Payload::new("application/cbor", vec![7; 64])));
    Commit::new(claimed.fence, claimed.task.tree, claimed.task.key, now, next).into()
}
