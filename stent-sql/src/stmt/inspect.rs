//! Reads for people and waiters. None of them locks.

use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait, Func, Order, Query, SelectStatement, UnionType};
use stent_core::model::{ExecutionStatus, TaskStatus};

use super::{Built, DEAD, Sql, carried, limit, literal, name, names, of};
use crate::entity::lane;
use crate::entity::task::{Column, Entity};
use crate::row::columns;

/// The status of an execution by its root: see [`of_root`](stent_core::model::ExecutionStatus::of_root).
const STANDS: &str = "CASE WHEN ended_at IS NULL AND mark = 'cancel' THEN 'cancelling' \
    WHEN ended_at IS NULL AND started_at IS NULL THEN 'pending' WHEN ended_at IS NULL THEN 'running' \
    WHEN status = 'failed' AND mark = 'expire' THEN 'timed_out' ELSE status END";

pub(super) fn clock(sql: Sql<'_>) -> Built {
    Built::read(&columns::NOW, Query::select().expr_as(sql.dialect.clock(), "now").take())
}

pub(super) fn home(sql: Sql<'_>) -> Built {
    let home = Query::select()
        .expr_as(sql.dialect.home(), "home")
        .expr_as(sql.dialect.frozen(), "frozen")
        .expr_as(sql.dialect.marked(), "mark")
        .take();
    Built::read(&columns::HOME, home)
}

pub(super) fn executions(sql: Sql<'_>) -> Built {
    let executions = Query::select()
        .exprs(carried(sql, &columns::EXECUTION))
        .from(Entity)
        .and_where(sql.in_batch_of(Column::Id, &columns::ONE_ID))
        .and_where(Expr::col(Column::ParentId).is_null())
        .take();
    sql.packed(&columns::EXECUTION, executions)
}

/// A page of an execution's tasks, by id, which is by age. The root is found by its own id: roots, of which there may be
/// as many as tasks, are not in the index of executions.
pub(super) fn tasks(sql: Sql<'_>) -> Built {
    let (execution, after) = (|| sql.param(1), || sql.param(2));
    let root = Query::select()
        .columns(names(&columns::TASK))
        .from(Entity)
        .and_where(Expr::col(Column::Id).eq(execution()))
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::Id).gt(after()))
        .take();
    let all = Query::select()
        .columns(names(&columns::TASK))
        .from(Entity)
        .and_where(Expr::col(Column::ExecutionId).eq(execution()))
        .and_where(Expr::col(Column::ParentId).is_not_null())
        .and_where(Expr::col(Column::Id).gt(after()))
        .union(UnionType::All, root)
        .order_by(Column::Id, Order::Asc)
        .limit(limit(3))
        .take();
    sql.packed(&columns::TASK, all)
}

/// A page of a map's items. Items have no `done_order`: their map only counts them.
pub(super) fn items(sql: Sql<'_>) -> Built {
    let items = Query::select()
        .exprs(carried(sql, &columns::ITEM))
        .from(Entity)
        .and_where(Expr::col(Column::ParentId).eq(sql.param(1)))
        .and_where(Expr::col(Column::DoneOrder).is_null())
        .and_where(Expr::col(Column::Seq).gte(sql.param(2)))
        // All have none. Named so that the index is seen to be in this order: Postgres takes no column that is null for one
        // that is the same in all rows, and would sort what is left of the map for each page of it.
        .order_by(Column::DoneOrder, Order::Asc)
        .order_by(Column::Seq, Order::Asc)
        .limit(limit(3))
        .take();
    sql.packed(&columns::ITEM, items)
}

/// What a task was called with.
pub(super) fn args(sql: Sql<'_>) -> Built {
    let args = Query::select()
        .exprs(carried(sql, &columns::CALLED_WITH))
        .from(Entity)
        .and_where(Expr::col(Column::Id).eq(sql.param(1)))
        .take();
    sql.packed(&columns::CALLED_WITH, args)
}

