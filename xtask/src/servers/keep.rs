//! The keeper's side of a server: reports the start, and waits until the server is no longer needed. Knows nothing of the
//! server.
//!
//! Shared by the two programs that keep servers: xtask itself, and `containers`.

use std::io::Read;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGTERM, TERM_SIGNALS};
use signal_hook::iterator::Signals;

/// A keeper's report, in one line, once its server is ready or has failed to start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Said {
    /// The port of loopback on which the server listens.
    Ready(u16),
    /// The reason why the server did not start.
    Failed(String),
}

/// Starts the server, reports the start and, if it succeeded, keeps the server until it is no longer needed.
pub(crate) fn keep<S>(start: impl FnOnce() -> Result<(u16, S)>) -> Result<bool> {
    // From here on, a signal no longer ends this process before it has ended its server.
    let unwanted = Signals::new(TERM_SIGNALS)?;
    let (said, server) = match start() {
        Ok((port, server)) => (Said::Ready(port), Some(server)),
        Err(error) => (Said::Failed(format!("{error:#}")), None),
    };
    println!("{}", serde_json::to_string(&said)?);
    let Some(server) = server else { return Ok(false) };
    wait_for(unwanted);
    drop(server);
    Ok(true)
}

/// Returns when standard input ends, or when this process was asked to end.
fn wait_for(mut unwanted: Signals) {
    std::thread::spawn(|| {
        // An error on the stream counts as its end.
        drop(std::io::stdin().lock().read_to_end(&mut Vec::new()));
        signal_hook::low_level::raise(SIGTERM)
    });
    unwanted.forever().next();
}
