//! Deletes what is old: executions, dead letters, what executions consist of, results under keys.

use sea_orm::sea_query::{Alias, CaseStatement, Expr, ExprTrait, Order, Query, SelectStatement, UnionType};

use super::{Built, DEAD, SETTLED, Sql, insert_from, limit, literal, number};
use crate::entity::task::{Column, Entity};
use crate::entity::{ended_claim, key, note, progress};
use crate::row::SUMMARY;
use crate::row::columns::{ONE_ID, ONE_KEY, WHOLE};

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

/// The same, those alone that are not compacted; and of each whether there is anything to compact.
pub(super) fn whole(sql: Sql<'_>) -> Built {
    let root = || Expr::col((Alias::new("oldest"), Column::Id));
    let any = |query: &mut SelectStatement| {
        let one = query.expr(Expr::cust("1")).take();
        if sql.locks() {
            // Of `EXISTS` Postgres may make a table of all that there are, to look in that.
            return Expr::SubQuery(None, Box::new(one.clone().limit(1).take().into())).is_not_null();
        }
        Expr::exists(one)
    };
    let step = any(Query::select()
        .from(Entity)
        .and_where(Expr::col((Entity, Column::ExecutionId)).eq(root()))
        .and_where(Expr::col((Entity, Column::ParentId)).is_not_null()));
    let entry = any(Query::select()
        .from(progress::Entity)
        .and_where(Expr::col((progress::Entity, progress::Column::ExecutionId)).eq(root())));
    let ended_claim = any(Query::select()
        .from(ended_claim::Entity)
        .and_where(Expr::col((ended_claim::Entity, ended_claim::Column::ExecutionId)).eq(root())));
    let details = CaseStatement::new().case(step.or(entry).or(ended_claim), number(1)).finally(number(0));
    let whole = Query::select()
        .column(Column::Id)
        .expr_as(details, Alias::new("details"))
        .from_subquery(heads(sql, settled(0)), Alias::new("oldest"))
        .order_by(Column::EndedAt, Order::Asc)
        .order_by(Column::Id, Order::Asc)
        .take();
    Built::read(&WHOLE, whole)
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

/// What is below the roots, up to so many rows.
pub(super) fn steps(sql: Sql<'_>) -> Built {
    let some = Query::select()
        .column(Column::Id)
        .from(Entity)
        .and_where(sql.in_batch_of(Column::ExecutionId, &ONE_ID))
        .and_where(Expr::col(Column::ParentId).is_not_null())
        .limit(sql.limit_after(&ONE_ID, 1))
        .take();
    let mut delete = Query::delete();
    delete.from_table(Entity).and_where(sql.dialect.any_of(Expr::col(Column::Id), some));
    Built::write(delete)
}

/// The roots themselves.
pub(super) fn roots(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete.from_table(Entity).and_where(sql.in_batch_of(Column::Id, &ONE_ID));
    Built::write(delete)
}

/// Their signals and the keys that they were dispatched under. Results stay: others may want them.
pub(super) fn keys(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete
        .from_table(key::Entity)
        .and_where(sql.in_batch_of(key::Column::ExecutionId, &ONE_ID))
        .and_where(Expr::col(key::Column::Kind).ne(literal("result")));
    Built::write(delete)
}

/// Their notes.
pub(super) fn notes(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete.from_table(note::Entity).and_where(sql.in_batch_of(note::Column::ExecutionId, &ONE_ID));
    Built::write(delete)
}

/// Their progress, up to so many rows.
pub(super) fn entries(sql: Sql<'_>) -> Built {
    let some = Query::select()
        .column(progress::Column::Id)
        .from(progress::Entity)
        .and_where(sql.in_batch_of(progress::Column::ExecutionId, &ONE_ID))
        .limit(sql.limit_after(&ONE_ID, 1))
        .take();
    let mut delete = Query::delete();
    delete.from_table(progress::Entity).and_where(sql.dialect.any_of(Expr::col(progress::Column::Id), some));
    Built::write(delete)
}

/// The ended claims of their tasks: so many rows, and what else there is of the same tasks.
pub(super) fn ended_claims(sql: Sql<'_>) -> Built {
    let some = Query::select()
        .column(ended_claim::Column::TaskId)
        .from(ended_claim::Entity)
        .and_where(sql.in_batch_of(ended_claim::Column::ExecutionId, &ONE_ID))
        .limit(sql.limit_after(&ONE_ID, 1))
        .take();
    let mut delete = Query::delete();
    delete
        .from_table(ended_claim::Entity)
        .and_where(sql.dialect.any_of(Expr::col(ended_claim::Column::TaskId), some));
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
        .and_where(sql.in_batch_of(Column::ExecutionId, &ONE_ID))
        .and_where(Expr::col(Column::ParentId).is_not_null())
        .group_by_columns(alike)
        .take();
    Built::write(insert_from(
        note::Entity,
        [note::Column::ExecutionId, note::Column::Kind, note::Column::Name, note::Column::Count],
        lines,
    ))
}

/// Notes that roots are compacted.
pub(super) fn compacted(sql: Sql<'_>) -> Built {
    let update = Query::update()
        .table(Entity)
        .value(Column::Compacted, literal(1_i64))
        .and_where(sql.in_batch_of(Column::Id, &ONE_ID))
        .take();
    Built::write(update)
}

/// Keys of results whose time is over, and of those that came before a moment.
pub(super) fn results(sql: Sql<'_>) -> Built {
    let results = |moment: key::Column, is_old: Expr| {
        let first = Query::select()
            .columns([key::Column::Key, key::Column::EndedAt])
            .from(key::Entity)
            .and_where(Expr::col(key::Column::Kind).eq(literal("result")))
            .and_where(Expr::col(moment).is_not_null())
            .and_where(is_old)
            .order_by(moment, Order::Asc)
            .limit(limit(2))
            .lock_exclusive()
            .take();
        Query::select()
            .columns([key::Column::Key, key::Column::EndedAt])
            .from_subquery(first, Alias::new("old"))
            .take()
    };
    let over = results(key::Column::ExpiresAt, Expr::col(key::Column::ExpiresAt).lte(sql.param(3)));
    let old = results(key::Column::EndedAt, Expr::col(key::Column::EndedAt).lt(sql.param(1)));
    let all = Query::select()
        .column(key::Column::Key)
        .from_subquery(old.clone().union(UnionType::Distinct, over).take(), Alias::new("old"))
        .order_by(key::Column::EndedAt, Order::Asc)
        .order_by(key::Column::Key, Order::Asc)
        .limit(limit(2))
        .take();
    Built::read(&ONE_KEY, all)
}
