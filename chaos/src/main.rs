//! `stent-chaos`: real processes on a real store, two faults at a time, and a judge with its own ledger.
//!
//! | File | Does |
//! |---|---|
//! | `programs` | the durable functions that the workers run |
//! | `plan` | derives from the seed alone what is dispatched, and what the result must be |
//! | `ledger` | notes that effects write about themselves, independent of the store and of Stent |
//! | `dispatcher`, `journal` | the application, and the answers that it got from Stent |
//! | `worker`, `role`, `stall` | the worker process, and the parts common to all processes |
//! | `process` | controls processes from the outside |
//! | `faults` | draws the faults and their times from the seed alone |
//! | `store` | the store of a run, and faults of the store |
//! | `conduct` | a run: starts everything, plays the faults, waits until everything has ended |
//! | `observer` | looks at the store during the run |
//! | `judge` | checks ledger, journal and store against each other |
//! | `report` | the report for people |
//! | `mutant` | single mistakes that prove the judge |

mod chance;
mod conduct;
mod dispatcher;
mod faults;
mod journal;
mod judge;
mod ledger;
mod log;
mod moment;
mod mutant;
mod observer;
mod plan;
mod process;
mod programs;
#[path = "../../stent-redis/tests/servers/server.rs"]
#[expect(dead_code, reason = "tests of the store need more of it")]
mod redis_server;
mod report;
mod role;
#[path = "../../stent/tests/postgres/server.rs"]
#[expect(clippy::unwrap_used, reason = "a run whose processes cannot start has failed")]
mod server;
mod stall;
mod store;
#[path = "../../stent/tests/postgres/system.rs"]
#[expect(clippy::unwrap_used, reason = "as above")]
mod system;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::conduct::Settings;
use crate::faults::{Backend, Kind};
use crate::mutant::Mutant;
use crate::role::Role;

/// Plays real faults on real workers and judges the result
///
/// Three worker processes and a dispatcher share a store. Faults are drawn from a seed and played two at a time. In the end a
/// judge compares the store with a ledger that every step writes independently: acknowledged executions have the right end, no
/// recorded step ran again, limits and rates held, rows of transactions match their records. Rules: chaos/src/judge.rs.
#[derive(Debug, Parser)]
#[command(
    name = "stent-chaos",
    bin_name = "cargo xtask chaos",
    after_help = "A seed gives the same programs and the same faults at the same times again; when exactly a fault finds which \
                  step is the machine's to say, so a failure may take a few runs of its seed.\n\nExamples:\n  cargo xtask chaos\n  \
                  cargo xtask chaos --backend postgres --minutes 10\n  cargo xtask chaos --backend sqlite --seed 42 --faults \
                  fill-disk,kill\n  cargo xtask chaos --schedule --seed 42"
)]
struct Cli {
    /// Stores, with commas between them, one after the other
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "sqlite,postgres,redis")]
    backend: Vec<Backend>,

    /// Minutes of faults on each store; starting and finishing take about one more
    #[arg(long, value_name = "M", default_value_t = 1.0)]
    minutes: f64,

    /// The seed of programs and faults; a new one unless given, and printed either way
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Only these faults, with commas between them; those that do not apply to the store are left out. `none` plays none
    #[arg(long, value_name = "KIND,…", value_parser = kinds)]
    faults: Option<Kinds>,

    /// Length of the workers' leases, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 6.0)]
    lease: f64,

    /// Seconds after the last fault in which everything has to end
    #[arg(long, value_name = "SECONDS", default_value_t = 90.0)]
    rest: f64,

    /// Folder for the files of the runs, which stay there; by default a temporary folder, which stays only after a failure
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,

    /// Prints the faults and plays none
    #[arg(long)]
    schedule: bool,

    /// Makes workers or the dispatcher do one thing wrong, to check that the judge notices
    #[arg(long, hide = true)]
    mutant: Option<Mutant>,
}

/// A list of kinds.
#[derive(Clone, Debug)]
struct Kinds(Vec<Kind>);

fn kinds(text: &str) -> Result<Kinds, String> {
    if text == "none" {
        return Ok(Kinds(Vec::new()));
    }
    text.split(',')
        .map(|name| clap::ValueEnum::from_str(name.trim(), false))
        .collect::<Result<_, _>>()
        .map(Kinds)
}

fn main() -> ExitCode {
    if let Some(role) = Role::told() {
        return exit(role.and_then(Role::play).map(|()| true));
    }
    let cli = Cli::parse();
    // One thread starts every process, because the processes end with it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let played = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            tokio::select! {
                played = run(&cli) => played,
                _ = tokio::signal::ctrl_c() => bail!("interrupted; all started processes were ended"),
                _ = terminated.recv() => bail!("asked to end; all started processes were ended"),
            }
        })
    });
    exit(played)
}

fn exit(outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<bool> {
    let seed = cli.seed.unwrap_or_else(|| stent::random_u64() >> 32);
    let mut is_good = true;
    for &backend in &cli.backend {
        is_good &= play(cli, backend, seed).await.with_context(|| format!("{backend}, seed {seed}"))?;
    }
    Ok(is_good)
}

async fn play(cli: &Cli, backend: Backend, seed: u64) -> Result<bool> {
    let seconds = |seconds: f64, what| {
        Duration::try_from_secs_f64(seconds).with_context(|| format!("{what} of {seconds} s"))
    };
    let (lease, takes) = (seconds(cli.lease, "a lease")?, seconds(cli.minutes * 60.0, "a run")?);
    let kinds: Vec<_> = Kind::all(backend)
        .iter()
        .copied()
        .filter(|kind| cli.faults.as_ref().is_none_or(|Kinds(chosen)| chosen.contains(kind)))
        .collect();
    let mut settings = Settings {
        backend,
        seed,
        lease,
        takes,
        rest: seconds(cli.rest, "a rest")?,
        faults: faults::schedule(seed, &kinds, lease, takes),
        mutant: cli.mutant,
        folder: PathBuf::new(),
    };
    println!("{}", report::plan(&settings));
    if cli.schedule {
        print!("{}", report::schedule(&settings));
        return Ok(true);
    }
    let name = format!("stent-chaos-{backend}-{seed}-");
    let folder = match &cli.keep {
        Some(keep) => tempfile::Builder::new().prefix(&name).tempdir_in(keep),
        None => tempfile::Builder::new().prefix(&name).tempdir(),
    };
    let mut folder = folder.context("cannot create the folder for the files of a run")?;
    settings.folder = folder.path().to_owned();
    // Until the run is known to be good: whatever ends this program, its files are needed to find out why.
    folder.disable_cleanup(true);

    let kept = || format!("its files are in {}", settings.folder.display());
    let outcome = conduct::conduct(&settings).await.with_context(kept)?;
    let mut verdict = judge::judge(&outcome.evidence);
    verdict.violations.extend(outcome.violations.iter().cloned());
    verdict.violations.extend(conduct::panics(&settings.folder)?);
    report::write(&settings.folder, &outcome, &verdict)?;
    println!("{}", report::summary(&settings, &verdict));
    if !verdict.violations.is_empty() {
        println!("{}", report::failure(&settings, &outcome, &verdict));
        return Ok(false);
    }
    folder.disable_cleanup(cli.keep.is_some());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn faults_are_named_as_in_the_help() {
        assert!(kinds("none").is_ok_and(|Kinds(kinds)| kinds.is_empty()));
        assert!(kinds("kill, fill-disk").is_ok_and(|Kinds(kinds)| kinds == [Kind::Kill, Kind::FillDisk]));
        assert!(kinds("earthquake").is_err());
    }
}
