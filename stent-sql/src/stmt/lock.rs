//! Locks for databases with many concurrent writers.
//!
//! All transactions lock rows in the order of ids, so they do not deadlock. A statement finds ids first and then looks up the
//! rows by id: after it has waited for a lock, the database evaluates the conditions on the locked row again, and a row that
//! was found by a search would be dropped if it had changed.

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Func, Query, WithClause};

use super::tree::{directly_below, ids_below, with_all_below};
use super::{Built, Sql, in_batch};
use crate::Writers;
use crate::row::{Lock, OneId, Shape};
use crate::table::task;

/// Takes locks by number, in the order of the batch.
pub(super) fn hold(sql: Sql<'_>) -> Built {
    let hold = match sql.dialect.writers() {
        Writers::One => "",
        Writers::Many { hold } => hold,
    };
    let hold = Func::cust(Alias::new(hold)).arg(in_batch(Lock::COLUMNS[0].name));
    Built::write(Query::select().expr(hold).from(sql.batch_table(Lock::COLUMNS)).take())
}

pub(super) fn below(sql: Sql<'_>) -> Built {
    let mut with = WithClause::new();
    with.recursive(true).cte(sql.batch_once(OneId::COLUMNS)).cte(with_all_below(directly_below(sql)));
    let open = Query::select()
        .column(task::ID)
        .from(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col(task::ID), ids_below()))
        .and_where(Expr::col(task::ENDED_AT).is_null())
        .take();
    Built::read(OneId::COLUMNS, sql.locked(open, task::ID).with(with))
}

/// Roots that are asked to end.
pub(super) fn stopping(sql: Sql<'_>) -> Built {
    let roots = Query::select()
        .column((task::TABLE, task::ID))
        .from(task::TABLE)
        .and_where(sql.in_batch_of(task::ID, OneId::COLUMNS))
        .and_where(Expr::col(task::ENDED_AT).is_null())
        .take();
    Built::read(OneId::COLUMNS, sql.locked(roots, task::ID))
}

pub(super) fn within(sql: Sql<'_>) -> Built {
    let open = Query::select()
        .column((task::TABLE, task::ID))
        .from(task::TABLE)
        .and_where(sql.in_batch_of(task::EXECUTION_ID, OneId::COLUMNS))
        .and_where(Expr::col(task::PARENT_ID).is_not_null())
        .and_where(Expr::col(task::ENDED_AT).is_null())
        .take();
    Built::read(OneId::COLUMNS, sql.locked(open, task::ID))
}
