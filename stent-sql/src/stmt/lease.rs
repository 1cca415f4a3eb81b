//! Extends leases.

use sea_orm::EntityName;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Query, UpdateStatement};
use stent_core::model::TaskStatus;

use super::{BATCH, Sql, in_batch, literal, name};
use crate::entity::task::{Column, Entity};
use crate::row::LEASE_BATCH;

pub(super) fn renew(sql: Sql<'_>) -> UpdateStatement {
    let task = || name(Entity.table_name());
    Query::update()
        .with_cte(sql.batch(&LEASE_BATCH))
        .table(Entity)
        .value(Column::ReadyAt, sql.param_after(&LEASE_BATCH, 1))
        .from(Alias::new(BATCH))
        .and_where(Expr::col((task(), Column::Id)).eq(in_batch("id")))
        .and_where(Expr::col((task(), Column::Epoch)).eq(in_batch("epoch")))
        .and_where(Expr::col((task(), Column::Status)).eq(literal(TaskStatus::Running.as_str())))
        .returning(Query::returning().columns([Column::Id, Column::Epoch].map(|column| (task(), column))))
        .take()
}
