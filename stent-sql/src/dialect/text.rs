//! The text of statements.

use std::fmt::Debug;

use sea_orm::DbBackend;
use sea_orm::sea_query::{Expr, QueryBuilder, SelectStatement, SubQueryStatement};

/// How statements are written.
pub trait Text: Debug + Send + Sync + 'static {
    /// The database in the terms of sea-orm.
    fn backend(&self) -> DbBackend;

    /// Renders a statement; see [`render`].
    fn render(&self, query: &SubQueryStatement) -> String;

    /// The n-th parameter of a statement, counting from 1: `?1`, `$1`.
    fn param(&self, n: usize) -> String;

    /// The n-th parameter of a statement, written as a limit.
    fn limit(&self, n: usize) -> String;

    /// A condition: `column` is one of the values of `subquery`, which are few and may depend on the outer row. The database
    /// must look them up by index instead of joining.
    fn any_of(&self, column: Expr, subquery: SelectStatement) -> Expr;

    /// A condition: the query has a row. The database must stop at the first one and look it up by index. The query selects
    /// nothing yet.
    fn any_row(&self, query: SelectStatement) -> Expr;

    /// Whether the planner looks up each row of a small batch when it joins a table, and misjudges the same batch as a list
    /// of values.
    fn joins_by_lookup(&self) -> bool;

    /// The time of the database's clock, in microseconds since the Unix epoch.
    fn clock(&self) -> Expr;

    /// A text that names the database of the connection. Two connections have the same text only if they find the same
    /// tables.
    fn home(&self) -> Expr;

    /// The isolation level of the current transaction, if it may write and does not see commits since it began; else null.
    fn frozen(&self) -> Expr {
        Expr::cust("NULL")
    }

    /// The number that [`Concurrency::mark`](super::Concurrency::mark) gave the current transaction, as a text; else null.
    fn marked(&self) -> Expr {
        Expr::cust("NULL")
    }

    /// A column with microseconds, as an ISO 8601 text.
    fn iso(&self, column: &str) -> String;

    /// A field of a JSON object in a column, as a text.
    fn json_field(&self, column: &str, field: &str) -> String;

    /// Storage parameters of a new table: the text after `ALTER TABLE name`, if any.
    fn storage(&self, _table: &str) -> Option<&'static str> {
        None
    }

    /// Whether the database can rename an index. If not, a migration creates it again under its new name.
    fn renames_indexes(&self) -> bool;
}

/// Renders a statement with a builder of sea-query. [`Text::render`] calls this with the builder of its database.
pub fn render<B: QueryBuilder>(query: &SubQueryStatement, builder: B) -> String {
    match query {
        SubQueryStatement::SelectStatement(query) => query.to_string(builder),
        SubQueryStatement::InsertStatement(query) => query.to_string(builder),
        SubQueryStatement::UpdateStatement(query) => query.to_string(builder),
        SubQueryStatement::DeleteStatement(query) => query.to_string(builder),
        SubQueryStatement::WithStatement(query) => query.to_string(builder),
    }
}
