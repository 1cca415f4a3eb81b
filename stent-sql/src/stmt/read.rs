//! Reads tasks by id.

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};

use super::{Built, Sql, names};
use crate::batch::Column;
use crate::entity::task::{Column as Task, Entity};
use crate::row::columns;

/// What transitions are applied to.
pub(super) fn read(sql: Sql<'_>) -> Built {
    sql.gathered(&columns::ROW, by_id(sql, &columns::ROW).lock_exclusive().take())
}

/// Arguments that were too large to come along.
pub(super) fn far_args(sql: Sql<'_>) -> Built {
    Built::read(&columns::FAR_ARGS, by_id(sql, &columns::FAR_ARGS))
}

/// Results that were too large to come along.
pub(super) fn far_results(sql: Sql<'_>) -> Built {
    Built::read(&columns::FAR_RESULT, by_id(sql, &columns::FAR_RESULT))
}

fn by_id(sql: Sql<'_>, gives: &[Column]) -> SelectStatement {
    Query::select()
        .columns(names(gives))
        .from(Entity)
        .and_where(Expr::col(Task::Id).in_subquery(sql.batch(&columns::ONE_ID)))
        .take()
}
