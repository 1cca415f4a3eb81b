//! `stent-bench`: what Stent costs on this machine. Prints one JSON line per measurement on standard output, and knows no
//! thresholds: what a figure means is for the reader to say.
//!
//! | Bench | Measures |
//! |---|---|
//! | `jobs` | executions of one task each, dispatched in bulk, worked off by one worker |
//! | `jobs-step` | the same, but each execution calls one step |
//! | `workflows` | executions of three steps, one after the other |
//! | `latency` | one execution with one step at a time, from dispatch to result |
//! | `map` | one execution over many items |
//! | `two-workers` | `jobs`, worked off by two processes on one store |
//! | `start` | one execution at a time, from its dispatch here to its start in another, idle process |
//!
//! Every measurement is a process of its own on a store of its own, so that no memory and no cache is shared with the
//! one before, and the process's peak is the measurement's.

mod functions;
mod measure;
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

/// Measures what Stent costs; prints one JSON line per measurement
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
    /// Benches to run, with commas between them; all of them otherwise
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<Bench>,

    /// Sizes: executions, or items of a map; each bench has its own default
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    n: Vec<u32>,

    /// What a commit waits for
    #[arg(long, value_name = "full,normal", value_delimiter = ',', default_value = "full,normal")]
    durability: Vec<Durability>,

    /// Stores to measure: sqlite, postgres (on the server that STENT_POSTGRES_URL names, in schemas of its own), memory
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "sqlite")]
    backend: Vec<Backend>,

    /// Turns that a worker runs at once; Stent's own default otherwise
    #[arg(long, value_name = "TURNS")]
    concurrency: Option<usize>,

    /// Times that each measurement is repeated; the run with the median rate is printed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// Where the stores are made; beside this program otherwise, which is on a disk and not in memory
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    /// Has `jobs` and `workflows` wait for each result, as a client does, instead of for the worker to have no work left
    #[arg(long)]
    wait: bool,
}

/// What this program is when it has started itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// One measurement
    #[command(hide = true)]
    Measure { spec: String },
    /// A worker of `two-workers`
    #[command(hide = true)]
    Work { spec: String },
    /// The other process of `start`
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
