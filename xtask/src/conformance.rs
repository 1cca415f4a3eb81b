//! `cargo xtask conformance`: runs the conformance suite against backends, whose runners report every case by name.
//!
//! The runners are the backends' own test targets. They are built together, with the flags of `cargo xtask test`, and
//! then started one by one: building each for itself (`cargo test -p`) unifies other features and so builds the whole
//! tree of dependencies once more.

use std::path::PathBuf;

use anyhow::{Context, Result};
use cargo_metadata::Artifact;

use crate::backends::Backends;
use crate::command::Command;
use crate::runner::Tally;
use crate::servers::{Fsync, Servers, ServersArgs};

/// Runs the conformance suite and reports every case by name and guarantee
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask conformance\n  cargo xtask conformance --backend memory --filter G3\n  cargo xtask conformance --backend postgres --servers docker\n  cargo xtask conformance --backend all --seeds 1000"
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

    /// The number of seeds of each random case; each has its own default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,

    /// Lists the cases and runs none
    #[arg(long)]
    list: bool,

    /// Proves the suite instead: stores that are broken on purpose, and which case caught each
    #[arg(long, conflicts_with = "backend")]
    mutants: bool,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let options = ["--color", "never"].into_iter().chain(args.list.then_some("--list"));
    let options: Vec<_> = options.map(str::to_owned).chain(args.filter.clone()).collect();
    if args.mutants {
        // Every mutant against every case; `cargo test` runs each mutant against the area of its case only.
        let mutants = Command::cargo(["test", "--workspace", "--test", "mutants", "--"]).args(options);
        return mutants.env("STENT_MUTANTS_ALL", "1").shown();
    }
    let servers = if args.list {
        Servers::named_only(&args.backend.0)
    } else {
        Servers::start(&args.backend.0, &args.servers.choice, Fsync::Off)?
    };
    let programs = Command::cargo(["test", "--workspace", "--test", "conformance", "--no-run"]).programs()?;

    let (mut tally, mut succeeded, mut lines) = (Tally::default(), true, Vec::new());
    for &backend in &args.backend.0 {
        let package = backend.package();
        let of_package = |(artifact, program): &(Artifact, PathBuf)| {
            let folder = artifact.manifest_path.parent().filter(|folder| folder.ends_with(&package))?;
            // In the folder of its package, as cargo would start it.
            let is_it = artifact.target.name == "conformance";
            is_it.then(|| Command::new(program).folder(folder))
        };
        let runner = programs.iter().find_map(of_package);
        let runner = runner.with_context(|| format!("{package} has no test target `conformance`"))?;
        let mut command = runner.args(options.clone()).envs(servers.environment());
        if let Some(seeds) = args.seeds {
            command = command.env("STENT_SEEDS", seeds.to_string());
        }
        eprintln!("\n$ {command}");
        let before = tally.counts();
        tally.begin(format!("{backend}, conformance"));
        succeeded &= command.stream(|line| {
            println!("{line}");
            tally.read(line);
        })?;
        let [passed, failed, _] = std::array::from_fn(|at| tally.counts()[at] - before[at]);
        lines.push(format!("{backend}: {passed} passed, {failed} failed"));
    }
    if args.list {
        return Ok(succeeded);
    }
    let (problems, [passed, failed, _]) = (tally.problems(), tally.counts());
    lines.extend((passed + failed == 0).then(|| "no case was chosen".into()));
    println!("\n{}\n{passed} passed, {failed} failed", [&problems[..], &lines].concat().join("\n"));
    Ok(succeeded && problems.is_empty() && passed > 0)
}
