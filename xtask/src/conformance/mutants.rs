//! `cargo xtask conformance --mutants`: proves the suite with stores that are broken on purpose. The mutants, and the table
//! of what caught them, are the test target `mutants` of `stent-conformance`.

use anyhow::Result;

use crate::command::Command;

/// Runs every mutant against every case, which `cargo test` does not: there each meets the area of its case only.
pub(super) fn run(filter: Option<&str>, list: bool) -> Result<bool> {
    // The flags of the other runners: nothing is built twice.
    let mut command = Command::cargo(["test", "--workspace", "--test", "mutants", "--", "--color", "never"])
        .env("STENT_MUTANTS_ALL", "1")
        .args(filter.map(str::to_owned));
    if list {
        command = command.args(["--list"]);
    }
    eprintln!("$ {command}");
    command.run()
}
