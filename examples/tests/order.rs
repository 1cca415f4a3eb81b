//! The example `order`, run as a process: on SQLite, and where it ends well also on Postgres and Redis.

#[cfg(feature = "redis")]
#[path = "../../stent-redis/tests/namespace/mod.rs"]
mod namespace;
#[cfg(feature = "postgres")]
#[path = "../../stent-postgres/tests/schema/mod.rs"]
mod schema;
mod support;

use std::process::Output;

fn order(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    support::example("order", folder.path()).args(args).output().expect("a process")
}

/// Kind, name, status and attempts of each line of the timeline.
fn timeline(output: &Output) -> Vec<[String; 4]> {
    let stdout = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let rows = stdout.lines().skip_while(|line| !line.starts_with("seq")).skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.split_whitespace().collect();
        [1, 2, 3, 4].map(|column| cells[column].to_owned())
    })
    .collect()
}

#[test]
fn an_order_whose_payment_is_retried_prints_its_timeline() {
    prints_its_timeline(&order(&[]));
}

#[cfg(feature = "postgres")]
#[test]
fn an_order_on_postgres_prints_its_timeline() {
    let schema = schema::Schema::new();
    prints_its_timeline(&order(&["--store", &schema.url()]));
}

#[cfg(feature = "redis")]
#[test]
fn an_order_on_redis_prints_its_timeline() {
    let namespace = namespace::Namespace::new();
    prints_its_timeline(&order(&["--store", &namespace.url()]));
}

fn prints_its_timeline(output: &Output) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        timeline(output),
        [
            ["call", "checkout", "completed", "1"],
            ["call", "charge", "completed", "3"],
            ["sleep", "sleep", "completed", "-"],
            ["map", "ship", "completed", "-"],
            ["call", "ship", "completed", "1"],
            ["call", "ship", "completed", "1"],
            ["call", "ship", "completed", "1"],
            ["inline", "note", "completed", "-"],
        ]
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("paid 19.99") && stdout.contains("OSLO-1200, KYOTO-1200, QUITO-1200"),
        "{stdout}"
    );
}

#[test]
fn an_order_that_cannot_be_paid_fails_with_its_own_error() {
    let output = order(&["--bank-fails", "9"]);

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(timeline(&output), [["call", "checkout", "failed", "1"], ["call", "charge", "failed", "5"]]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("not paid: the bank was asked 5 times"), "{stdout}");
}

#[test]
fn a_store_of_an_unknown_kind_is_an_error() {
    let output = order(&["--store", "paper:shelf"]);

    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown scheme `paper`"), "{output:?}");
}
