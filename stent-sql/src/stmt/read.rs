//! Reads tasks by id.

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};

use super::{Built, Sql, carried, names};
use crate::batch::Column;
use crate::entity::task::{Column as Task, Entity};
use crate::row::columns;

/// What transitions are applied to.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let rows = Query::select()
        .exprs(carried(sql, &columns::ROW))
        .from(Entity)
        .and_where(among(sql))
        .lock_exclusive()
        .take();
    sql.gathered(&columns::ROW, rows)
}

/// Arguments that were too large to come along.
pub(super) fn far_args(sql: Sql<'_>) -> Built {
    Built::read(&columns::FAR_ARGS, far(sql, &columns::FAR_ARGS))
}

/// Results that were too large to come along.
pub(super) fn far_results(sql: Sql<'_>) -> Built {
    Built::read(&columns::FAR_RESULT, far(sql, &columns::FAR_RESULT))
}

fn far(sql: Sql<'_>, gives: &[Column]) -> SelectStatement {
    Query::select().columns(names(gives)).from(Entity).and_where(among(sql)).take()
}

fn among(sql: Sql<'_>) -> Expr {
    Expr::col((Entity, Task::Id)).in_subquery(sql.batch(&columns::ONE_ID))
}
