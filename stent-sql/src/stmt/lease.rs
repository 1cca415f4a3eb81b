//! Extends leases.

use sea_orm::EntityName;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use stent_core::model::TaskStatus;

use super::{Built, Sql, in_batch, literal, of};
use crate::entity::task::{Column, Entity};
use crate::row::columns::HELD;

pub(super) fn renew(sql: Sql<'_>) -> Built {
    let of_task = |column| Expr::col((Entity, column));
    let renew = Query::update()
        .table(Entity)
        .value(Column::ReadyAt, sql.param_after(&HELD, 1))
        .from(sql.batch_table(&HELD))
        .and_where(Expr::col((Entity, Column::Id)).eq(in_batch("id")))
        .and_where(Expr::col((Entity, Column::Epoch)).eq(in_batch("epoch")))
        .and_where(Expr::col((Entity, Column::Status)).eq(literal(TaskStatus::Running.as_str())))
        // G8: the place may have been given to another.
        .and_where(of_task(Column::Slot).is_null().or(of_task(Column::ReadyAt).gt(sql.param_after(&HELD, 2))))
        .returning(Query::returning().columns(of(Entity.table_name(), &HELD)))
        .take();
    Built::read(&HELD, renew)
}
