//! How snapshots show statements.

use std::fmt::Write;

use stent_sql::Statement;

/// Statements by name, with a line for each clause.
pub(crate) fn shown<'a>(statements: impl Iterator<Item = (&'static str, &'a Statement)>) -> String {
    let mut shown = String::new();
    for (name, statement) in statements {
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
