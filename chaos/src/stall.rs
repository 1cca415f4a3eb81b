//! Stalls: times in which a process did not run, because the machine was busy or the process was stopped. The consequences of a
//! stall longer than a lease are not held against Stent.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::log::{self, Log};
use crate::moment::Moment;

/// A time in which a process did not run, and the process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stall {
    pub(crate) life: u64,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
}

/// How often a process checks whether it runs.
const TICK: Duration = Duration::from_millis(50);
/// Shorter stalls are not noted.
const STALL_MIN: Duration = Duration::from_millis(300);

/// Notes the stalls of this process from now on: of a thread and of the runtime.
pub(crate) fn watch(folder: &Path, life: u64) -> std::io::Result<()> {
    let log = Log::open(folder, &format!("life{life:04}"))?;
    let mut last = Moment::now();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TICK).await;
            let now = Moment::now();
            if now.since(last) > STALL_MIN {
                let stall = Stall { life, from: last, to: now };
                let line = serde_json::to_string(&stall).unwrap_or_default();
                // Without the entry the judge is stricter, not laxer.
                let _ = log.append(&line);
            }
            last = now;
        }
    });
    Ok(())
}

pub(crate) fn read(folder: &Path) -> anyhow::Result<Vec<Stall>> {
    log::read(folder)?.iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
