//! Deletes old executions, dead letters, details of executions, and results under keys.

use sea_orm::sea_query::{Alias, CaseStatement, Expr, ExprTrait, Order, Query, SelectStatement, UnionType};

use super::{Built, DEAD, SETTLED, Sql, insert_from, limit, literal, number};
use crate::row::{OneId, OneKey, SUMMARY, Shape, Whole};
use crate::table::{ended_claim, key, note, progress, task};

/// Roots that ended before a moment and are no dead letters, oldest first. The index separates compacted roots from
/// others.
pub(super) fn ended(sql: Sql<'_>) -> Built {
    let both = oldest(sql, settled(0)).union(UnionType::All, oldest(sql, settled(1))).take();
    let first = Query::select()
        .column(task::ID)
        .from_subquery(both, Alias::new("oldest"))
        .order_by(task::ENDED_AT, Order::Asc)
        .order_by(task::ID, Order::Asc)
        .limit(limit(2))
        .take();
    Built::read(OneId::COLUMNS, first)
}

/// The roots of these that are not compacted, and whether each has anything to compact.
pub(super) fn whole(sql: Sql<'_>) -> Built {
    let root = || Expr::col((Alias::new("oldest"), task::ID));
    let any = |query: &mut SelectStatement| sql.dialect.any_row(query.take());
    let step = any(Query::select()
        .from(task::TABLE)
        .and_where(Expr::col((task::TABLE, task::EXECUTION_ID)).eq(root()))
        .and_where(Expr::col((task::TABLE, task::PARENT_ID)).is_not_null()));
    let entry = any(Query::select()
        .from(progress::TABLE)
        .and_where(Expr::col((progress::TABLE, progress::EXECUTION_ID)).eq(root())));
    let ended_claim = any(Query::select()
        .from(ended_claim::TABLE)
        .and_where(Expr::col((ended_claim::TABLE, ended_claim::EXECUTION_ID)).eq(root())));
    let details = CaseStatement::new().case(step.or(entry).or(ended_claim), number(1)).finally(number(0));
    let whole = Query::select()
        .column(task::ID)
        .expr_as(details, Alias::new("details"))
        .from_subquery(heads(sql, settled(0)), Alias::new("oldest"))
        .order_by(task::ENDED_AT, Order::Asc)
        .order_by(task::ID, Order::Asc)
        .take();
    Built::read(Whole::COLUMNS, whole)
}

/// Dead letters that ended before a moment, oldest first.
pub(super) fn dead(sql: Sql<'_>) -> Built {
    let dead = Query::select().from(task::TABLE).and_where(Expr::cust(DEAD)).take();
    Built::read(
        OneId::COLUMNS,
        Query::select().column(task::ID).from_subquery(heads(sql, dead), Alias::new("oldest")).take(),
    )
}

fn settled(compacted: i64) -> SelectStatement {
    Query::select()
        .from(task::TABLE)
        .and_where(Expr::col(task::PARENT_ID).is_null())
        .and_where(Expr::col(task::ENDED_AT).is_not_null())
        .and_where(Expr::cust(SETTLED))
        .and_where(Expr::col(task::COMPACTED).eq(literal(compacted)))
        .take()
}

fn oldest(sql: Sql<'_>, roots: SelectStatement) -> SelectStatement {
    Query::select()
        .columns([task::ID, task::ENDED_AT])
        .from_subquery(heads(sql, roots), Alias::new("oldest"))
        .take()
}

fn heads(sql: Sql<'_>, mut roots: SelectStatement) -> SelectStatement {
    roots
        .columns([task::ID, task::ENDED_AT])
        .and_where(Expr::col(task::ENDED_AT).lt(sql.param(1)))
        .order_by(task::ENDED_AT, Order::Asc)
        .order_by(task::ID, Order::Asc)
        .limit(limit(2))
        .lock_exclusive()
        .take()
}

/// Tasks below the roots, up to a number of rows.
pub(super) fn steps(sql: Sql<'_>) -> Built {
    let some = Query::select()
        .column(task::ID)
        .from(task::TABLE)
        .and_where(sql.in_batch_of(task::EXECUTION_ID, OneId::COLUMNS))
        .and_where(Expr::col(task::PARENT_ID).is_not_null())
        .limit(sql.limit_after(OneId::COLUMNS, 1))
        .take();
    let mut delete = Query::delete();
    delete.from_table(task::TABLE).and_where(sql.dialect.any_of(Expr::col(task::ID), some));
    Built::write(delete)
}

