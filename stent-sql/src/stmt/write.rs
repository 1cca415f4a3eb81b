//! Writes tasks: new ones whole, known ones as far as they change.

use sea_orm::sea_query::{
    Alias, CaseStatement, CommonTableExpression, Expr, ExprTrait, InsertStatement, Query, UpdateStatement,
};
use sea_orm::{EntityName, IdenStatic};

use super::{BATCH, Sql, in_batch, literal, name};
use crate::entity::task::{Column, Entity};
use crate::row::{CLAIM_BATCH, INSERT_BATCH, KEPT, UPDATE_BATCH};

/// What changes of a task in its life, beside its result.
const CHANGING: [Column; 15] = [
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

pub(super) fn insert(sql: Sql<'_>) -> InsertStatement {
    let columns = INSERT_BATCH.map(|column| Alias::new(column.name));
    let mut insert = Query::insert();
    insert.into_table(Entity).columns(columns);
    insert.select_from(sql.batch_rows(&INSERT_BATCH)).expect("as many columns as values");
    insert
}

pub(super) fn update(sql: Sql<'_>) -> UpdateStatement {
    let batch: CommonTableExpression = sql.batch(&UPDATE_BATCH);
    let mut update = Query::update();
    update.with_cte(batch).table(Entity).from(Alias::new(BATCH));
    for column in CHANGING {
        update.value(column, in_batch(column.as_str()));
    }
    for column in [Column::Failure, Column::ResultType, Column::Result] {
        let written = CaseStatement::new()
            .case(in_batch("written").eq(literal(KEPT)), Expr::col((name(Entity.table_name()), column)))
            .finally(in_batch(column.as_str()));
        update.value(column, written);
    }
    update.and_where(Expr::col((name(Entity.table_name()), Column::Id)).eq(in_batch("id")));
    update
}

pub(super) fn claim(sql: Sql<'_>) -> UpdateStatement {
    let mut update = Query::update();
    update.with_cte(sql.batch(&CLAIM_BATCH)).table(Entity).from(Alias::new(BATCH));
    for column in
        [Column::Status, Column::Epoch, Column::Tries, Column::ReadyAt, Column::WorkerId, Column::StartedAt]
    {
        update.value(column, in_batch(column.as_str()));
    }
    update.value(Column::WakeAt, Expr::cust("NULL"));
    update.and_where(Expr::col((name(Entity.table_name()), Column::Id)).eq(in_batch("id")));
    update
}