/// A page of executions, newest first. Parameters: before, how many, status, function, queue, tag; the last four may be null.
///
/// Open ones and those that ended this way or that are read from their own ends, each by age, and merged. Those that cannot
/// stand as is asked for are not read at all: that condition names no column.
pub(super) fn list(sql: Sql<'_>) -> Built {
    let fits = |n: usize, test: &dyn Fn(Expr) -> Expr| sql.param(n).is_null().or(test(sql.param(n)));
    let newest = |alias: &'static str, ended: Expr, statuses: &[ExecutionStatus]| {
        let words: Vec<_> = statuses.iter().map(|status| literal(status.as_str())).collect();
        let newest = Query::select()
            .column(Column::Id)
            .from(Entity)
            .and_where(fits(3, &|status| status.is_in(words.clone())))
            .and_where(Expr::col(Column::ParentId).is_null())
            .and_where(ended)
            .and_where(Expr::col(Column::Id).lt(sql.param(1)))
            .and_where(fits(3, &|status| Expr::cust(STANDS).eq(status)))
            .and_where(fits(4, &|function| Expr::col(Column::Name).eq(function)))
            .and_where(fits(5, &|queue| Expr::col(Column::Queue).eq(queue)))
            .and_where(fits(6, &|tag| {
                let tags = || Expr::col(Column::Tags);
                let without = Func::cust(Alias::new("REPLACE")).args([tags(), tag, literal("")]);
                Expr::from(without).ne(tags())
            }))
            .order_by(Column::Id, Order::Desc)
            .limit(limit(2))
            .take();
        Query::select().column(Column::Id).from_subquery(newest, Alias::new(alias)).take()
    };
    let past = |status: TaskStatus, statuses: &[ExecutionStatus]| {
        let ended = Expr::col(Column::EndedAt).is_not_null();
        newest(status.as_str(), ended.and(Expr::col(Column::Status).eq(literal(status.as_str()))), statuses)
    };
    let open = [ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Cancelling];
    let all = newest("open", Expr::col(Column::EndedAt).is_null(), &open)
        .union(UnionType::All, past(TaskStatus::Completed, &[ExecutionStatus::Completed]))
        .union(
            UnionType::All,
            past(TaskStatus::Failed, &[ExecutionStatus::Failed, ExecutionStatus::TimedOut]),
        )
        .union(UnionType::All, past(TaskStatus::Cancelled, &[ExecutionStatus::Cancelled]))
        .order_by(Column::Id, Order::Desc)
        .limit(limit(2))
        .take();
    let rows = Query::select()
        .exprs(carried(sql, &columns::EXECUTION))
        .from(Entity)
        .and_where(sql.dialect.any_of(Expr::col((Entity, Column::Id)), all))
        .take();
    sql.packed(&columns::EXECUTION, rows)
}

/// How many executions stand where, in one look: one that ends is counted as open or as ended, and not as neither.
pub(super) fn tally(_sql: Sql<'_>) -> Built {
    let open = |stands: &'static str| {
        Expr::cust(format!(
            "CAST(COALESCE(SUM(CASE WHEN {STANDS} = '{stands}' THEN 1 ELSE 0 END), 0) AS bigint)"
        ))
    };
    let ended = |status: &'static str, which: Condition| {
        let ended = Query::select()
            .expr(Expr::cust("COUNT(*)"))
            .from(Entity)
            .and_where(Expr::col(Column::ParentId).is_null())
            .and_where(Expr::col(Column::EndedAt).is_not_null())
            .and_where(Expr::col(Column::Status).eq(literal(status)))
            .cond_where(which)
            .take();
        Expr::SubQuery(None, Box::new(ended.into()))
    };
    let mark = || Expr::col(Column::Mark);
    let in_time = Condition::any().add(mark().is_null()).add(mark().ne(literal("expire")));
    let timed_out = Condition::all().add(mark().eq(literal("expire")));
    let counts = [
        open("pending"),
        open("running"),
        open("cancelling"),
        ended("completed", Condition::all()),
        ended("failed", in_time),
        ended("failed", timed_out),
        ended("cancelled", Condition::all()),
    ];
    let mut tally = Query::select();
    for (column, count) in columns::TALLY.iter().zip(counts) {
        tally.expr_as(count, Alias::new(column.name));
    }
    tally
        .from(Entity)
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::EndedAt).is_null());
    Built::read(&columns::TALLY, tally)
}

