//! Reads for people and waiters. None of them locks.

use sea_orm::sea_query::{Expr, ExprTrait, Order, Query, UnionType};

use super::{Built, Sql, carried, limit, names};
use crate::entity::task::{Column, Entity};
use crate::row::columns;

pub(super) fn clock(sql: Sql<'_>) -> Built {
    Built::read(&columns::NOW, Query::select().expr_as(sql.dialect.clock(), "now").take())
}

pub(super) fn executions(sql: Sql<'_>) -> Built {
    let executions = Query::select()
        .exprs(carried(sql, &columns::EXECUTION))
        .from(Entity)
        .and_where(Expr::col(Column::Id).in_subquery(sql.batch(&columns::ONE_ID)))
        .and_where(Expr::col(Column::ParentId).is_null())
        .take();
    sql.gathered(&columns::EXECUTION, executions)
}

/// A page of an execution's tasks, by id, which is by age. The root is found by its own id: roots, of which there may be
/// as many as tasks, are not in the index of executions.
pub(super) fn tasks(sql: Sql<'_>) -> Built {
    let (execution, after) = (|| sql.param(1), || sql.param(2));
    let root = Query::select()
        .columns(names(&columns::TASK))
        .from(Entity)
        .and_where(Expr::col(Column::Id).eq(execution()))
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::Id).gt(after()))
        .take();
    let all = Query::select()
        .columns(names(&columns::TASK))
        .from(Entity)
        .and_where(Expr::col(Column::ExecutionId).eq(execution()))
        .and_where(Expr::col(Column::ParentId).is_not_null())
        .and_where(Expr::col(Column::Id).gt(after()))
        .union(UnionType::All, root)
        .order_by(Column::Id, Order::Asc)
        .limit(limit(3))
        .take();
    sql.gathered(&columns::TASK, all)
}

/// A page of a map's items. Items have no `done_order`: their map only counts them.
pub(super) fn items(sql: Sql<'_>) -> Built {
    let items = Query::select()
        .exprs(carried(sql, &columns::ITEM))
        .from(Entity)
        .and_where(Expr::col(Column::ParentId).eq(sql.param(1)))
        .and_where(Expr::col(Column::DoneOrder).is_null())
        .and_where(Expr::col(Column::Seq).gte(sql.param(2)))
        .order_by(Column::Seq, Order::Asc)
        .limit(limit(3))
        .take();
    sql.gathered(&columns::ITEM, items)
}
