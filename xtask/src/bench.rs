//! `cargo xtask bench`: builds the benches with optimisation and passes the options to them. The benches define
//! the measurements. The peers are a package outside of the workspace, built only for `--peers`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::backends::{Backend, Backends};
use crate::command::Command;
use crate::servers::{Fsync, Servers, ServersArgs};

/// Runs the benches in release mode; each prints one JSON line on standard output
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --only jobs,latency --durability full\n  cargo xtask bench --backend sqlite,postgres\n  cargo xtask bench --backend redis --durability normal\n  cargo xtask bench --backend all --only jobs,workflows,latency --durability full --runs 5 --peers > peers.jsonl\n  cargo xtask bench --runs 5 --compare earlier.jsonl"
)]
pub(crate) struct Args {
    /// Backends to measure, with commas between them: sqlite, postgres, redis, memory, all
    #[arg(long, value_name = "NAME,…", default_value = "sqlite")]
    backend: Backends,

    #[command(flatten)]
    servers: ServersArgs,

    /// Benches to run, with commas between them; all of them otherwise
    #[arg(long, value_name = "NAME,…")]
    only: Option<String>,

    /// Size of each bench: executions, or items of a map; each has its own default
    #[arg(long, value_name = "N,…")]
    n: Option<String>,

    /// The events for which a commit waits, with commas between them. For Redis, `full` is a server with `appendfsync always`,
    /// and `normal` one with `appendfsync everysec`; each line has the setting that was measured
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "full,normal")]
    durability: Vec<Durability>,

    /// Repetitions of each measurement, in turns with those of other backends and of peers; the median run is printed with the spread
    /// of all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// Builds benches/peers and measures other libraries beside Stent: all of them, or those with these names
    #[arg(long, value_name = "NAME,…", num_args = 0..=1, default_missing_value = "default", require_equals = true)]
    peers: Option<String>,

    /// Lines of an earlier run; what both measured is compared on standard error
    #[arg(long, value_name = "FILE")]
    compare: Vec<PathBuf>,

    /// Further arguments, passed to the benches unchanged
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// The events for which a commit waits, as the benches name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Durability {
    Full,
    Normal,
}

impl Durability {
    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let mut passed = true;
    let peers = args.peers.as_deref().map(peers).transpose()?;
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok();
    for run in runs(&args.backend.0, &args.durability) {
        let servers = Servers::start(&run.backends, &args.servers.choice, run.fsync)?;
        let mut command = Command::cargo(["run", "--release", "--package", "stent-bench", "--"])
            .args(options(args, &run, peers.as_deref())?)
            .args(&args.rest)
            .envs(servers.environment());
        if let Some(commit) = &commit {
            command = command.env("STENT_BENCH_COMMIT", commit.trim());
        }
        // Standard output belongs to the benches' JSON lines.
        eprintln!("$ {command}");
        passed &= command.run()?;
    }
    Ok(passed)
}

/// Builds these peers, and returns their program. Each is a Cargo feature.
fn peers(names: &str) -> Result<PathBuf> {
    let manifest = "benches/peers/Cargo.toml";
    let build = [
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        manifest,
        "--no-default-features",
        "--features",
        names,
    ];
    let programs = Command::cargo(build).programs()?;
    let built = programs.into_iter().find(|(artifact, _)| artifact.target.name == "stent-bench-peers");
    Ok(built.context("cargo built no stent-bench-peers; see its output above")?.1)
}

/// The options of the benches. Their folder is the root of the checkout, and files are named from the caller's.
fn options(args: &Args, run: &Run, peers: Option<&Path>) -> Result<Vec<String>> {
    let backends: Vec<_> = run.backends.iter().map(|backend| backend.name()).collect();
    let durability: Vec<_> = run.durability.iter().map(|durability| durability.name()).collect();
    let text = |path: &Path| {
        let path = std::path::absolute(path)?;
        path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
    };
    let options = [
        ("--backend", Some(backends.join(","))),
        ("--only", args.only.clone()),
        ("--n", args.n.clone()),
        ("--durability", Some(durability.join(","))),
        ("--runs", Some(args.runs.to_string())),
        ("--peers", peers.map(text).transpose()?),
    ];
    let mut given: Vec<_> =
        options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect();
    for file in &args.compare {
        given.extend(["--compare".to_owned(), text(file)?]);
    }
    Ok(given)
}

/// One run of the benches, with its own servers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    backends: Vec<Backend>,
    durability: Vec<Durability>,
    fsync: Fsync,
}

/// The other backends set their durability for each store. Redis has one setting for the whole server, so each durability
/// needs a server of its own.
fn runs(backends: &[Backend], durability: &[Durability]) -> Vec<Run> {
    let others: Vec<_> = backends.iter().copied().filter(|backend| *backend != Backend::Redis).collect();
    let mut runs = Vec::new();
    if !others.is_empty() {
        // A user's server waits for the disk, so a server that is started for a measurement does, too.
        runs.push(Run { backends: others, durability: durability.to_vec(), fsync: Fsync::On });
    }
    if backends.contains(&Backend::Redis) {
        runs.extend(durability.iter().map(|durability| {
            let fsync = match durability {
                Durability::Full => Fsync::On,
                Durability::Normal => Fsync::Everysec,
            };
            Run { backends: vec![Backend::Redis], durability: vec![*durability], fsync }
        }));
    }
    runs
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn options_reach_the_benches() {
        let given =
            ["bench", "--only", "jobs", "--durability", "full", "--runs", "5", "--compare", "/a/b.jsonl"];
        let args = Cli::parse_from(given).args;
        let [run] = &runs(&args.backend.0, &args.durability)[..] else { panic!("SQLite alone is one run") };

        let options = options(&args, run, Some(Path::new("/p/peers"))).expect("the paths are UTF-8");

        let expected =
            "--backend sqlite --only jobs --durability full --runs 5 --peers /p/peers --compare /a/b.jsonl";
        assert_eq!(options.join(" "), expected);
    }

    #[test]
    fn one_run_without_peers_unless_asked() {
        let args = Cli::parse_from(["bench"]).args;
        assert_eq!((args.runs, args.peers, args.compare.len()), (1, None, 0));
        let peers = |option| Cli::parse_from(["bench", option]).args.peers;
        assert_eq!(peers("--peers").as_deref(), Some("default"));
        assert_eq!(peers("--peers=apalis,oxana").as_deref(), Some("apalis,oxana"));
        assert!(Cli::try_parse_from(["bench", "--runs", "0"]).is_err());
    }

    #[test]
    fn redis_has_a_server_for_each_durability() {
        let both = [Durability::Full, Durability::Normal];
        let of_redis =
            |durability, fsync| Run { backends: vec![Backend::Redis], durability: vec![durability], fsync };
        let of_others = Run {
            backends: vec![Backend::Memory, Backend::Sqlite, Backend::Postgres],
            durability: both.to_vec(),
            fsync: Fsync::On,
        };
        let redis = [of_redis(Durability::Full, Fsync::On), of_redis(Durability::Normal, Fsync::Everysec)];

        assert_eq!(runs(&[Backend::Redis], &both), redis);
        assert_eq!(runs(Backend::ALL, &both), [[of_others].as_slice(), &redis].concat());
    }
}
