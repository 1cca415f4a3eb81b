//! Writes what running code says, and the claims that ended badly; reads both.

use sea_orm::sea_query::{CaseStatement, Condition, Expr, ExprTrait, JoinType, OnConflict, Order, Query};
use stent_core::limits::{PAGE_MAX, PROGRESS_MAX};

use super::{Built, Sql, in_batch, insert_from, literal, name, names};
use crate::entity::{ended_claim, note, progress};
use crate::row::{COUNTER, columns};

/// First values, where there are none.
pub(super) fn first(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(note::Entity, names(&columns::NOTE), sql.upserted(&columns::NOTE));
    insert.on_conflict(OnConflict::columns(key()).do_nothing().to_owned());
    Built::write(insert)
}

/// Adds to counters. A counter stays at the end of what 64 bits can count.
pub(super) fn count(sql: Sql<'_>) -> Built {
    let was = || Expr::col((note::Entity, note::Column::Count));
    let add = || Expr::col((name("excluded"), note::Column::Count));
    let most = || literal(i64::MAX);
    // One below what can be written as the negative of a literal.
    let least = || literal(-i64::MAX).sub(literal(1_i64));
    let sum = CaseStatement::new()
        .case(add().gt(literal(0_i64)).and(was().gt(most().sub(add()))), most())
        .case(add().lt(literal(0_i64)).and(was().lt(least().sub(add()))), least())
        .finally(was().add(add()));
    let mut insert = insert_from(note::Entity, names(&columns::NOTE), sql.upserted(&columns::NOTE));
    insert.on_conflict(OnConflict::columns(key()).value(note::Column::Count, sum).to_owned());
    Built::write(insert)
}

/// Adds to counters to and fro, as if one by one: each addition stops at the ends of what 64 bits can count.
pub(super) fn recount(sql: Sql<'_>) -> Built {
    let of_note = |column| Expr::col((note::Entity, column));
    let was = || of_note(note::Column::Count);
    let sum = CaseStatement::new()
        .case(was().gt(in_batch("top")), in_batch("most"))
        .case(was().lt(in_batch("bottom")), in_batch("least"))
        .finally(was().add(in_batch("half")).add(in_batch("rest")));
    let update = Query::update()
        .table(note::Entity)
        .value(note::Column::Count, sum)
        .from(sql.batch_table(&columns::RECOUNT))
        .and_where(of_note(note::Column::ExecutionId).eq(in_batch("execution_id")))
        .and_where(of_note(note::Column::Kind).eq(literal(COUNTER)))
        .and_where(of_note(note::Column::Name).eq(in_batch("name")))
        .take();
    Built::write(update)
}

/// Sets states.
pub(super) fn set(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(note::Entity, names(&columns::NOTE), sql.upserted(&columns::NOTE));
    let value = [note::Column::ValueType, note::Column::Value];
    insert.on_conflict(OnConflict::columns(key()).update_columns(value).to_owned());
    Built::write(insert)
}

fn key() -> [note::Column; 3] {
    [note::Column::ExecutionId, note::Column::Kind, note::Column::Name]
}

pub(super) fn progress(sql: Sql<'_>) -> Built {
    let mut insert =
        insert_from(progress::Entity, names(&columns::PROGRESS), sql.upserted(&columns::PROGRESS));
    insert.on_conflict(OnConflict::column(progress::Column::Id).do_nothing().to_owned());
    Built::write(insert)
}

/// Deletes all but the newest entries of the batch's executions.
pub(super) fn trim_progress(sql: Sql<'_>) -> Built {
    let of = |alias: &'static str, column| Expr::col((name(alias), column));
    let newest_old = Query::select()
        .column((name("newer"), progress::Column::Id))
        .from_as(progress::Entity, name("newer"))
        .and_where(of("newer", progress::Column::ExecutionId).eq(in_batch("id")))
        .order_by((name("newer"), progress::Column::Id), Order::Desc)
        .limit(1)
        .offset(PROGRESS_MAX as u64)
        .take();
    let old = Query::select()
        .column((name("old"), progress::Column::Id))
        .from(sql.batch_table(&columns::ONE_ID))
        .join_as(JoinType::CrossJoin, progress::Entity, name("old"), Condition::all())
        .and_where(of("old", progress::Column::ExecutionId).eq(in_batch("id")))
        .and_where(of("old", progress::Column::Id).lte(Expr::SubQuery(None, Box::new(newest_old.into()))))
        .take();
    let mut delete = Query::delete();
    delete.from_table(progress::Entity).and_where(sql.dialect.any_of(Expr::col(progress::Column::Id), old));
    Built::write(delete)
}

pub(super) fn ended_claims(sql: Sql<'_>) -> Built {
    let mut insert =
        insert_from(ended_claim::Entity, names(&columns::ENDED_CLAIM), sql.upserted(&columns::ENDED_CLAIM));
    let key = [ended_claim::Column::TaskId, ended_claim::Column::Epoch, ended_claim::Column::At];
    insert.on_conflict(OnConflict::columns(key).do_nothing().to_owned());
    Built::write(insert)
}

/// All notes of an execution.
pub(super) fn notes(sql: Sql<'_>) -> Built {
    let notes = Query::select()
        .columns(names(&columns::NOTE))
        .from(note::Entity)
        .and_where(Expr::col(note::Column::ExecutionId).eq(sql.param(1)))
        .take();
    Built::read(&columns::NOTE, notes)
}

/// The progress of an execution, oldest first.
pub(super) fn read_progress(sql: Sql<'_>) -> Built {
    let entries = Query::select()
        .columns(names(&columns::PROGRESS))
        .from(progress::Entity)
        .and_where(Expr::col(progress::Column::ExecutionId).eq(sql.param(1)))
        .order_by(progress::Column::Id, Order::Asc)
        .limit(PROGRESS_MAX as u64)
        .take();
    sql.packed(&columns::PROGRESS, entries)
}

/// The ended claims of a task, oldest first.
pub(super) fn read_ended_claims(sql: Sql<'_>) -> Built {
    let claims = Query::select()
        .columns(names(&columns::ENDED_CLAIM))
        .from(ended_claim::Entity)
        .and_where(Expr::col(ended_claim::Column::TaskId).eq(sql.param(1)))
        .order_by(ended_claim::Column::Epoch, Order::Asc)
        .order_by(ended_claim::Column::At, Order::Asc)
        .limit(PAGE_MAX as u64)
        .take();
    Built::read(&columns::ENDED_CLAIM, claims)
}
