//! Reads tasks by id.

use sea_orm::sea_query::{Alias, CommonTableExpression, Expr, ExprTrait, Query, SelectStatement, UnionType};

use super::{Built, Sql, carried, names};
use crate::batch::Column;
use crate::entity::task::{Column as Task, Entity};
use crate::row::columns;

/// What transitions are applied to.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let rows = Query::select().exprs(carried(sql, &columns::ROW)).from(Entity).and_where(among(sql)).take();
    sql.packed(&columns::ROW, sql.locked(rows, (Entity, Task::Id)))
}

/// The same, with the open tasks under the keys of a second batch, and the parents and owners of those.
pub(super) fn read_keyed(sql: Sql<'_>) -> Built {
    const KEYED: &str = "keyed";
    let under = Query::select()
        .columns([Task::Id, Task::ParentId, Task::OwnerId])
        .from(Entity)
        .and_where(
            sql.dialect.any_of(Expr::col(Task::Key), sql.batch_after(&columns::ONE_ID, &columns::ONE_KEY)),
        )
        .and_where(Expr::col(Task::Key).is_not_null())
        .and_where(Expr::col(Task::EndedAt).is_null())
        .take();
    let mut keyed = CommonTableExpression::from_select(under);
    keyed.table_name(KEYED).materialized(true);
    let of_keyed = |column| Query::select().column(column).from(Alias::new(KEYED)).take();
    let all = sql
        .batch(&columns::ONE_ID)
        .union(UnionType::All, of_keyed(Task::Id))
        .union(UnionType::All, of_keyed(Task::ParentId))
        .union(UnionType::All, of_keyed(Task::OwnerId))
        .take();
    let rows = Query::select()
        .with_cte(keyed)
        .exprs(carried(sql, &columns::ROW))
        .from(Entity)
        .and_where(sql.dialect.any_of(Expr::col((Entity, Task::Id)), all))
        .take();
    sql.packed(&columns::ROW, sql.locked(rows, (Entity, Task::Id)))
}

/// Arguments that were too large to come inline.
pub(super) fn overflow_args(sql: Sql<'_>) -> Built {
    Built::read(&columns::OVERFLOW_ARGS, overflow(sql, &columns::OVERFLOW_ARGS))
}

/// Results that were too large to come inline.
pub(super) fn overflow_results(sql: Sql<'_>) -> Built {
    Built::read(&columns::OVERFLOW_RESULT, overflow(sql, &columns::OVERFLOW_RESULT))
}

fn overflow(sql: Sql<'_>, gives: &[Column]) -> SelectStatement {
    Query::select().columns(names(gives)).from(Entity).and_where(among(sql)).take()
}

fn among(sql: Sql<'_>) -> Expr {
    sql.in_batch_of((Entity, Task::Id), &columns::ONE_ID)
}
