//! Locks what a transaction has read or is about to change, where many write at once.
//!
//! Two that want the same rows take them in the same order, that of their ids, and so never wait for each other in a circle.
//! The ids are found first and the rows looked up by them: a row that another transaction has changed meanwhile is looked
//! at anew once it is locked, and would be lost if the search were part of that look.

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Func, Query, WithClause};

use super::tree::{directly_below, ids_below, with_all_below};
use super::{Built, Sql, in_batch};
use crate::Writers;
use crate::entity::task::{Column, Entity};
use crate::row::columns::{LOCK, ONE_ID};

/// In the order of the batch.
pub(super) fn hold(sql: Sql<'_>) -> Built {
    let hold = match sql.dialect.writers() {
        Writers::One => "",
        Writers::Many { hold } => hold,
    };
    let hold = Func::cust(Alias::new(hold)).arg(in_batch(LOCK[0].name));
    Built::write(Query::select().expr(hold).from(sql.batch_table(&LOCK)).take())
}

pub(super) fn below(sql: Sql<'_>) -> Built {
    let mut with = WithClause::new();
    with.recursive(true).cte(sql.batch_once(&ONE_ID)).cte(with_all_below(directly_below(sql)));
    let open = Query::select()
        .column(Column::Id)
        .from(Entity)
        .and_where(sql.dialect.any_of(Expr::col(Column::Id), ids_below()))
        .and_where(Expr::col(Column::EndedAt).is_null())
        .take();
    Built::read(&ONE_ID, sql.locked(open, Column::Id).with(with))
}

/// Roots that are asked to end.
pub(super) fn stopping(sql: Sql<'_>) -> Built {
    let roots = Query::select()
        .column((Entity, Column::Id))
        .from(Entity)
        .and_where(sql.in_batch_of(Column::Id, &ONE_ID))
        .and_where(Expr::col(Column::EndedAt).is_null())
        .take();
    Built::read(&ONE_ID, sql.locked(roots, Column::Id))
}

pub(super) fn within(sql: Sql<'_>) -> Built {
    let open = Query::select()
        .column((Entity, Column::Id))
        .from(Entity)
        .and_where(sql.in_batch_of(Column::ExecutionId, &ONE_ID))
        .and_where(Expr::col(Column::ParentId).is_not_null())
        .and_where(Expr::col(Column::EndedAt).is_null())
        .take();
    Built::read(&ONE_ID, sql.locked(open, Column::Id))
}
