//! The text of every statement.

#[path = "../../../stent-sql/tests/shared/statements.rs"]
mod shared;

use stent_sql::Statements;
use stent_sqlite::SqliteDialect;

#[test]
fn every_statement_in_sqlite() {
    insta::assert_snapshot!("sqlite", shared::shown(Statements::new(&SqliteDialect).iter()));
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
