//! `cargo xtask bench`: measures. Builds the benches with optimisation and hands them what was asked for; what is
//! measured, and how, is theirs.

use anyhow::Result;

use crate::command::Command;

/// Runs the benches in release mode; each prints one JSON line on standard output
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --only jobs,latency --durability full"
)]
pub(crate) struct Args {
    /// Backends to measure, with commas between them
    #[arg(long, value_name = "NAME,…")]
    backend: Option<String>,

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
    let command =
        Command::cargo(["run", "--release", "--package", "stent-bench", "--"]).args(passed_on(args));
    // Standard output belongs to the benches' JSON lines.
    eprintln!("$ {command}");
    command.run()
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
            only: None,
            n: Some("1000".into()),
            durability: None,
            rest: vec!["--url".into(), "sqlite://x.db".into()],
        };
        assert_eq!(passed_on(&args), ["--backend", "sqlite", "--n", "1000", "--url", "sqlite://x.db"]);
    }
}
