//! Reads the part of tasks that changes: what transitions are applied to.

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};

use super::Sql;
use crate::entity::task::{Column, Entity};
use crate::row::ID_BATCH;

/// What makes a [`Row`](stent_core::ledger::Row), in the order in which it is decoded. No payloads.
pub(super) const ROW_COLUMNS: [Column; 20] = [
    Column::Id,
    Column::ExecutionId,
    Column::ParentId,
    Column::OwnerId,
    Column::Kind,
    Column::Status,
    Column::Epoch,
    Column::Tries,
    Column::Attempts,
    Column::CommitNo,
    Column::CommitEpoch,
    Column::ReadyAt,
    Column::WorkerId,
    Column::Done,
    Column::WakeAt,
    Column::DoneOrder,
    Column::Fed,
    Column::Total,
    Column::StartedAt,
    Column::EndedAt,
];

pub(super) fn read(sql: Sql<'_>) -> SelectStatement {
    Query::select()
        .columns(ROW_COLUMNS)
        .from(Entity)
        .and_where(Expr::col(Column::Id).in_subquery(sql.batch_rows(&ID_BATCH)))
        .lock_exclusive()
        .take()
}
