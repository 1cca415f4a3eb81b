//! `stent`: shows, repairs and cleans the executions of a store, from a terminal or a script.
//!
//! Every read is bounded, and every write is a call of the library, so a guarded transition like any other. The program
//! contains no SQL and knows no store's tables.

mod cli;
mod command;
mod exact;
mod fault;
mod json;
mod out;
mod payload;
mod store;
mod table;
mod text;
mod value;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::cli::Cli;
use crate::fault::{Fault, Result};
use crate::out::Out;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Also help and version, which go to stdout and are no failure. Nobody may be there to read them.
            let _ = error.print();
            return if error.use_stderr() { fault::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = io::stderr().write_all(fault.report().as_bytes());
            fault.code().into()
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    log_to_stderr();
    // One thread is enough: the program waits for its store nearly all the time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Fault::io)?;
    let done = runtime.block_on(async {
        let mut out = Out::new(cli.global.output);
        let done = command::run(cli, &mut out).await;
        // Lines that were printed before a failure belong to the answer.
        let flushed = out.flush();
        done.and(flushed)
    });
    // Connections that are still being closed must not keep the user waiting.
    runtime.shutdown_background();
    done
}

/// Shows the log on request: `RUST_LOG=stent=debug`. By default only errors, so that a script's stderr has what it should
/// act on.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    log.with_ansi(io::stderr().is_terminal()).init();
}
