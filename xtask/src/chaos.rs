//! `cargo xtask chaos`: plays faults on real workers. Builds the chaos program and passes the options to it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::Command;
use crate::servers::programs;
use crate::test::FEATURES;

/// Plays real faults on real worker processes, two at a time, and judges the result
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Passed to the program, which has the help: `cargo xtask chaos --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

impl Args {
    /// These options.
    pub(crate) fn of(options: &[&str]) -> Self {
        Self { options: options.iter().map(|option| (*option).to_owned()).collect() }
    }
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    programs::for_tests();
    let program = build()?;
    let command = Command::new(program).args(&args.options);
    eprintln!("$ {command}");
    command.run()
}

/// Builds the program like `cargo xtask test`, as the program of its own test, so that neither command rebuilds it for the
/// other.
fn build() -> Result<PathBuf> {
    let build = ["test", "--workspace", "--features", FEATURES, "--test", "chaos", "--no-run"];
    let programs = Command::cargo(build).programs()?.into_iter();
    let mut programs =
        programs.filter(|(artifact, _)| artifact.target.name == "stent-chaos" && !artifact.profile.test);
    Ok(programs.next().context("cargo built no program stent-chaos")?.1)
}
