//! Writes and reads notes and ended claims.

use sea_orm::sea_query::{CaseStatement, Condition, Expr, ExprTrait, JoinType, OnConflict, Order, Query};
use stent_core::limits::{NOTES_MAX, PAGE_MAX, PROGRESS_MAX};

use super::{Built, Sql, in_batch, insert_from, literal, name, names};
use crate::row::{
    COUNTER, EndedClaimRow, NewEndedClaim, NewNote, NewProgress, NoteCells, OneId, ProgressRow, Recount,
    Shape,
};
use crate::table::{ended_claim, note, progress};

/// Writes first values, unless there is a value already.
pub(super) fn first(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(note::TABLE, names(NewNote::COLUMNS), sql.upserted(NewNote::COLUMNS));
    insert.on_conflict(OnConflict::columns(key()).do_nothing().to_owned());
    Built::write(insert)
}

/// Adds to counters. They saturate at 64 bits.
pub(super) fn count(sql: Sql<'_>) -> Built {
    let was = || Expr::col((note::TABLE, note::COUNT));
    let add = || Expr::col((name("excluded"), note::COUNT));
    let most = || literal(i64::MAX);
    // `i64::MIN`, which cannot be written as the negative of a literal.
    let least = || literal(-i64::MAX).sub(literal(1_i64));
    let sum = CaseStatement::new()
        .case(add().gt(literal(0_i64)).and(was().gt(most().sub(add()))), most())
        .case(add().lt(literal(0_i64)).and(was().lt(least().sub(add()))), least())
        .finally(was().add(add()));
    let mut insert = insert_from(note::TABLE, names(NewNote::COLUMNS), sql.upserted(NewNote::COLUMNS));
    insert.on_conflict(OnConflict::columns(key()).value(note::COUNT, sum).to_owned());
    Built::write(insert)
}

/// Adds positive and negative numbers to counters, as if one by one: each addition saturates at 64 bits.
pub(super) fn recount(sql: Sql<'_>) -> Built {
    let of_note = |column| Expr::col((note::TABLE, column));
    let was = || of_note(note::COUNT);
    let sum = CaseStatement::new()
        .case(was().gt(in_batch("top")), in_batch("most"))
        .case(was().lt(in_batch("bottom")), in_batch("least"))
        .finally(was().add(in_batch("half")).add(in_batch("rest")));
    let update = Query::update()
        .table(note::TABLE)
        .value(note::COUNT, sum)
        .from(sql.batch_table(Recount::COLUMNS))
        .and_where(of_note(note::EXECUTION_ID).eq(in_batch("execution_id")))
        .and_where(of_note(note::KIND).eq(literal(COUNTER)))
        .and_where(of_note(note::NAME).eq(in_batch("name")))
        .take();
    Built::write(update)
}

/// Sets states.
pub(super) fn set(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(note::TABLE, names(NewNote::COLUMNS), sql.upserted(NewNote::COLUMNS));
    let value = [note::VALUE_TYPE, note::VALUE];
    insert.on_conflict(OnConflict::columns(key()).update_columns(value).to_owned());
    Built::write(insert)
}

fn key() -> [&'static str; 3] {
    [note::EXECUTION_ID, note::KIND, note::NAME]
}

pub(super) fn progress(sql: Sql<'_>) -> Built {
    let mut insert =
        insert_from(progress::TABLE, names(NewProgress::COLUMNS), sql.upserted(NewProgress::COLUMNS));
    insert.on_conflict(OnConflict::column(progress::ID).do_nothing().to_owned());
    Built::write(insert)
}

/// Deletes all but the newest entries of the batch's executions.
pub(super) fn trim_progress(sql: Sql<'_>) -> Built {
    let of = |alias: &'static str, column| Expr::col((name(alias), column));
    let newest_old = Query::select()
        .column((name("newer"), progress::ID))
        .from_as(progress::TABLE, name("newer"))
        .and_where(of("newer", progress::EXECUTION_ID).eq(in_batch("id")))
        .order_by((name("newer"), progress::ID), Order::Desc)
        .limit(1)
        .offset(PROGRESS_MAX as u64)
        .take();
    let old = Query::select()
        .column((name("old"), progress::ID))
        .from(sql.batch_table(OneId::COLUMNS))
        .join_as(JoinType::CrossJoin, progress::TABLE, name("old"), Condition::all())
        .and_where(of("old", progress::EXECUTION_ID).eq(in_batch("id")))
        .and_where(of("old", progress::ID).lte(Expr::SubQuery(None, Box::new(newest_old.into()))))
        .take();
    let mut delete = Query::delete();
    delete.from_table(progress::TABLE).and_where(sql.dialect.any_of(Expr::col(progress::ID), old));
    Built::write(delete)
}

pub(super) fn ended_claims(sql: Sql<'_>) -> Built {
    let mut insert =
        insert_from(ended_claim::TABLE, names(NewEndedClaim::COLUMNS), sql.upserted(NewEndedClaim::COLUMNS));
    let key = [ended_claim::TASK_ID, ended_claim::EPOCH, ended_claim::AT];
    insert.on_conflict(OnConflict::columns(key).do_nothing().to_owned());
    Built::write(insert)
}

/// The notes of an execution, as many as one read returns.
pub(super) fn notes(sql: Sql<'_>) -> Built {
    let notes = Query::select()
        .columns(names(NoteCells::COLUMNS))
        .from(note::TABLE)
        .and_where(Expr::col(note::EXECUTION_ID).eq(sql.param(1)))
        .limit(NOTES_MAX as u64)
        .take();
    Built::read(NoteCells::COLUMNS, notes)
}

/// The progress of an execution, oldest first.
pub(super) fn read_progress(sql: Sql<'_>) -> Built {
    let entries = Query::select()
        .columns(names(ProgressRow::COLUMNS))
        .from(progress::TABLE)
        .and_where(Expr::col(progress::EXECUTION_ID).eq(sql.param(1)))
        .order_by(progress::ID, Order::Asc)
        .limit(PROGRESS_MAX as u64)
        .take();
    sql.packed(ProgressRow::COLUMNS, entries)
}

/// The ended claims of a task, oldest first.
pub(super) fn read_ended_claims(sql: Sql<'_>) -> Built {
    let claims = Query::select()
        .columns(names(EndedClaimRow::COLUMNS))
        .from(ended_claim::TABLE)
        .and_where(Expr::col(ended_claim::TASK_ID).eq(sql.param(1)))
        .order_by(ended_claim::EPOCH, Order::Asc)
        .order_by(ended_claim::AT, Order::Asc)
        .limit(PAGE_MAX as u64)
        .take();
    Built::read(EndedClaimRow::COLUMNS, claims)
}
