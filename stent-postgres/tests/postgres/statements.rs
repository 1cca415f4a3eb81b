//! The text of every statement.

use std::fmt::Write;

use stent_postgres::PostgresDialect;
use stent_sql::{Locks, Statements};

#[test]
fn every_statement_in_postgres() {
    insta::assert_snapshot!("postgres", shown());
}

#[test]
fn what_is_read_to_be_written_is_locked_in_order() {
    let dialect = PostgresDialect::default();
    let (statements, locks) = (Statements::new(&dialect), Locks::new(&dialect));
    for statement in [&statements.read, &statements.read_keyed, &locks.hold_below, &locks.hold_within] {
        assert!(statement.text.ends_with("\"id\" ASC FOR UPDATE"), "{}", statement.text);
    }
    for claim in [&statements.pick, &statements.pick_with, &statements.heads] {
        assert_eq!(claim.text.matches("FOR UPDATE SKIP LOCKED").count(), 1, "{}", claim.text);
    }
}

/// Statements by name, with a line for each clause.
fn shown() -> String {
    let dialect = PostgresDialect::default();
    let (statements, locks) = (Statements::new(&dialect), Locks::new(&dialect));
    let mut shown = String::new();
    for (name, statement) in statements.iter().chain(locks.iter()) {
        let mut text = statement.text.clone();
        for clause in
            ["FROM", "WHERE", "SET", "VALUES", "UNION ALL", "ON CONFLICT", "RETURNING", "ORDER BY", "SELECT"]
        {
            text = text.replace(&format!(" {clause} "), &format!("\n  {clause} "));
            text = text.replace(&format!("({clause} "), &format!("(\n  {clause} "));
        }
        let _ = writeln!(shown, "-- {name}\n{text}\n");
    }
    shown
}
