//! The text of every statement, in SQLite's dialect and in a sketch of another one, which shows that nothing in them is
//! SQLite's alone but what its dialect says.

use std::fmt::Write;

use sea_orm::sea_query::{
    Alias, Expr, ExprTrait, Func, PostgresQueryBuilder, Query, SelectStatement, SubQueryStatement, Value,
};
use sea_orm::{DbBackend, DbErr, QueryResult, TransactionOptions};
use stent_core::backend::ErrorKind;
use stent_sql::Statements;
use stent_sql::batch::{Answer, Batch, Column, Kind};
use stent_sql::dialect::{Dialect, render};
use stent_sqlite::SqliteDialect;

#[test]
fn every_statement_in_sqlite() {
    insta::assert_snapshot!("sqlite", shown(&SqliteDialect));
}

#[test]
fn every_statement_in_postgres() {
    insta::assert_snapshot!("postgres", shown(&PostgresPage));
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

/// Postgres, as far as text goes.
#[derive(Debug)]
struct PostgresPage;

impl Dialect for PostgresPage {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    fn begin(&self) -> TransactionOptions {
        TransactionOptions::default()
    }

    fn render(&self, query: &SubQueryStatement) -> String {
        render(query, PostgresQueryBuilder)
    }

    fn param(&self, n: usize) -> String {
        format!("${n}")
    }

    fn limit(&self, n: usize) -> String {
        self.param(n)
    }

    fn batch_source(&self, columns: &[Column], first: usize) -> SelectStatement {
        let arrays = columns.iter().enumerate().map(|(at, column)| {
            let array = match column.kind {
                Kind::Id => "uuid[]",
                Kind::Int | Kind::Count => "bigint[]",
                Kind::Text => "text[]",
                Kind::Bytes => "bytea[]",
            };
            Expr::cust(format!("${}::{array}", first + at))
        });
        let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        Query::select()
            .columns(columns.iter().map(|column| Alias::new(column.name)))
            .from_function(
                Func::cust(Alias::new("unnest")).args(arrays),
                Alias::new(format!("at ({})", names.join(", "))),
            )
            .take()
    }

    fn batch_params(&self, columns: &[Column]) -> usize {
        columns.len()
    }

    fn batch_values(&self, _batch: &Batch<'_>) -> Vec<Value> {
        Vec::new()
    }

    fn near_bytes_max(&self) -> Option<usize> {
        None
    }

    fn gather(
        &self,
        query: SelectStatement,
        _columns: &[Column],
        _numbered_by: Option<&str>,
    ) -> SelectStatement {
        query
    }

    fn scatter(&self, _rows: Vec<QueryResult>, columns: &'static [Column]) -> Result<Answer, DbErr> {
        Ok(Answer::new(columns))
    }

    fn any_of(&self, column: Expr, subquery: SelectStatement) -> Expr {
        let array = Func::cust(Alias::new("ARRAY")).arg(Expr::SubQuery(None, Box::new(subquery.into())));
        column.eq(Func::cust(Alias::new("ANY")).arg(array))
    }

    fn clock(&self) -> Expr {
        Expr::cust("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    }

    fn iso(&self, column: &str) -> String {
        format!("to_timestamp({column} / 1000000.0)")
    }

    fn classify(&self, _error: &DbErr) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn explain(&self, _error: &DbErr) -> Option<String> {
        None
    }
}
