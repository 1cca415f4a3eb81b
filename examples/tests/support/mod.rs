//! Runs the examples as processes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of an example, to be run in a folder.
pub(crate) fn example(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(folder).env_remove("RUST_LOG");
    command
}

/// Cargo tells tests the paths of binaries, but not of examples; those are beside the tests' own.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test's own program");
    let program = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("examples").join(name);
    assert!(
        program.exists(),
        "{program:?} is not built; run all tests of the package, or `cargo build -p stent-examples --examples`"
    );
    program
}
