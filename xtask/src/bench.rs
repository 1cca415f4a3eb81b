//! `cargo xtask bench`: measures. Builds the benches with optimisation and hands them what was asked for; what is
//! measured, and how, is theirs.

use anyhow::Result;

use crate::backends::Backend;
use crate::command::Command;
use crate::servers::{Fsync, Servers, ServersArgs};

/// Runs the benches in release mode; each prints one JSON line on standard output
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --only jobs,latency --durability full\n  cargo xtask bench --backend sqlite,postgres"
)]
pub(crate) struct Args {
    /// Backends to measure, with commas between them: sqlite, postgres, memory
    #[arg(long, value_name = "NAME,…")]
    backend: Option<String>,

    #[command(flatten)]
    servers: ServersArgs,

    /// Benches to run, with commas between them; all of them otherwise
    #[arg(long, value_name = "NAME,…")]
    only: Option<String>,

    /// Size of each bench: executions, or items of a map; each has its own default
    #[arg(long, value_name = "N,…")]
    n: Option<String>,

    /// What a commit waits for, with commas between them
    #[arg(long, value_name = "full,normal")]
    durability: Option<String>,

    /// Anything else, handed to the benches as it stands
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    // What is measured is what a user's server does, so one that is started here waits for the disk.
    let servers = Servers::start(&needed(args), &args.servers.choice, Fsync::On)?;
    let command = Command::cargo(["run", "--release", "--package", "stent-bench", "--"])
        .args(passed_on(args))
        .envs(servers.environment());
    // Standard output belongs to the benches' JSON lines.
    eprintln!("$ {command}");
    command.run()
}

/// Of the backends that are to be measured, those that need a server.
fn needed(args: &Args) -> Vec<Backend> {
    let named = args.backend.iter().flat_map(|names| names.split(','));
    named.filter(|name| name.trim() == Backend::Postgres.name()).map(|_| Backend::Postgres).take(1).collect()
}

fn passed_on(args: &Args) -> Vec<String> {
    let options = [
        ("--backend", &args.backend),
        ("--only", &args.only),
        ("--n", &args.n),
        ("--durability", &args.durability),
    ];
    let given = options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value.clone()?]));
    given.flatten().chain(args.rest.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_passed_on() {
        let args = Args {
            backend: Some("sqlite".into()),
            servers: ServersArgs::default(),
            only: None,
            n: Some("1000".into()),
            durability: None,
            rest: vec!["--url".into(), "sqlite://x.db".into()],
        };
        assert_eq!(passed_on(&args), ["--backend", "sqlite", "--n", "1000", "--url", "sqlite://x.db"]);
    }
    #[test]
    fn a_server_is_started_for_who_needs_one() {
        let args = |backend: &str| Args {
            backend: Some(backend.into()),
            servers: ServersArgs::default(),
            only: None,
            n: None,
            durability: None,
            rest: Vec::new(),
        };
        assert_eq!(needed(&args("sqlite,postgres")), [Backend::Postgres]);
        assert_eq!(needed(&args("sqlite,memory")), []);
    }
}
