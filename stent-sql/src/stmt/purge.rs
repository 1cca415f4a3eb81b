//! Deletes executions that have ended.

use sea_orm::sea_query::{DeleteStatement, Expr, ExprTrait, Order, Query, SelectStatement};

use super::{Sql, limit};
use crate::entity::task::{Column, Entity};
use crate::row::ID_BATCH;

/// Roots that ended before a moment, oldest first.
pub(super) fn ended(sql: Sql<'_>) -> SelectStatement {
    Query::select()
        .column(Column::Id)
        .from(Entity)
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::EndedAt).is_not_null())
        .and_where(Expr::col(Column::EndedAt).lt(sql.param(1)))
        .order_by(Column::EndedAt, Order::Asc)
        .order_by(Column::Id, Order::Asc)
        .limit(limit(2))
        .lock_exclusive()
        .take()
}

/// Everything below the roots.
pub(super) fn steps(sql: Sql<'_>) -> DeleteStatement {
    Query::delete()
        .from_table(Entity)
        .and_where(Expr::col(Column::ExecutionId).in_subquery(sql.batch_rows(&ID_BATCH)))
        .and_where(Expr::col(Column::ParentId).is_not_null())
        .take()
}

/// The roots themselves.
pub(super) fn roots(sql: Sql<'_>) -> DeleteStatement {
    Query::delete()
        .from_table(Entity)
        .and_where(Expr::col(Column::Id).in_subquery(sql.batch_rows(&ID_BATCH)))
        .take()
}
