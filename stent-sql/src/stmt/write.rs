//! Writes tasks: new ones whole, known ones as far as they change.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Func, Query, UpdateStatement};
use stent_core::model::TaskStatus;

use super::{Built, Sql, in_batch, insert_from, literal, name, names, null};
use crate::batch::Column;
use crate::entity::lane;
use crate::entity::task::{Column as Task, Entity};
use crate::row::{KEPT, columns};

/// Of most new tasks: what they do not have is null or zero.
pub(super) fn insert(sql: Sql<'_>) -> Built {
    whole(sql, &columns::INSERT)
}

/// Of those that have a key, tags, a deadline and the like.
pub(super) fn insert_more(sql: Sql<'_>) -> Built {
    whole(sql, &columns::INSERT_MORE)
}

/// All of them, if their lanes are stored, and else none: without its lane no claim finds a task. What the store remembers of
/// lanes may have gone since.
fn whole(sql: Sql<'_>, all: &[Column]) -> Built {
    let first = sql.dialect.batch_params(all) + 2;
    let keys = sql.dialect.batch_source(&columns::ONE_LANE, first);
    let stored = Query::select()
        .expr(Expr::cust("COUNT(*)"))
        .from(lane::Entity)
        .and_where(sql.dialect.any_of(Expr::col((lane::Entity, lane::Column::Key)), keys))
        .take();
    let stored = Expr::SubQuery(None, Box::new(stored.into()));
    let mut rows = sql.batch(all);
    rows.and_where(stored.eq(sql.param_after(all, 1)));
    Built::write(insert_from(Entity, names(all), rows))
}

/// Of most tasks that change: what they do not have stays null or zero.
pub(super) fn update(sql: Sql<'_>) -> Built {
    let mut update = by_batch(sql, &columns::UPDATE, &columns::CHANGING);
    written(&mut update, &columns::WRITTEN);
    Built::write(update)
}

/// Of those that have, or had, a mark, a deadline, a failure and the like.
pub(super) fn update_more(sql: Sql<'_>) -> Built {
    let mut update = by_batch(sql, &columns::UPDATE_MORE, &columns::CHANGING);
    for column in columns::CHANGING_MORE {
        update.value(name(column.name), in_batch(column.name));
    }
    written(&mut update, &columns::WRITTEN);
    written(&mut update, &[columns::REASON]);
    let kept = Expr::col((Entity, Task::Retry));
    let retry = Func::coalesce([in_batch(columns::RETRY.name), kept]);
    update.value(Task::Retry, Expr::from(retry));
    Built::write(update)
}

/// Sets columns of those rows whose result is written.
fn written(update: &mut UpdateStatement, set: &[Column]) {
    for column in set {
        let written = CaseStatement::new()
            .case(in_batch("written").eq(literal(KEPT)), Expr::col((Entity, name(column.name))))
            .finally(in_batch(column.name));
        update.value(name(column.name), written);
    }
}

/// Gives tasks the results of others.
pub(super) fn copy(sql: Sql<'_>) -> Built {
    const SOURCE: &str = "source_task";
    let mut update = Query::update();
    update.table(Entity).from(sql.batch_table(&columns::COPY));
    for column in columns::WRITTEN.iter().chain([&columns::REASON]) {
        let value = Query::select()
            .column((name(SOURCE), name(column.name)))
            .from_as(Entity, name(SOURCE))
            .and_where(Expr::col((name(SOURCE), Task::Id)).eq(in_batch("source")))
            .take();
        update.value(name(column.name), Expr::SubQuery(None, Box::new(value.into())));
    }
    update.and_where(Expr::col((Entity, Task::Id)).eq(in_batch("id")));
    Built::write(update)
}

/// Sets what [`Row::claim`](stent_core::ledger::Row::claim) sets, and no more, so that no other index is touched.
pub(super) fn claim(sql: Sql<'_>) -> Built {
    let claim = by_batch(sql, &columns::CLAIM, &columns::CLAIMING)
        .value(Task::Status, literal(TaskStatus::Running.as_str()))
        .value(Task::WorkerId, sql.param_after(&columns::CLAIM, 1))
        .value(Task::ReadyAt, sql.param_after(&columns::CLAIM, 2))
        .value(Task::WakeThreshold, null())
        .take();
    Built::write(claim)
}

/// The same for tasks whose function's running ones are counted, and those that are taken over.
pub(super) fn claim_more(sql: Sql<'_>) -> Built {
    let claim = by_batch(sql, &columns::CLAIM_MORE, &columns::CLAIMING_MORE)
        .value(Task::Status, literal(TaskStatus::Running.as_str()))
        .value(Task::WorkerId, sql.param_after(&columns::CLAIM_MORE, 1))
        .value(Task::ReadyAt, sql.param_after(&columns::CLAIM_MORE, 2))
        .value(Task::WakeThreshold, null())
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
