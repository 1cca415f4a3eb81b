//! The keeper's side of a server: says how the start went, and waits until nobody wants the server any more. Knows nothing
//! of what it keeps.
//!
//! Shared by the two programs that keep servers: xtask itself, and `containers`.

use std::io::Read;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a keeper says, in one line, once its server is ready or will never be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Said {
    /// The port of loopback on which the server listens.
    Ready(u16),
    /// Why there is none.
    Failed(String),
}

/// Says how the start went and, if it went well, holds the server until nobody wants it any more.
pub(crate) fn keep<S>(started: Result<(u16, S)>) -> Result<bool> {
    let (said, server) = match started {
        Ok((port, server)) => (Said::Ready(port), Some(server)),
        Err(error) => (Said::Failed(format!("{error:#}")), None),
    };
    println!("{}", serde_json::to_string(&said)?);
    let Some(server) = server else { return Ok(false) };
    until_unwanted()?;
    drop(server);
    Ok(true)
}

/// Returns when standard input ends, or when someone asks this very process to end.
#[cfg(unix)]
fn until_unwanted() -> Result<()> {
    use signal_hook::consts::TERM_SIGNALS;
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new(TERM_SIGNALS)?;
    let (say, ended) = std::sync::mpsc::channel();
    let also_say = say.clone();
    std::thread::spawn(move || {
        signals.forever().next();
        say.send(())
    });
    std::thread::spawn(move || {
        read_to_end();
        also_say.send(())
    });
    ended.recv().context("both who could tell are gone")
}

#[cfg(not(unix))]
fn until_unwanted() -> Result<()> {
    read_to_end();
    Ok(())
}

fn read_to_end() {
    // Whatever ends the stream ends the wish: an error is as good as an end.
    drop(std::io::stdin().lock().read_to_end(&mut Vec::new()));
}
