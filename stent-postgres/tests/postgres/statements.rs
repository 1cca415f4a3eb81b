//! The text of every statement.

#[path = "../../../stent-sql/tests/shared/statements.rs"]
mod shared;

use stent_postgres::PostgresDialect;
use stent_sql::{Locks, Statements};

#[test]
fn every_statement_in_postgres() {
    let dialect = PostgresDialect::default();
    let (statements, locks) = (Statements::new(&dialect), Locks::new(&dialect));
    insta::assert_snapshot!("postgres", shared::shown(statements.iter().chain(locks.iter())));
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

/// Tables are looked for in a schema by name, wherever a connection would look for them.
#[test]
fn every_table_is_named_with_its_schema() {
    let dialect = PostgresDialect::in_schema("orders");
    let (statements, locks) = (Statements::new(&dialect), Locks::new(&dialect));
    for (name, statement) in statements.iter().chain(locks.iter()) {
        let text = &statement.text;
        for table in ["task", "lane", "memo", "note", "progress", "tried", "rate"] {
            for keyword in ["FROM", "JOIN", "INTO", "UPDATE", ","] {
                let bare = format!("{keyword} \"stent_{table}\"");
                let is_table = |rest: &str| !rest.starts_with('.');
                let found = text.match_indices(&bare).any(|(at, bare)| is_table(&text[at + bare.len()..]));
                assert!(!found, "{name}: {text}");
            }
        }
    }
    assert_eq!(statements.read.text.matches("FROM \"orders\".\"stent_task\"").count(), 1);
}
