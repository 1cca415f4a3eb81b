//! The text of every statement.

use std::fmt::Write;

use stent_sql::{Dialect, Statements};
use stent_sqlite::SqliteDialect;

#[test]
fn every_statement_in_sqlite() {
    insta::assert_snapshot!("sqlite", shown(&SqliteDialect));
}

#[test]
fn a_statement_has_no_parameters_but_numbered_ones() {
    for (name, statement) in Statements::new(&SqliteDialect).iter() {
        let unnumbered =
            statement.text.split('?').skip(1).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(unnumbered.count(), 0, "{name}: {}", statement.text);
        assert!(!statement.text.contains("900000000000000000"), "{name} has a limit that nobody means");
    }
}

#[test]
fn no_statement_is_prepared_anew_for_a_new_limit() {
    for (name, statement) in Statements::new(&SqliteDialect).iter() {
        let limits = statement.text.split("LIMIT ?").skip(1);
        assert!(limits.into_iter().all(|rest| rest[1..].starts_with(" + 0")), "{name}: {}", statement.text);
    }
}

/// Statements by name, with a line for each clause.
fn shown(dialect: &dyn Dialect) -> String {
    let mut shown = String::new();
    for (name, statement) in Statements::new(dialect).iter() {
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
