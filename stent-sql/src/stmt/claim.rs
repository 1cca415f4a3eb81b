//! Finds work. A lane's tasks of one priority are a stream; due ones stand at its head, in order.
//!
//! No statement reads rows that are not due or not admitted, however many there are (G9): lanes and their streams are found by
//! jumping from one to the next in the claim index, and only the head of each is read.

use sea_orm::sea_query::{
    Alias, CaseStatement, CommonTableExpression, Expr, ExprTrait, Func, JoinType, LockBehavior, LockType,
    Order, Query, SelectStatement, UnionType, WithClause,
};

use stent_core::model::TaskStatus;

use super::mark::{is_asked_to_end, is_not_asked_to_end};
use super::{BATCH, Built, Sql, carried, in_batch, limit, literal, name, names, no_number, null, number, of};
use crate::row::{END_HINTS, Head, LaneRow, OneId, Picked, RankedRow, STREAM, Shape, StreamRow};
use crate::table::{lane, task};

const STREAMS: &str = "stream";

/// Every lane with tasks in the claim index, by priority, with the due times of its first task and of its first task that is not
/// due yet; the present moment stands for the latter if the stream alone fills a claim without limits. Lanes whose tasks have all
/// ended cost nothing, however many are stored. One more row shows whether [`ends`](super::limit::ends) is worth a query, so an
/// idle claim costs one query.
///
/// The first task in the claim index shows the first stream, and the first one after a stream shows the next. So the entries that
/// stand before the head of a stream, which Postgres keeps there until a vacuum, are passed once.
pub(super) fn streams(sql: Sql<'_>) -> Built {
    let of_stream = |column| Expr::col((name(STREAMS), column));
    let of_task = |column| Expr::col((name("task"), column));
    let all = [task::ID, task::LANE, task::PRIORITY, task::READY_AT];

    let first = Query::select()
        .columns(all)
        .from_subquery(
            in_order(ready().columns(all.map(|column| (name("task"), column))).take()),
            name("head"),
        )
        .take();
    let lower = ready()
        .column((name("task"), task::ID))
        .and_where(of_task(task::LANE).eq(of_stream(task::LANE)))
        .and_where(of_task(task::PRIORITY).lt(of_stream(task::PRIORITY)))
        .take();
    let next_lane = ready()
        .column((name("task"), task::ID))
        .and_where(of_task(task::LANE).gt(of_stream(task::LANE)))
        .take();
    let next =
        Query::select().expr(Func::coalesce([scalar(in_order(lower)), scalar(in_order(next_lane))])).take();
    let next = Query::select()
        .columns(all.map(|column| (task::TABLE, column)))
        .from(Alias::new(STREAMS))
        .cross_join(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), next))
        .take();
    let mut streams = CommonTableExpression::new();
    streams.table_name(STREAMS).columns(all).query(first.clone().union(UnionType::All, next).take());

    let of_a_stream = || {
        ready()
            .and_where(of_task(task::LANE).eq(of_stream(task::LANE)))
            .and_where(of_task(task::PRIORITY).eq(of_stream(task::PRIORITY)))
            .and_where(wanted("task", sql.param(1)))
            .take()
    };
    let earliest = || of_a_stream().expr(of_task(task::READY_AT).min()).take();
    let first_at = earliest().and_where(of_task(task::READY_AT).gte(of_stream(task::READY_AT))).take();
    let not_due = earliest().and_where(of_task(task::READY_AT).gt(sql.param(1))).take();
    // The entries of leases that have ended stand before the first task that is not due.
    let fills = of_a_stream()
        .column((name("task"), task::READY_AT))
        .and_where(of_task(task::READY_AT).gte(of_stream(task::READY_AT)))
        .and_where(of_task(task::READY_AT).lte(sql.param(1)))
        .order_by((name("task"), task::READY_AT), Order::Asc)
        .limit(limit(4))
        .offset(limit(3))
        .take();
    let next_at =
        CaseStatement::new().case(scalar(fills).is_not_null(), sql.param(1)).finally(scalar(not_due));
    let listed = Query::select()
        .expr_as(number(STREAM), "what")
        .columns(of(lane::TABLE, LaneRow::COLUMNS))
        .column((name(STREAMS), task::PRIORITY))
        .expr_as(scalar(first_at), "first_at")
        .expr_as(next_at, "next_at")
        .expr_as(no_number(), "first_end")
        .expr_as(number(0), "stopping")
        .from(Alias::new(STREAMS))
        .cross_join(lane::TABLE)
        .and_where(Expr::col((lane::TABLE, lane::KEY)).eq(of_stream(task::LANE)))
        .union(UnionType::All, end_hints(sql))
        .take();
    let mut with = WithClause::new();
    with.recursive(true).cte(streams);
    Built::read(StreamRow::COLUMNS, listed.with(with))
}