/// What waits in each lane.
pub(super) fn lanes(sql: Sql<'_>) -> Built {
    let waits = || {
        Query::select()
            .from_as(Entity, name("task"))
            .and_where(Expr::col((name("task"), Column::Lane)).equals((name("lane"), lane::Column::Key)))
            .and_where(Expr::col((name("task"), Column::ReadyAt)).is_not_null())
            .take()
    };
    let status = || Expr::col((name("task"), Column::Status));
    let ready_at = || Expr::col((name("task"), Column::ReadyAt));
    let due = || {
        waits()
            .and_where(ready_at().lte(sql.param(1)))
            .and_where(status().is_in([literal("pending"), literal("waiting")]))
            .take()
    };
    let delayed = waits()
        .and_where(ready_at().gt(sql.param(1)))
        .and_where(status().eq(literal("pending")))
        .expr(Expr::cust("COUNT(*)"))
        .take();
    let scalar = |query: SelectStatement| Expr::SubQuery(None, Box::new(query.into()));
    let lanes = Query::select()
        .columns(of("lane", &columns::LANE_NAME))
        .expr_as(scalar(due().expr(Expr::cust("COUNT(*)")).take()), Alias::new("due"))
        .expr_as(scalar(delayed), Alias::new("delayed"))
        .expr_as(scalar(due().expr(ready_at().min()).take()), Alias::new("oldest_due_at"))
        .from_as(lane::Entity, name("lane"))
        .take();
    Built::read(&columns::LANE_VIEW, lanes)
}

/// Tasks that run, those whose leases end last first. Reads the claim index, which knows the status, and no other rows.
pub(super) fn running(sql: Sql<'_>) -> Built {
    let last = Query::select()
        .column(Column::Id)
        .from(Entity)
        .and_where(Expr::col(Column::Lane).is_not_null())
        .and_where(Expr::col(Column::ReadyAt).is_not_null())
        .and_where(Expr::col(Column::Status).eq(literal("running")))
        .order_by(Column::ReadyAt, Order::Desc)
        .order_by(Column::Id, Order::Desc)
        .limit(limit(1))
        .take();
    let rows = Query::select()
        .columns(names(&columns::RUNNING))
        .from(Entity)
        .and_where(sql.dialect.any_of(Expr::col(Column::Id), last))
        .take();
    sql.packed(&columns::RUNNING, rows)
}

/// A page of dead letters, newest first. Parameters: before, how many.
pub(super) fn dead_letters(sql: Sql<'_>) -> Built {
    let newest = Query::select()
        .column(Column::Id)
        .from(Entity)
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::EndedAt).is_not_null())
        .and_where(Expr::col(Column::Status).eq(literal("failed")))
        .and_where(Expr::col(Column::Mark).is_null())
        .and_where(Expr::col(Column::Id).lt(sql.param(1)))
        .order_by(Column::Id, Order::Desc)
        .limit(limit(2))
        .take();
    let rows = Query::select()
        .exprs(carried(sql, &columns::DEAD_LETTER))
        .from(Entity)
        .and_where(sql.dialect.any_of(Expr::col((Entity, Column::Id)), newest))
        .take();
    sql.packed(&columns::DEAD_LETTER, rows)
}

/// One dead letter.
pub(super) fn dead_letter(sql: Sql<'_>) -> Built {
    let row = Query::select()
        .exprs(carried(sql, &columns::DEAD_LETTER))
        .from(Entity)
        .and_where(Expr::col((Entity, Column::Id)).eq(sql.param(1)))
        .and_where(Expr::col(Column::ParentId).is_null())
        .and_where(Expr::col(Column::Status).eq(literal("failed")))
        .and_where(Expr::col(Column::Mark).is_null())
        .take();
    sql.packed(&columns::DEAD_LETTER, row)
}

/// How many dead letters there are, by reason and function.
pub(super) fn dead_letter_stats(_sql: Sql<'_>) -> Built {
    let stats = Query::select()
        .columns([Column::Reason, Column::Name])
        .expr_as(Expr::cust("COUNT(*)"), Alias::new("count"))
        .from(Entity)
        .and_where(Expr::cust(DEAD))
        .group_by_columns([Column::Reason, Column::Name])
        .take();
    Built::read(&columns::DEAD_LETTER_STAT, stats)
}
