//! Stent's build tasks: `cargo xtask <command>`.
//!
//! One file per command. Everything that CI does is a command here, so that it can be run and fixed anywhere.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod backends;
mod bench;
mod chaos;
mod ci;
mod command;
mod compose;
mod conformance;
mod images;
mod quickstart;
mod runner;
mod servers;
mod test;
mod tidy;

/// Stent's build tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Test(test::Args),
    Conformance(conformance::Args),
    Tidy(tidy::Args),
    Bench(bench::Args),
    Chaos(chaos::Args),
    Ci(ci::Args),
    Servers(servers::Args),
    Images(images::Args),
    Compose(compose::Args),
    Quickstart(quickstart::Args),
    #[command(hide = true)]
    Keep(servers::KeepArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Task::Test(args) => test::run(&args),
        Task::Conformance(args) => conformance::run(&args),
        Task::Tidy(args) => tidy::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Chaos(args) => chaos::run(&args),
        Task::Ci(args) => ci::run(&args),
        Task::Servers(args) => servers::run(&args),
        Task::Images(args) => images::run(&args),
        Task::Compose(args) => compose::run(&args),
        Task::Quickstart(args) => quickstart::run(&args),
        Task::Keep(args) => servers::keep(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
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
