//! What happens to everything below a task.

use sea_orm::sea_query::{
    Alias, CommonTableExpression, DynIden, Expr, ExprTrait, JoinType, Query, SelectStatement, UnionType, WithClause,
};
use stent_core::model::TaskStatus;

use super::{Built, Sql, literal, name, null};
use crate::entity::task::{Column, Entity};
use crate::row::columns;

const BELOW: &str = "below";

/// Cancels every open task below those of the batch, at the moment at which they themselves ended.
pub(super) fn sweep(sql: Sql<'_>) -> Built {
    let root = || name("root");
    let directly = Query::select()
        .column((name("task"), Column::Id))
        .column((root(), Column::EndedAt))
        .from_as(Entity, root())
        .join_as(JoinType::InnerJoin, Entity, name("task"), child_of(root()))
        .and_where(Expr::col((root(), Column::Id)).in_subquery(sql.batch(&columns::ONE_ID)))
        .take();
    let further = Query::select()
        .column((name("task"), Column::Id))
        .column((name(BELOW), Column::EndedAt))
        .from(Alias::new(BELOW))
        .join_as(JoinType::InnerJoin, Entity, name("task"), child_of(name(BELOW)))
        .take();
    let update = Query::update()
        .with_cte(recursive(directly, further, &[Column::Id, Column::EndedAt]))
        .table(Entity)
        .value(Column::Status, literal(TaskStatus::Cancelled.as_str()))
        .value(Column::ReadyAt, null())
        .value(Column::WorkerId, null())
        .value(Column::WakeAt, null())
        .value(Column::EndedAt, Expr::col((name(BELOW), Column::EndedAt)))
        .from(Alias::new(BELOW))
        .and_where(Expr::col((Entity, Column::Id)).equals((name(BELOW), Column::Id)))
        .and_where(Expr::col((Entity, Column::EndedAt)).is_null())
        .take();
    Built::write(update)
}

/// Deletes the tasks of the batch and everything below them.
pub(super) fn erase(sql: Sql<'_>) -> Built {
    let below = Query::select()
        .column((name("task"), Column::Id))
        .from(Alias::new(BELOW))
        .join_as(JoinType::InnerJoin, Entity, name("task"), child_of(name(BELOW)))
        .take();
    let all = Query::select().column(Column::Id).from(Alias::new(BELOW)).take();
    let mut delete = Query::delete();
    delete
        .with_cte(recursive(sql.batch(&columns::ONE_ID), below, &[Column::Id]))
        .from_table(Entity)
        .and_where(Expr::col(Column::Id).in_subquery(all));
    Built::write(delete)
}

fn recursive(mut first: SelectStatement, next: SelectStatement, columns: &[Column]) -> WithClause {
    first.union(UnionType::All, next);
    let mut below = CommonTableExpression::new();
    below.table_name(BELOW).columns(columns.iter().copied()).query(first);
    let mut with = WithClause::new();
    with.recursive(true).cte(below);
    with
}

fn child_of(above: DynIden) -> Expr {
    Expr::col((name("task"), Column::ParentId)).equals((above, Column::Id))
}
