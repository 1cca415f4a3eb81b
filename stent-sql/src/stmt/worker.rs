//! Writes, reads and deletes records of workers.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Order, Query};
use stent_core::model::WorkerState;

use super::{Built, Sql, insert_from, limit, literal, name, names};
use crate::row::{NewWorker, Shape, WorkerRow};
use crate::table::worker;

/// Inserts or replaces a record.
pub(super) fn report(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(worker::TABLE, names(NewWorker::COLUMNS), sql.upserted(NewWorker::COLUMNS));
    let others = names(NewWorker::COLUMNS).filter(|column| *column != name(worker::ID));
    insert.on_conflict(OnConflict::column(worker::ID).update_columns(others).to_owned());
    Built::write(insert)
}

/// A page of records, by id. Parameters: from which id, how many.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let page = Query::select()
        .columns(names(WorkerRow::COLUMNS))
        .from(worker::TABLE)
        .and_where(Expr::col(worker::ID).gte(sql.param(1)))
        .order_by(worker::ID, Order::Asc)
        .limit(limit(2))
        .take();
    Built::read(WorkerRow::COLUMNS, page)
}

/// Deletes records of workers that are over, those seen longest ago first. Parameters: last seen before, how many, and dead if last
/// seen before.
pub(super) fn purge(sql: Sql<'_>) -> Built {
    let states = || WorkerState::ALL.iter().filter(|state| state.is_over());
    let is_old = || Expr::col(worker::SEEN_AT).lt(sql.param(1));
    let is_over = || {
        let has_ended = Expr::col(worker::STATE).is_in(states().map(|state| literal(state.as_str())));
        has_ended.or(Expr::col(worker::SEEN_AT).lt(sql.param(3)))
    };
    let first = Query::select()
        .column(worker::ID)
        .from(worker::TABLE)
        .and_where(is_old())
        .and_where(is_over())
        .order_by(worker::SEEN_AT, Order::Asc)
        .order_by(worker::ID, Order::Asc)
        .limit(limit(2))
        .take();
    let mut delete = Query::delete();
    delete
        .from_table(worker::TABLE)
        .and_where(sql.dialect.any_of(Expr::col(worker::ID), first))
        // Again, because a worker that was taken for dead may have written meanwhile.
        .and_where(is_old())
        .and_where(is_over());
    Built::write(delete)
}
