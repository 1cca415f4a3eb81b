//! The README's program, as written there, run twice in one folder.

mod support;

use std::path::Path;

const README: &str = include_str!("../../README.md");
const PROGRAM: &str = include_str!("../quickstart.rs");

/// The first block of code in a language.
fn block(language: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("```{language}\n")).expect("the README has such a block");
    rest.split_once("```").expect("a block ends").0
}

fn run(folder: &Path) -> Vec<String> {
    let output = support::example("quickstart", folder).output().expect("a process");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn the_program_of_the_readme_is_the_example() {
    let program: Vec<&str> =
        PROGRAM.lines().skip_while(|line| line.starts_with("//!") || line.is_empty()).collect();
    assert_eq!(
        block("rust").lines().collect::<Vec<_>>(),
        program,
        "copy examples/quickstart.rs into README.md"
    );
}

#[test]
fn it_can_be_run_twice_and_does_its_work_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let note = "receipt for order 7, approved by kim: bell by post, saddle by post";

    let mut first = run(folder.path());
    let second = run(folder.path());

    assert_eq!(first.pop().as_deref(), Some(note));
    first.sort();
    assert_eq!(first, ["charging 1999 cents", "shipping bell", "shipping saddle"]);
    assert_eq!(second, [note], "the record answers");
}

#[test]
fn its_dependencies_are_all_named() {
    let crates = block("toml").lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let named: Vec<&str> = crates.collect();
    assert_eq!(named, ["serde", "stent", "tokio"]);
    let used = ["serde", "stent", "tokio"].map(|name| PROGRAM.contains(&format!("{name}::")));
    assert_eq!(used, [true; 3]);
}