/// The roots.
pub(super) fn roots(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete.from_table(task::TABLE).and_where(sql.in_batch_of(task::ID, OneId::COLUMNS));
    Built::write(delete)
}

/// Signals and dispatch keys of executions. Results stay, because they answer other calls.
pub(super) fn keys(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete
        .from_table(key::TABLE)
        .and_where(sql.in_batch_of(key::EXECUTION_ID, OneId::COLUMNS))
        .and_where(Expr::col(key::KIND).ne(literal("result")));
    Built::write(delete)
}

/// Notes of executions.
pub(super) fn notes(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete.from_table(note::TABLE).and_where(sql.in_batch_of(note::EXECUTION_ID, OneId::COLUMNS));
    Built::write(delete)
}

/// Progress of executions, up to a number of rows.
pub(super) fn entries(sql: Sql<'_>) -> Built {
    let some = Query::select()
        .column(progress::ID)
        .from(progress::TABLE)
        .and_where(sql.in_batch_of(progress::EXECUTION_ID, OneId::COLUMNS))
        .limit(sql.limit_after(OneId::COLUMNS, 1))
        .take();
    let mut delete = Query::delete();
    delete.from_table(progress::TABLE).and_where(sql.dialect.any_of(Expr::col(progress::ID), some));
    Built::write(delete)
}

/// Ended claims of executions: a number of rows, and the others of the same tasks.
pub(super) fn ended_claims(sql: Sql<'_>) -> Built {
    let some = Query::select()
        .column(ended_claim::TASK_ID)
        .from(ended_claim::TABLE)
        .and_where(sql.in_batch_of(ended_claim::EXECUTION_ID, OneId::COLUMNS))
        .limit(sql.limit_after(OneId::COLUMNS, 1))
        .take();
    let mut delete = Query::delete();
    delete
        .from_table(ended_claim::TABLE)
        .and_where(sql.dialect.any_of(Expr::col(ended_claim::TASK_ID), some));
    Built::write(delete)
}

/// Writes how many steps of each kind, name and status executions have.
pub(super) fn summary(sql: Sql<'_>) -> Built {
    let alike = [task::EXECUTION_ID, task::KIND, task::NAME, task::STATUS];
    let lines = Query::select()
        .column(task::EXECUTION_ID)
        .expr(literal(SUMMARY))
        .expr(Expr::cust("\"kind\" || '/' || \"name\" || '/' || \"status\""))
        .expr(Expr::cust("COUNT(*)"))
        .from(task::TABLE)
        .and_where(sql.in_batch_of(task::EXECUTION_ID, OneId::COLUMNS))
        .and_where(Expr::col(task::PARENT_ID).is_not_null())
        .group_by_columns(alike)
        .take();
    Built::write(insert_from(note::TABLE, [note::EXECUTION_ID, note::KIND, note::NAME, note::COUNT], lines))
}

/// Marks roots as compacted.
pub(super) fn compacted(sql: Sql<'_>) -> Built {
    let update = Query::update()
        .table(task::TABLE)
        .value(task::COMPACTED, literal(1_i64))
        .and_where(sql.in_batch_of(task::ID, OneId::COLUMNS))
        .take();
    Built::write(update)
}

/// Keys of results that have expired or that came before a moment.
pub(super) fn results(sql: Sql<'_>) -> Built {
    let results = |moment: &'static str, is_old: Expr| {
        let first = Query::select()
            .columns([key::KEY, key::ENDED_AT])
            .from(key::TABLE)
            .and_where(Expr::col(key::KIND).eq(literal("result")))
            .and_where(Expr::col(moment).is_not_null())
            .and_where(is_old)
            .order_by(moment, Order::Asc)
            .limit(limit(2))
            .lock_exclusive()
            .take();
        Query::select().columns([key::KEY, key::ENDED_AT]).from_subquery(first, Alias::new("old")).take()
    };
    let over = results(key::EXPIRES_AT, Expr::col(key::EXPIRES_AT).lte(sql.param(3)));
    let old = results(key::ENDED_AT, Expr::col(key::ENDED_AT).lt(sql.param(1)));
    let all = Query::select()
        .column(key::KEY)
        .from_subquery(old.clone().union(UnionType::Distinct, over).take(), Alias::new("old"))
        .order_by(key::ENDED_AT, Order::Asc)
        .order_by(key::KEY, Order::Asc)
        .limit(limit(2))
        .take();
    Built::read(OneKey::COLUMNS, all)
}
