//! Deletes what is old: executions, dead letters, what executions consist of, results under keys.

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query, SelectStatement, UnionType};

use super::{Built, DEAD, SETTLED, Sql, limit, literal};
use crate::entity::task::{Column, Entity};
use crate::entity::{memo, note, progress, tried};
use crate::row::SUMMARY;
use crate::row::columns::{ONE_ID, ONE_KEY};

/// Roots that ended before a moment, dead letters excepted, oldest first. Those that are compacted stand apart.
pub(super) fn ended(sql: Sql<'_>) -> Built {
    let both = oldest(sql, settled(0)).union(UnionType::All, oldest(sql, settled(1))).take();
    let first = Query::select()
        .column(Column::Id)
        .from_subquery(both, Alias::new("oldest"))
        .order_by(Column::EndedAt, Order::Asc)
        .order_by(Column::Id, Order::Asc)
        .limit(limit(2))
        .take();
    Built::read(&ONE_ID, first)
}

/// The same, those alone that are not compacted.
pub(super) fn whole(sql: Sql<'_>) -> Built {
    Built::read(
        &ONE_ID,
        Query::select().column(Column::Id).from_subquery(heads(sql, settled(0)), Alias::new("oldest")).take(),
    )
}

/// Dead letters that ended before a moment, oldest first.
pub(super) fn dead(sql: Sql<'_>) -> Built {
    let dead = Query::select().from(Entity).and_where(Expr::cust(DEAD)).take();
    Built::read(
        &ONE_ID,
        Query::select().column(Column::Id).from_subquery(heads(sql, dead), Alias::new("oldest")).take(),
    )
}

fn settled(compacted: i64) -> SelectStatement {
    Query::select()
        .from(Entity)
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::EndedAt).is_not_null())
        .and_where(Expr::cust(SETTLED))
        .and_where(Expr::col(Column::Compacted).eq(literal(compacted)))
        .take()
}

fn oldest(sql: Sql<'_>, roots: SelectStatement) -> SelectStatement {
    Query::select()
        .columns([Column::Id, Column::EndedAt])
        .from_subquery(heads(sql, roots), Alias::new("oldest"))
        .take()
}

fn heads(sql: Sql<'_>, mut roots: SelectStatement) -> SelectStatement {
    roots
        .columns([Column::Id, Column::EndedAt])
        .and_where(Expr::col(Column::EndedAt).lt(sql.param(1)))
        .order_by(Column::EndedAt, Order::Asc)
        .order_by(Column::Id, Order::Asc)
        .limit(limit(2))
        .lock_exclusive()
        .take()
}

/// Everything below the roots.
pub(super) fn steps(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete
        .from_table(Entity)
        .and_where(Expr::col(Column::ExecutionId).in_subquery(sql.batch(&ONE_ID)))
        .and_where(Expr::col(Column::ParentId).is_not_null());
    Built::write(delete)
}

/// The roots themselves.
pub(super) fn roots(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete.from_table(Entity).and_where(Expr::col(Column::Id).in_subquery(sql.batch(&ONE_ID)));
    Built::write(delete)
}

/// Their signals and the keys that they were dispatched under. Results stay: others may want them.
pub(super) fn memos(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete
        .from_table(memo::Entity)
        .and_where(Expr::col(memo::Column::ExecutionId).in_subquery(sql.batch(&ONE_ID)))
        .and_where(Expr::col(memo::Column::Kind).ne(literal("result")));
    Built::write(delete)
}

/// Their notes.
pub(super) fn notes(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete
        .from_table(note::Entity)
        .and_where(Expr::col(note::Column::ExecutionId).in_subquery(sql.batch(&ONE_ID)));
    Built::write(delete)
}

/// Their progress.
pub(super) fn entries(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete
        .from_table(progress::Entity)
        .and_where(Expr::col(progress::Column::ExecutionId).in_subquery(sql.batch(&ONE_ID)));
    Built::write(delete)
}

/// The tries of their tasks.
pub(super) fn tries(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete
        .from_table(tried::Entity)
        .and_where(Expr::col(tried::Column::ExecutionId).in_subquery(sql.batch(&ONE_ID)));
    Built::write(delete)
}

/// Writes how many steps of each kind, name and status executions have.
pub(super) fn summary(sql: Sql<'_>) -> Built {
    let alike = [Column::ExecutionId, Column::Kind, Column::Name, Column::Status];
    let lines = Query::select()
        .column(Column::ExecutionId)
        .expr(literal(SUMMARY))
        .expr(Expr::cust("\"kind\" || '/' || \"name\" || '/' || \"status\""))
        .expr(Expr::cust("COUNT(*)"))
        .from(Entity)
        .and_where(Expr::col(Column::ExecutionId).in_subquery(sql.batch(&ONE_ID)))
        .and_where(Expr::col(Column::ParentId).is_not_null())
        .group_by_columns(alike)
        .take();
    let mut insert = Query::insert();
    insert.into_table(note::Entity).columns([
        note::Column::ExecutionId,
        note::Column::Kind,
        note::Column::Name,
        note::Column::Count,
    ]);
    insert.select_from(lines).expect("as many columns as values");
    Built::write(insert)
}

/// Notes that roots are compacted.
pub(super) fn compacted(sql: Sql<'_>) -> Built {
    let update = Query::update()
        .table(Entity)
        .value(Column::Compacted, literal(1_i64))
        .and_where(Expr::col(Column::Id).in_subquery(sql.batch(&ONE_ID)))
        .take();
    Built::write(update)
}

/// Keys of results whose time is over, and of those that came before a moment.
pub(super) fn results(sql: Sql<'_>) -> Built {
    let results = |moment: memo::Column, before: Expr| {
        let first = Query::select()
            .column(memo::Column::Key)
            .from(memo::Entity)
            .and_where(Expr::col(memo::Column::Kind).eq(literal("result")))
            .and_where(Expr::col(moment).is_not_null())
            .and_where(Expr::col(moment).lt(before))
            .order_by(moment, Order::Asc)
            .limit(limit(2))
            .lock_exclusive()
            .take();
        Query::select().column(memo::Column::Key).from_subquery(first, Alias::new("old")).take()
    };
    let over = results(memo::Column::ExpiresAt, sql.dialect.clock());
    let old = results(memo::Column::EndedAt, sql.param(1));
    let all = old.clone().union(UnionType::Distinct, over).limit(limit(2)).take();
    Built::read(&ONE_KEY, all)
}
