//! `stent-bench`: the cost of Stent on this machine. Prints one JSON line per measurement on standard output, and has no
//! thresholds: the reader decides what a figure means.
//!
//! | Bench | Measures |
//! |---|---|
//! | `jobs` | executions of one task each, dispatched in bulk, processed by one worker |
//! | `jobs-step` | the same, but each execution calls one step |
//! | `workflows` | executions of three sequential steps |
//! | `latency` | one execution with one step at a time, from dispatch to result |
//! | `map` | one execution over many items |
//! | `two-workers` | `jobs`, processed by two processes on one store |
//! | `start` | one execution at a time, from its dispatch in this process to its start in another, idle one |
//! | `claim` | one claim of one task at a time, while `n` tasks wait |
//! | `memory` | the memory of a Redis server for each execution that waits, and for each that has ended |
//! | `upkeep` | executions of one step, in waves, under a retention of a second: how large the store becomes |
//!
//! Every measurement runs in a separate process on a separate store, so that it shares no memory and no cache with the one
//! before, and the peak memory is that of the measurement.

mod functions;
mod measure;
mod namespace;
mod plan;
mod process;
mod report;
mod scene;
mod schema;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use plan::{Backend, Bench, Durability};

/// Measures the cost of Stent; prints one JSON line per measurement
#[derive(Debug, Parser)]
#[command(name = "stent-bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Args)]
struct Options {
    /// Benches to run, with commas between them; all by default
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<Bench>,

    /// Sizes: executions, or items of a map; each bench has a default
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    n: Vec<u32>,

    /// The event for which a commit waits
    #[arg(long, value_name = "full,normal", value_delimiter = ',', default_value = "full,normal")]
    durability: Vec<Durability>,

    /// Stores to measure: sqlite, postgres (on the server that STENT_POSTGRES_URL names, in new schemas), redis (on the server
    /// that STENT_REDIS_URL names, in new namespaces; its appendfsync must be always for full, and everysec for normal), memory
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "sqlite")]
    backend: Vec<Backend>,

    /// Concurrent turns of a worker; Stent's default unless given
    #[arg(long, value_name = "TURNS")]
    concurrency: Option<usize>,

    /// Repetitions of each measurement; the run with the median rate is printed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// Folder for the stores; by default beside this program, which is on a disk and not in memory
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    /// Makes `jobs` and `workflows` wait for each result, as a client does, instead of for the worker to have no work left
    #[arg(long)]
    wait: bool,
}

/// The role of this program when it has started itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// One measurement
    #[command(hide = true)]
    Measure { spec: String },
    /// A worker of `two-workers`
    #[command(hide = true)]
    Work { spec: String },
    /// The second process of `start`
    #[command(hide = true)]
    Start { spec: String },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stent-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.role {
        Some(Role::Measure { spec }) => measure::run(&serde_json::from_str(&spec)?),
        Some(Role::Work { spec }) => measure::two_workers::work(&serde_json::from_str(&spec)?),
        Some(Role::Start { spec }) => measure::start::start(&serde_json::from_str(&spec)?),
        None => run_all(&cli.options),
    }
}

fn run_all(options: &Options) -> Result<()> {
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => scene::beside_this_program()?,
    };
    for spec in plan::specs(options, &dir) {
        let runs: Result<Vec<_>> = (0..options.runs).map(|_| process::measure(&spec)).collect();
        println!("{}", serde_json::to_string(&report::median(runs?))?);
    }
    Ok(())
}
