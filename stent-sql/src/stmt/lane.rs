//! Writes and reads lanes.

use sea_orm::sea_query::{
    Alias, CommonTableExpression, Expr, ExprTrait, OnConflict, Query, SelectStatement, UnionType, WithClause,
};

use super::{Built, Sql, insert_from, name, names};
use crate::row::{LaneRow, NewLane, OneLane, Shape};
use crate::table::{lane, task};

/// Inserts lanes and returns the stored ones. A lane that exists is updated to its own key, so that it is returned, too: the
/// caller must notice a different lane under the same key.
pub(super) fn insert(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(lane::TABLE, names(NewLane::COLUMNS), sql.upserted(NewLane::COLUMNS));
    insert.on_conflict(OnConflict::column(lane::KEY).update_column(lane::KEY).to_owned());
    insert.returning(Query::returning().columns(names(LaneRow::COLUMNS)));
    Built::read(LaneRow::COLUMNS, insert)
}

/// The lanes that are stored under keys.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let among = sql.in_batch_of(lane::KEY, OneLane::COLUMNS);
    Built::read(
        LaneRow::COLUMNS,
        Query::select().columns(names(LaneRow::COLUMNS)).from(lane::TABLE).and_where(among).take(),
    )
}

/// Lanes that have ready tasks and are not stored, because somebody deleted them. The claim index is searched by jumping from
/// one lane to the next, so the cost depends on the number of lanes and not of tasks.
pub(super) fn lost(_: Sql<'_>) -> Built {
    const FOUND: &str = "found";
    let of_task = |column| Expr::col((name("task"), column));
    let found = || Expr::col((name(FOUND), task::LANE));
    let ready = || {
        Query::select()
            .from_as(task::TABLE, name("task"))
            .and_where(of_task(task::LANE).is_not_null())
            .and_where(of_task(task::READY_AT).is_not_null())
            .take()
    };
    let scalar = |query: SelectStatement| Expr::SubQuery(None, Box::new(query.into()));
    let lowest = || ready().expr(of_task(task::LANE).min()).take();
    let next = Query::select()
        .expr(scalar(lowest().and_where(of_task(task::LANE).gt(found())).take()))
        .from(Alias::new(FOUND))
        .and_where(found().is_not_null())
        .take();
    let mut lanes = CommonTableExpression::new();
    lanes.table_name(FOUND).column(task::LANE).query(lowest().union(UnionType::All, next).take());
    let stored = Query::select()
        .expr(Expr::cust("1"))
        .from(lane::TABLE)
        .and_where(Expr::col((lane::TABLE, lane::KEY)).eq(found()))
        .take();
    // Any task of the lane has the lane's queue, function and tags.
    let of_one = |column| {
        scalar(ready().expr(of_task(column)).and_where(of_task(task::LANE).eq(found())).limit(1).take())
    };
    let lost = Query::select()
        .expr_as(found(), name("key"))
        .expr_as(of_one(task::QUEUE), name("queue"))
        .expr_as(of_one(task::NAME), name("function"))
        .expr_as(of_one(task::TAGS), name("tags"))
        .from(Alias::new(FOUND))
        .and_where(found().is_not_null())
        .and_where(Expr::exists(stored).not())
        .take();
    let mut with = WithClause::new();
    with.recursive(true).cte(lanes);
    Built::read(LaneRow::COLUMNS, lost.with(with))
}
