//! Writes and reads lanes.

use sea_orm::sea_query::{
    Alias, CommonTableExpression, Expr, ExprTrait, OnConflict, Query, SelectStatement, UnionType, WithClause,
};

use super::{Built, Sql, insert_from, name, names};
use crate::entity::lane::{Column, Entity};
use crate::entity::task;
use crate::row::columns::{LANE_NAME, ONE_LANE};

/// A lane that is there already is written over with its own key, so that what is stored comes back: another lane under
/// the same key must be an error and never a mix-up.
pub(super) fn insert(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(Entity, names(&LANE_NAME), sql.upserted(&LANE_NAME));
    insert.on_conflict(OnConflict::column(Column::Key).update_column(Column::Key).to_owned());
    insert.returning(Query::returning().columns(names(&LANE_NAME)));
    Built::read(&LANE_NAME, insert)
}

/// The lanes that are stored under keys.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let among = sql.in_batch_of(Column::Key, &ONE_LANE);
    Built::read(&LANE_NAME, Query::select().columns(names(&LANE_NAME)).from(Entity).and_where(among).take())
}

/// Lanes in which tasks are ready, now or later, and which are not stored: somebody has deleted them. The claim index is
/// searched by jumping from one lane to the next, so this costs a look for each lane, however many tasks there are.
pub(super) fn lost(_: Sql<'_>) -> Built {
    const FOUND: &str = "found";
    let of_task = |column| Expr::col((name("task"), column));
    let found = || Expr::col((name(FOUND), task::Column::Lane));
    let ready = || {
        Query::select()
            .from_as(task::Entity, name("task"))
            .and_where(of_task(task::Column::Lane).is_not_null())
            .and_where(of_task(task::Column::ReadyAt).is_not_null())
            .take()
    };
    let scalar = |query: SelectStatement| Expr::SubQuery(None, Box::new(query.into()));
    let lowest = || ready().expr(of_task(task::Column::Lane).min()).take();
    let next = Query::select()
        .expr(scalar(lowest().and_where(of_task(task::Column::Lane).gt(found())).take()))
        .from(Alias::new(FOUND))
        .and_where(found().is_not_null())
        .take();
    let mut lanes = CommonTableExpression::new();
    lanes.table_name(FOUND).column(task::Column::Lane).query(lowest().union(UnionType::All, next).take());
    let stored = Query::select()
        .expr(Expr::cust("1"))
        .from(Entity)
        .and_where(Expr::col((Entity, Column::Key)).eq(found()))
        .take();
    // Any task of the lane tells what it is called.
    let of_one = |column| {
        scalar(
            ready().expr(of_task(column)).and_where(of_task(task::Column::Lane).eq(found())).limit(1).take(),
        )
    };
    let lost = Query::select()
        .expr_as(found(), name("key"))
        .expr_as(of_one(task::Column::Queue), name("queue"))
        .expr_as(of_one(task::Column::Name), name("function"))
        .expr_as(of_one(task::Column::Tags), name("tags"))
        .from(Alias::new(FOUND))
        .and_where(found().is_not_null())
        .and_where(Expr::exists(stored).not())
        .take();
    let mut with = WithClause::new();
    with.recursive(true).cte(lanes);
    Built::read(&LANE_NAME, lost.with(with))
}
