//! `stent-chaos`: real processes on a real store, two faults at a time, and a judge with a ledger of its own.
//!
//! | File | Is |
//! |---|---|
//! | `programs` | the durable functions that the workers run |
//! | `plan` | what is dispatched, and what must come of it, from the seed alone |
//! | `ledger` | what effects note of themselves, past the store and past Stent |
//! | `dispatcher`, `journal` | the application, and what it was told by Stent |
//! | `worker`, `role`, `stall` | the worker process, and what all processes have in common |
//! | `process` | processes as the one who starts them sees them |
//! | `faults` | what goes wrong, and when, from the seed alone |
//! | `store` | the store of a run, and the faults that are its own |
//! | `conduct` | a run: starts everything, plays the faults, lets it come to rest |
//! | `observer` | looks at the store during the run |
//! | `judge` | what ledger, journal and store must say of each other |
//! | `report` | what people read of it |
//! | `mutant` | one thing done wrong, to prove the judge |

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
mod report;
mod role;
#[path = "../../stent/tests/postgres/server.rs"]
#[expect(clippy::unwrap_used, reason = "a run that cannot set its stage has failed")]
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

/// Plays real faults to real workers and judges what came of it
///
/// Three worker processes and a dispatcher share a store. Two faults at a time befall them, drawn from a seed. In the end a
/// judge compares the store with a ledger that every step writes past it: what was acknowledged has its right end, no recorded
/// step ran again, limits and rates held, rows of transactions equal their records. Rules: chaos/src/judge.rs.
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
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "sqlite,postgres")]
    backend: Vec<Backend>,

    /// Minutes of faults on each store; another one is needed to start and to come to rest
    #[arg(long, value_name = "M", default_value_t = 1.0)]
    minutes: f64,

    /// The seed of programs and faults; a new one unless given, and printed either way
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Only these faults, with commas between them: those that the store cannot have are left out. `none` plays none
    #[arg(long, value_name = "KIND,…", value_parser = kinds)]
    faults: Option<Kinds>,

    /// How long the workers' leases are, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 6.0)]
    lease: f64,

    /// Seconds after the last fault in which everything has to end
    #[arg(long, value_name = "SECONDS", default_value_t = 90.0)]
    rest: f64,

    /// Where the files of the runs go, and stay; else they are in a temporary folder, and stay only after a failure
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,

    /// Prints the faults and plays none
    #[arg(long)]
    schedule: bool,

    /// Has workers or the dispatcher do one thing wrong, to see the judge notice
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
    // One thread starts every process: they end with it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let played = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            tokio::select! {
                played = run(&cli) => played,
                _ = tokio::signal::ctrl_c() => bail!("interrupted; every process that was started has been ended"),
                _ = terminated.recv() => bail!("asked to end; every process that was started has been ended"),
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
    let mut folder = folder.context("there is no room for the files of a run")?;
    settings.folder = folder.path().to_owned();
    // Until it is known to be good: whatever ends this run, its files are what one looks for.
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
