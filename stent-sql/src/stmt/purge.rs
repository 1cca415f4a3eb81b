//! Deletes executions that have ended.

use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};

use super::{Built, Sql, limit, names};
use crate::entity::task::{Column, Entity};
use crate::row::columns::ONE_ID;

/// Roots that ended before a moment, oldest first.
pub(super) fn ended(sql: Sql<'_>) -> Built {
    let ended = Query::select()
        .columns(names(&ONE_ID))
        .from(Entity)
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::EndedAt).is_not_null())
        .and_where(Expr::col(Column::EndedAt).lt(sql.param(1)))
        .order_by(Column::EndedAt, Order::Asc)
        .order_by(Column::Id, Order::Asc)
        .limit(limit(2))
        .lock_exclusive()
        .take();
    Built::read(&ONE_ID, ended)
}

/// Everything below the roots.
pub(super) fn steps(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete
        .from_table(Entity)
        .and_where(Expr::col(Column::ExecutionId).in_subquery(sql.batch(&ONE_ID)))
        .and_where(Expr::col(Column::ParentId).is_not_null());
    Built::write(delete)
}

/// The roots themselves.
pub(super) fn roots(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete.from_table(Entity).and_where(Expr::col(Column::Id).in_subquery(sql.batch(&ONE_ID)));
    Built::write(delete)
}