/// The first deadline, and whether a task of the worker is asked to end, in the columns of a stream.
fn end_hints(sql: Sql<'_>) -> SelectStatement {
    let first_end = Query::select()
        .expr(Expr::col(task::EXPIRES_AT).min())
        .from(task::TABLE)
        .and_where(Expr::col(task::EXPIRES_AT).is_not_null())
        .and_where(Expr::col(task::ENDED_AT).is_null())
        .take();
    // A running task has a lease, so `ready_at` is set.
    let stopping = Query::select()
        .expr(Expr::col(task::READY_AT).min())
        .from(task::TABLE)
        .and_where(stopping(sql.param(2)))
        .take();
    let stopping = CaseStatement::new().case(scalar(stopping).is_not_null(), number(1)).finally(number(0));
    Query::select()
        .expr(number(END_HINTS))
        // Priorities are narrower than the integers that are read; this column makes the union's type the wider one.
        .exprs([null(), null(), null(), null(), no_number(), null(), null()])
        .exprs([scalar(first_end), stopping.into()])
        .take()
}

/// Tasks of a worker that are asked to end.
pub(super) fn stopping(worker: Expr) -> Expr {
    Expr::col(task::WORKER_ID)
        .eq(worker)
        .and(Expr::col(task::WORKER_ID).is_not_null())
        .and(is_asked_to_end(Expr::col(task::MARK)))
        .and(Expr::col(task::STATUS).eq(literal(TaskStatus::Running.as_str())))
}

/// The heads of the batch's streams, merged in the order priority, due time, age.
pub(super) fn pick(sql: Sql<'_>) -> Built {
    if sql.locks() {
        return sql.packed(Picked::COLUMNS, taken(sql, Picked::COLUMNS));
    }
    // Sorts narrow columns; wide columns are read only for the rows that remain.
    let rows = Query::select()
        .exprs(carried(sql, Picked::COLUMNS))
        .from(task::TABLE)
        .and_where(Expr::col((task::TABLE, task::ID)).in_subquery(picked(sql)))
        .take();
    sql.packed(Picked::COLUMNS, rows)
}

/// The heads of the batch's streams, and the tasks of a second batch.
pub(super) fn pick_with(sql: Sql<'_>) -> Built {
    let first = sql.dialect.batch_params(Head::COLUMNS) + 3;
    let others = sql.dialect.batch_source(OneId::COLUMNS, first);
    let rows = |ids| {
        Query::select()
            .exprs(carried(sql, Picked::COLUMNS))
            .from(task::TABLE)
            .and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), ids))
            .take()
    };
    if sql.locks() {
        // The tasks of the second batch are locked already.
        let both = Query::select()
            .columns(names(Picked::COLUMNS))
            .from_subquery(taken(sql, Picked::COLUMNS), Alias::new("picked"))
            .union(UnionType::All, rows(others))
            .take();
        return sql.packed(Picked::COLUMNS, both);
    }
    let both = Query::select()
        .column(task::ID)
        .from_subquery(picked(sql), Alias::new("picked"))
        .union(UnionType::All, others)
        .take();
    sql.packed(Picked::COLUMNS, rows(both))
}

/// The heads of the batch's streams, with the columns that limits need.
pub(super) fn heads(sql: Sql<'_>) -> Built {
    if sql.locks() {
        return sql.packed(RankedRow::COLUMNS, locked_heads(sql, RankedRow::COLUMNS));
    }
    let heads = Query::select()
        .with_cte(sql.batch_once(Head::COLUMNS))
        .columns(RankedRow::COLUMNS.iter().map(|column| (task::TABLE, name(column.name))))
        .from(Alias::new(BATCH))
        .cross_join(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), head(sql)))
        .take();
    sql.packed(RankedRow::COLUMNS, heads)
}

