//! `cargo xtask conformance`: runs the conformance suite against backends and reports every case by name.
//!
//! The runners are the backends' own test targets. They are built together, with the flags of `cargo xtask test`, and
//! then started one by one: building each for itself (`cargo test -p`) unifies other features and so builds the whole
//! tree of dependencies once more.

mod mutants;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result};

use self::report::Report;
use crate::backends::Backends;
use crate::command::Command;
use crate::runner::Verdict;
use crate::servers::{Fsync, Servers, ServersArgs};

/// Runs the conformance suite and reports every case by name and guarantee
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask conformance\n  cargo xtask conformance --backend memory --filter G3\n  cargo xtask conformance --backend postgres --servers docker\n  cargo xtask conformance --backend all --seeds 1000 --json"
)]
pub(crate) struct Args {
    /// Backends to certify, with commas between them: memory, sqlite, postgres, all
    #[arg(long, value_name = "NAME,…", default_value = "all")]
    backend: Backends,

    #[command(flatten)]
    servers: ServersArgs,

    /// Only cases whose guarantee or name contains this, such as `[G3]` or `fence::`
    #[arg(long, value_name = "PART")]
    filter: Option<String>,

    /// How many seeds each random case takes; each has its own default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,

    /// One JSON object per case on standard output, and a last one that sums up
    #[arg(long)]
    json: bool,

    /// Writes the outcomes as JUnit XML too, a suite for each backend
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    junit: Option<PathBuf>,

    /// Lists the cases and runs none
    #[arg(long)]
    list: bool,

    /// Proves the suite instead: stores that are broken on purpose, and which case caught each
    #[arg(long, conflicts_with_all = ["backend", "json"])]
    mutants: bool,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    if args.mutants {
        return mutants::run(args.filter.as_deref(), args.list);
    }
    let servers = if args.list {
        Servers::named_only(&args.backend.0)
    } else {
        Servers::start(&args.backend.0, &args.servers.choice, Fsync::Off)?
    };
    let runners = build()?;

    let mut reports = Vec::new();
    for &backend in &args.backend.0 {
        let mut report = Report::new(backend);
        let runner = runners.iter().find(|runner| runner.package == backend.package());
        let runner =
            runner.with_context(|| format!("{} has no test target `conformance`", backend.package()))?;
        let command = runner.command(args).envs(servers.environment());
        eprintln!("\n$ {command}");
        let succeeded = command.stream(|line| {
            let case = report.read(line).filter(|case| case.verdict != Verdict::Failed).cloned();
            if !args.json {
                println!("{line}");
            } else if let Some(case) = case {
                println!("{}", report.json(&case));
            }
        })?;
        report.end(succeeded, args.list);
        if args.json {
            // The messages of failed cases come at the very end of a run, so these cases wait until then.
            let failed = report.cases().iter().filter(|case| case.verdict == Verdict::Failed);
            failed.for_each(|case| println!("{}", report.json(case)));
        }
        reports.push(report);
    }

    if let Some(file) = &args.junit {
        report::write_junit(file, &reports)?;
    }
    if args.json {
        println!("{}", report::json_summary(&reports));
    } else {
        println!("\n{}", report::summary(&reports).join("\n"));
    }
    Ok(reports.iter().all(Report::is_good) && reports.iter().any(|report| !report.cases().is_empty()))
}

/// A conformance test target, ready to start.
struct Runner {
    package: String,
    folder: PathBuf,
    program: PathBuf,
}

impl Runner {
    fn command(&self, args: &Args) -> Command {
        // As cargo would start it: in the folder of its package.
        let mut command = Command::new(&self.program).folder(&self.folder).args(["--color", "never"]);
        if args.list {
            command = command.args(["--list"]);
        }
        if let Some(seeds) = args.seeds {
            command = command.env("STENT_SEEDS", seeds.to_string());
        }
        command.args(args.filter.clone())
    }
}

fn build() -> Result<Vec<Runner>> {
    let programs = Command::cargo(["test", "--workspace", "--test", "conformance", "--no-run"]).programs()?;
    let runners = programs.into_iter().filter(|(artifact, _)| artifact.target.name == "conformance");
    let runners = runners.map(|(artifact, program)| {
        let folder = artifact.manifest_path.parent().context("a manifest lies in a folder")?;
        let package = folder.file_name().context("a package's folder has a name")?.to_owned();
        Ok(Runner { package, folder: folder.into(), program })
    });
    runners.collect()
}
