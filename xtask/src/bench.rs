//! `cargo xtask bench`: builds the benches with optimisation and passes the options to them. The benches define
//! the measurements.

use anyhow::Result;

use crate::backends::{Backend, Backends};
use crate::command::Command;
use crate::servers::{Fsync, Servers, ServersArgs};

/// Runs the benches in release mode; each prints one JSON line on standard output
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --only jobs,latency --durability full\n  cargo xtask bench --backend sqlite,postgres\n  cargo xtask bench --backend redis --durability normal"
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
    for Run { backends, durability, fsync } in runs(&args.backend.0, &args.durability) {
        let servers = Servers::start(&backends, &args.servers.choice, fsync)?;
        let backends: Vec<_> = backends.iter().map(|backend| backend.name()).collect();
        let durability: Vec<_> = durability.iter().map(|durability| durability.name()).collect();
        let options = [
            ("--backend", Some(backends.join(","))),
            ("--only", args.only.clone()),
            ("--n", args.n.clone()),
            ("--durability", Some(durability.join(","))),
        ];
        let given = options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten();
        let command = Command::cargo(["run", "--release", "--package", "stent-bench", "--"])
            .args(given)
            .args(&args.rest)
            .envs(servers.environment());
        // Standard output belongs to the benches' JSON lines.
        eprintln!("$ {command}");
        passed &= command.run()?;
    }
    Ok(passed)
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
    use super::*;

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