/// The heads of the batch's streams, locked. The statement returns the locked rows themselves, because a second look-up by
/// id could return older versions. Rows that other transactions have locked are skipped.
fn locked_heads(sql: Sql<'_>, gives: &[crate::batch::Column]) -> SelectStatement {
    let head = head(sql)
        .clear_selects()
        .columns(of("head", gives))
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .take();
    Query::select()
        .with_cte(sql.batch_once(Head::COLUMNS))
        .columns(of(task::TABLE, gives))
        .from(Alias::new(BATCH))
        .join_lateral(JoinType::InnerJoin, head, task::TABLE, Expr::cust("TRUE"))
        .take()
}

/// The first of the locked heads, in the order priority, due time, age. The others stay locked until the transaction ends.
fn taken(sql: Sql<'_>, gives: &[crate::batch::Column]) -> SelectStatement {
    locked_heads(sql, gives)
        .order_by((task::TABLE, task::PRIORITY), Order::Desc)
        .order_by((task::TABLE, task::READY_AT), Order::Asc)
        .order_by((task::TABLE, task::ID), Order::Asc)
        .limit(sql.limit_after(Head::COLUMNS, 2))
        .take()
}

/// The head of a stream of the batch.
fn head(sql: Sql<'_>) -> SelectStatement {
    let now = sql.param_after(Head::COLUMNS, 1);
    let of_head = |column| Expr::col((name("head"), column));
    Query::select()
        .column((name("head"), task::ID))
        .from_as(task::TABLE, name("head"))
        .and_where(of_head(task::LANE).eq(in_batch("lane")))
        .and_where(of_head(task::PRIORITY).eq(in_batch("priority")))
        .and_where(of_head(task::READY_AT).gte(in_batch("first_at")))
        .and_where(of_head(task::READY_AT).lte(now.clone()))
        .and_where(wanted("head", now))
        .order_by((name("head"), task::READY_AT), Order::Asc)
        .order_by((name("head"), task::ID), Order::Asc)
        .limit(sql.limit_after(Head::COLUMNS, 2))
        .take()
}

fn picked(sql: Sql<'_>) -> SelectStatement {
    Query::select()
        .with_cte(sql.batch_once(Head::COLUMNS))
        .column((task::TABLE, task::ID))
        .from(Alias::new(BATCH))
        // In this order: for each stream its head, then for each task of the head its row.
        .cross_join(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), head(sql)))
        .order_by((task::TABLE, task::PRIORITY), Order::Desc)
        .order_by((task::TABLE, task::READY_AT), Order::Asc)
        .order_by((task::TABLE, task::ID), Order::Asc)
        .limit(sql.limit_after(Head::COLUMNS, 2))
        .take()
}

/// Whether a task may start: it is not asked to end, and its deadline has not passed (G15). The claim index has both columns.
fn wanted(task: &'static str, now: Expr) -> Expr {
    let of_task = |column| Expr::col((name(task), column));
    let in_time = of_task(task::EXPIRES_AT).is_null().or(of_task(task::EXPIRES_AT).gt(now));
    is_not_asked_to_end(of_task(task::MARK)).and(in_time)
}

/// The tasks in the claim index: those that are ready now or later.
fn ready() -> SelectStatement {
    Query::select()
        .from_as(task::TABLE, name("task"))
        .and_where(Expr::col((name("task"), task::LANE)).is_not_null())
        .and_where(Expr::col((name("task"), task::READY_AT)).is_not_null())
        .take()
}

/// The first of these tasks, in the order of the claim index.
fn in_order(mut tasks: SelectStatement) -> SelectStatement {
    tasks
        .order_by((name("task"), task::LANE), Order::Asc)
        .order_by((name("task"), task::PRIORITY), Order::Desc)
        .order_by((name("task"), task::READY_AT), Order::Asc)
        .order_by((name("task"), task::ID), Order::Asc)
        .limit(1)
        .take()
}

fn scalar(query: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(query.into()))
}
