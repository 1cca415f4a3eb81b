//! The example `batch`, run as a process on SQLite.

mod support;

#[path = "support/orders.rs"]
mod orders;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use orders::{Orders, ROWS};

/// The file that comes with the example.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/orders.csv")
}

fn batch(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    support::example("batch", folder.path()).args(args).output().expect("a process")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Runs the example over a text.
fn batch_of(text: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.csv");
    fs::write(&file, text).expect("a file");
    batch(&[file.to_str().expect("UTF-8")])
}

#[test]
fn the_orders_are_those_that_were_drawn() {
    let drawn = Orders::draw();
    if !data().exists() {
        fs::write(data(), &drawn.text).expect("a file");
        panic!("the orders were not there, and have been drawn anew: look at them, and run this again");
    }

    // No `assert_eq`: nobody wants to read both files.
    let is_same = fs::read_to_string(data()).expect("UTF-8") == drawn.text;
    assert!(
        is_same,
        "the orders are not those of tests/support/orders.rs; remove data/orders.csv and run this again"
    );
    let bad = drawn.bad.len() as u64;
    assert!((ROWS / 100..ROWS / 50).contains(&bad), "{bad} of {ROWS} are bad");
}

#[test]
fn every_order_is_in_the_totals_or_among_the_bad_ones() {
    let drawn = Orders::draw();

    let report = stdout(&batch(&[]));

    let mut lines = report.lines();
    for (currency, (orders, cents)) in &drawn.totals {
        let words: Vec<&str> = lines.next().expect("a total").split_whitespace().collect();
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        assert_eq!(words, [currency, orders.to_string().as_str(), "orders", &amount]);
    }
    assert_eq!(lines.next(), Some(format!("{} rows were not booked", drawn.bad.len()).as_str()));
    for (line, problem) in &drawn.bad {
        let told = lines.next().expect("a bad row");
        assert!(told.starts_with(&format!("  line {line}: ")) && told.contains(problem), "{told}: {problem}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn one_bad_row_is_told_and_the_others_are_booked() {
    let report = stdout(&batch_of(
        "order,date,customer,country,article,quantity,unit_price,currency\n\
         1,2026-01-01,Kim,DE,bell,2,8.99,EUR\n\
         2,2026-01-01,Kim,DE,bell,-2,8.99,EUR\n\
         3,2026-01-02,\"a\nb\",DE,bell,1,8.99,EUR\n\
         4,2026-01-02,Kim,DE,bell,1,8.9,EUR\n",
    ));

    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["EUR", "2", "orders", "26.97"]);
    assert_eq!(lines[1], "2 rows were not booked");
    assert!(lines[2].starts_with("  line 3: `quantity`: "), "{report}");
    // The row before has a line end in a field.
    assert!(lines[3].starts_with("  line 6: `8.9` is not a price"), "{report}");
}

#[test]
fn a_file_without_orders_is_booked_at_once() {
    let head = "order,date,customer,country,article,quantity,unit_price,currency\n";
    for text in ["", head] {
        assert_eq!(stdout(&batch_of(text)), "0 rows were not booked\n");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let output = batch(&["nowhere.csv"]);

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such file"), "{output:?}");
}
