//! `cargo xtask chaos`: plays faults to real workers. Builds the program that does and hands it what was asked for; what is
//! played, and what is judged, is its own.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::Command;
use crate::servers::programs_for_tests;
use crate::test::FEATURES;

/// Plays real faults to real worker processes, two at a time, and judges what came of it
#[derive(Debug, Default, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Handed to the program, which has the help: `cargo xtask chaos --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    programs_for_tests();
    let program = build()?;
    let command = Command::new(program).args(&args.options);
    eprintln!("$ {command}");
    command.run()
}

/// Builds it as `cargo xtask test` does, as the program of its own test, so that neither of the two builds it anew for the
/// other.
fn build() -> Result<PathBuf> {
    let build = ["test", "--workspace", "--features", FEATURES, "--test", "chaos", "--no-run"];
    let programs = Command::cargo(build).programs()?.into_iter();
    let mut programs =
        programs.filter(|(artifact, _)| artifact.target.name == "stent-chaos" && !artifact.profile.test);
    Ok(programs.next().context("cargo built no program stent-chaos")?.1)
}
