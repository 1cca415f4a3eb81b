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
//! | `history` | one execution that calls `n` steps, one after the other |
//! | `payload` | executions whose arguments and results are `n` bytes each |
//! | `two-workers` | `jobs`, processed by two processes on one store |
//! | `workers` | 20,000 jobs, processed by `n` processes |
//! | `start` | one execution at a time, from its dispatch in this process to its start in another, idle one |
//! | `claim` | one claim of one task at a time, while `n` tasks wait |
//! | `lanes` | latency and one claim after `n` lanes were used once, against the same store before |
//! | `finished` | the same, with `n` executions that have ended |
//! | `waiting` | the same, while `n` executions wait in another queue |
//! | `parked` | memory of the worker for each of `n` functions that wait for a signal, and its queries while nothing happens |
//! | `recovery` | from the SIGKILL of a worker process until another process has started its `n` jobs again, under a lease of 5 s |
//! | `memory` | the memory of a Redis server for each execution that waits, and for each that has ended |
//! | `upkeep` | executions of one step, in waves, under a retention of a second: how large the store becomes |
//!
//! Every measurement runs in a separate process on a separate store, so that it shares no memory and no cache with the one
//! before, and the peak memory is that of the measurement.
//!
//! Each line has the processor time of the client and of the server, and what Postgres wrote to its log, for one execution. With
//! `--peers`, other libraries run the same loads in turns with Stent. With `--runs`, a line is the median run, with the spread of all;
//! `"noisy": true` says that the runs are too far apart for a median. `table` and `plot` make Markdown and SVG from the lines.

mod compare;
mod cpu;
mod functions;
mod gauge;
mod machine;
mod measure;
mod namespace;
mod peers;
mod plan;
mod plot;
mod process;
mod record;
mod report;
mod run;
mod scene;
mod schema;
mod spread;
mod svg;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use plan::{Backend, Bench, Durability};
use record::Record;

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

    /// Repetitions of each measurement, in turns with those of the other stores and of the peers; the median run is printed, with the
    /// spread of all
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// Folder for the stores; by default beside this program, which is on a disk and not in memory
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    /// Measures other libraries beside Stent, with this program of `benches/peers`
    #[arg(long, value_name = "PROGRAM")]
    peers: Option<PathBuf>,

    /// Lines of an earlier run; each measurement that is in them, too, is compared on standard error
    #[arg(long, value_name = "FILE")]
    compare: Vec<PathBuf>,

    /// Makes `jobs` and `workflows` wait for each result, as a client does, instead of for the worker to have no work left
    #[arg(long)]
    wait: bool,
}

/// What else this program does, and its roles when it has started itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// Prints Markdown tables of the lines of some runs, or renews those of pages
    Table {
        /// The output of runs; later files replace the same measurements of earlier ones
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Renews the tables between the marks of this page, instead of printing all
        #[arg(long, value_name = "PAGE")]
        into: Vec<PathBuf>,
    },
    /// Draws the lines of some runs
    Plot {
        /// The output of runs; later files replace the same measurements of earlier ones
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Folder for the charts
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// One measurement
    #[command(hide = true)]
    Measure { spec: String },
    /// A worker of `two-workers` and `workers`
    #[command(hide = true)]
    Work { spec: String },
    /// The second process of `start`
    #[command(hide = true)]
    Start { spec: String },
    /// A worker of `recovery`
    #[command(hide = true)]
    Keep { spec: String },
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
        Some(Role::Work { spec }) => measure::workers::work(&serde_json::from_str(&spec)?),
        Some(Role::Start { spec }) => measure::start::start(&serde_json::from_str(&spec)?),
        Some(Role::Keep { spec }) => measure::recovery::keep(&serde_json::from_str(&spec)?),
        Some(Role::Table { files, into }) => {
            let record = Record::read(&files)?;
            if into.is_empty() {
                print!("{}", table::all(&record));
            }
            into.iter().try_for_each(|page| table::renew(&record, page))
        }
        Some(Role::Plot { files, out }) => {
            let names = plot::all(&Record::read(&files)?, &out)?;
            names.iter().for_each(|name| println!("{}", out.join(name).display()));
            Ok(())
        }
        None => run_all(&cli.options),
    }
}

fn run_all(options: &Options) -> Result<()> {
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => scene::beside_this_program()?,
    };
    run::all(options, &dir)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
