//! The example `outbox`, run as a process on SQLite.

mod support;

use std::path::Path;

/// The lines of the output.
fn outbox(folder: &Path, args: &[&str]) -> Vec<String> {
    let output = support::example("outbox", folder).args(args).output().expect("a process");
    assert!(output.status.success(), "{output:?}");
    let mut lines: Vec<_> =
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn an_order_that_is_thought_better_of_has_no_execution() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = outbox(folder.path(), &[]);
    assert_eq!(lines[0], "2 orders, 2 reserved, 8 left");
    assert_eq!(lines[2], "order 2: not taken: the customer has thought better of it");
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[test]
fn no_more_is_taken_than_there_is_on_the_shelf() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = outbox(folder.path(), &["--orders", "14"]);
    assert!(lines.contains(&"13 orders, 10 reserved, 0 left".to_owned()), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.ends_with("SoldOut")).count(), 3, "{lines:?}");
}
