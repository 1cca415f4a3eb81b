//! Writes tasks: new ones whole, known ones as far as they change.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Query, UpdateStatement};
use stent_core::model::TaskStatus;

use super::{Built, Sql, in_batch, literal, name, names, null};
use crate::batch::Column;
use crate::entity::task::{Column as Task, Entity};
use crate::row::{KEPT, columns};

pub(super) fn insert(sql: Sql<'_>) -> Built {
    let mut insert = Query::insert();
    insert.into_table(Entity).columns(names(&columns::INSERT));
    insert.select_from(sql.batch(&columns::INSERT)).expect("as many columns as values");
    Built::write(insert)
}

pub(super) fn update(sql: Sql<'_>) -> Built {
    let mut update = by_batch(sql, &columns::UPDATE, &columns::CHANGING);
    for column in columns::WRITTEN {
        let written = CaseStatement::new()
            .case(in_batch("written").eq(literal(KEPT)), Expr::col((Entity, name(column.name))))
            .finally(in_batch(column.name));
        update.value(name(column.name), written);
    }
    Built::write(update)
}

/// Sets what [`Row::claim`](stent_core::ledger::Row::claim) sets, and no more, so that no other index is touched.
pub(super) fn claim(sql: Sql<'_>) -> Built {
    let claim = by_batch(sql, &columns::CLAIM, &columns::CLAIMING)
        .value(Task::Status, literal(TaskStatus::Running.as_str()))
        .value(Task::WorkerId, sql.param_after(&columns::CLAIM, 1))
        .value(Task::ReadyAt, sql.param_after(&columns::CLAIM, 2))
        .value(Task::WakeAt, null())
        .take();
    Built::write(claim)
}

/// Sets columns to what the batch has for each of its ids.
fn by_batch(sql: Sql<'_>, batch: &[Column], set: &[Column]) -> UpdateStatement {
    let mut update = Query::update();
    update.table(Entity).from(sql.batch_table(batch));
    for column in set {
        update.value(name(column.name), in_batch(column.name));
    }
    update.and_where(Expr::col((Entity, Task::Id)).eq(in_batch("id")));
    update
}
