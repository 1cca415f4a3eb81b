//! The text of statements, where databases write it differently.

use std::fmt::Debug;

use sea_orm::DbBackend;
use sea_orm::sea_query::{Expr, QueryBuilder, SelectStatement, SubQueryStatement};

/// How statements are written.
pub trait Text: Debug + Send + Sync + 'static {
    /// The database, as sea-orm calls it.
    fn backend(&self) -> DbBackend;

    /// Renders a statement; see [`render`].
    fn render(&self, query: &SubQueryStatement) -> String;

    /// The n-th parameter of a statement, counting from 1: `?1`, `$1`.
    fn param(&self, n: usize) -> String;

    /// The n-th parameter, where it stands for a limit.
    fn limit(&self, n: usize) -> String;

    /// Whether `column` is one of the few values of `subquery`, which depends on the row beside it: to be looked up by
    /// index, and not to be joined.
    fn any_of(&self, column: Expr, subquery: SelectStatement) -> Expr;

    /// Whether a query gives a row. It looks for one only, and is planned as if there were few.
    fn any_row(&self, query: SelectStatement) -> Expr;

    /// Whether a join of a few rows with a table looks each of them up, while a list of them would be planned by how many rows
    /// such lists have on average.
    fn joins_by_lookup(&self) -> bool;

    /// The database's clock, in microseconds since the Unix epoch.
    fn clock(&self) -> Expr;

    /// Which database a connection is in, and where in it Stent's tables are looked for: a text that is the same for two
    /// connections only if they find the same tables.
    fn home(&self) -> Expr;

    /// The isolation level of the transaction that asks, if its statements do not see what others have committed since it
    /// began, and may write all the same; else null.
    fn frozen(&self) -> Expr {
        Expr::cust("NULL")
    }

    /// The number that the transaction which asks was marked with, as a text; null if it was not.
    fn marked(&self) -> Expr {
        Expr::cust("NULL")
    }

    /// A moment in microseconds as an ISO 8601 text, for people.
    fn iso(&self, column: &str) -> String;

    /// A field of a JSON object in a column, as a text.
    fn json_field(&self, column: &str, field: &str) -> String;

    /// How the rows of a new table are stored: what follows `ALTER TABLE name`, if anything.
    fn storage(&self, _table: &str) -> Option<&'static str> {
        None
    }

    /// Whether an index can be renamed. Where it cannot, it is made again under its new name.
    fn renames_indexes(&self) -> bool;
}

/// Renders a statement with a builder of sea-query. A dialect's [`render`](Dialect::render) is this with its builder.
pub fn render<B: QueryBuilder>(query: &SubQueryStatement, builder: B) -> String {
    match query {
        SubQueryStatement::SelectStatement(query) => query.to_string(builder),
        SubQueryStatement::InsertStatement(query) => query.to_string(builder),
        SubQueryStatement::UpdateStatement(query) => query.to_string(builder),
        SubQueryStatement::DeleteStatement(query) => query.to_string(builder),
        SubQueryStatement::WithStatement(query) => query.to_string(builder),
    }
}
