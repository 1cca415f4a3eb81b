//! The worker process.

use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::ledger::Ledger;
use crate::programs::World;
use crate::role::{self, READY, Role};
use crate::stall;

/// Concurrent turns: fewer than the open executions, so that work waits and workers take it from each other.
const CONCURRENCY: usize = 12;
/// How long a drain waits for running tasks: shorter than some steps, so that some are released.
const GRACE: Duration = Duration::from_secs(1);

/// Works until SIGTERM asks it to drain.
pub(crate) async fn work(role: &Role) -> Result<()> {
    let mut asked = signal(SignalKind::terminate())?;
    stall::watch(&role::stalls(&role.folder), role.life)?;
    let world = World { ledger: Ledger::open(&role::ledger(&role.folder), role.life)?, mutant: role.mutant };
    let start = async {
        let stent = role.connect().await;
        let worker = stent.worker().concurrency(CONCURRENCY).lease(role.lease).grace(GRACE).state(world);
        let worker = worker.start().await?;
        println!("{READY}");
        anyhow::Ok((stent, worker))
    };
    let (_stent, worker) = tokio::select! {
        started = start => started?,
        _ = asked.recv() => return Ok(()),
    };
    asked.recv().await;
    worker.drain().await?;
    Ok(())
}
