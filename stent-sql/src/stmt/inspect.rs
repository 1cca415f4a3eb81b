//! Reads for people and waiters. None of them locks.

use sea_orm::sea_query::{
    Alias, CaseStatement, Condition, Expr, ExprTrait, Func, Order, Query, SelectStatement, UnionType,
};
use stent_core::model::{ExecutionStatus, KeyEntryKind, TaskStatus};

use super::mark::{has_expired, has_no_mark, has_not_expired, is_asked_to_end};
use super::{Built, DEAD, Sql, carried, limit, literal, name, names, of};
use crate::batch::Column;
use crate::row::{
    CalledWith, DeadLetterRow, DeadLetterStatRow, Dispatched, ExecutionRow, ItemRow, LaneRow, LaneViewRow,
    Now, OneId, Place, RunningRow, Shape, StoredRow, Tally, TaskRow,
};
use crate::table::{key, lane, task};

/// The status of an execution by its root: see [`of_root`](stent_core::model::ExecutionStatus::of_root).
fn stands() -> Expr {
    let open = || Expr::col(task::ENDED_AT).is_null();
    let word = |status: ExecutionStatus| literal(status.as_str());
    let failed = Expr::col(task::STATUS).eq(literal(TaskStatus::Failed.as_str()));
    CaseStatement::new()
        .case(open().and(is_asked_to_end(Expr::col(task::MARK))), word(ExecutionStatus::Cancelling))
        .case(open().and(Expr::col(task::STARTED_AT).is_null()), word(ExecutionStatus::Pending))
        .case(open(), word(ExecutionStatus::Running))
        .case(failed.and(has_expired(Expr::col(task::MARK))), word(ExecutionStatus::TimedOut))
        .finally(Expr::col(task::STATUS))
        .into()
}

pub(super) fn clock(sql: Sql<'_>) -> Built {
    Built::read(Now::COLUMNS, Query::select().expr_as(sql.dialect.clock(), "now").take())
}

pub(super) fn home(sql: Sql<'_>) -> Built {
    let home = Query::select()
        .expr_as(sql.dialect.home(), "home")
        .expr_as(sql.dialect.frozen(), "frozen")
        .expr_as(sql.dialect.marked(), "mark")
        .take();
    Built::read(Place::COLUMNS, home)
}

pub(super) fn executions(sql: Sql<'_>) -> Built {
    let executions = Query::select()
        .exprs(carried(sql, ExecutionRow::COLUMNS))
        .from(task::TABLE)
        .and_where(sql.in_batch_of(task::ID, OneId::COLUMNS))
        .and_where(Expr::col(task::PARENT_ID).is_null())
        .take();
    sql.packed(ExecutionRow::COLUMNS, executions)
}

/// A page of an execution's tasks, by id and so by age. The root is found by its own id, because the index of executions has
/// no roots.
pub(super) fn tasks(sql: Sql<'_>) -> Built {
    sql.packed(TaskRow::COLUMNS, page_of_tasks(sql, TaskRow::COLUMNS))
}

/// The same page, with every column that a task is stored with. The ids are found first, because large payloads are left out of the
/// rows.
pub(super) fn stored(sql: Sql<'_>) -> Built {
    let page = Query::select()
        .column(task::ID)
        .from_subquery(page_of_tasks(sql, OneId::COLUMNS), Alias::new("found"))
        .take();
    let rows = Query::select()
        .exprs(carried(sql, StoredRow::COLUMNS))
        .from(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), page))
        .take();
    sql.packed(StoredRow::COLUMNS, rows)
}

fn page_of_tasks(sql: Sql<'_>, columns: &[Column]) -> SelectStatement {
    let (execution, from) = (|| sql.param(1), || sql.param(2));
    let root = Query::select()
        .columns(names(columns))
        .from(task::TABLE)
        .and_where(Expr::col(task::ID).eq(execution()))
        .and_where(Expr::col(task::PARENT_ID).is_null())
        .and_where(Expr::col(task::ID).gte(from()))
        .take();
    Query::select()
        .columns(names(columns))
        .from(task::TABLE)
        .and_where(Expr::col(task::EXECUTION_ID).eq(execution()))
        .and_where(Expr::col(task::PARENT_ID).is_not_null())
        .and_where(Expr::col(task::ID).gte(from()))
        .union(UnionType::All, root)
        .order_by(task::ID, Order::Asc)
        .limit(limit(3))
        .take()
}

/// A page of a map's items. Items have no `done_order`: their map only counts them.
pub(super) fn items(sql: Sql<'_>) -> Built {
    let items = Query::select()
        .exprs(carried(sql, ItemRow::COLUMNS))
        .from(task::TABLE)
        .and_where(Expr::col(task::PARENT_ID).eq(sql.param(1)))
        .and_where(Expr::col(task::DONE_ORDER).is_null())
        .and_where(Expr::col(task::SEQ).gte(sql.param(2)))
        // The column is null in all items. It is named so that the planner recognizes the order of the index: Postgres does
        // not treat a null column as constant, and would sort the rest of the map for each page.
        .order_by(task::DONE_ORDER, Order::Asc)
        .order_by(task::SEQ, Order::Asc)
        .limit(limit(3))
        .take();
    sql.packed(ItemRow::COLUMNS, items)
}

/// The arguments of a task.
pub(super) fn args(sql: Sql<'_>) -> Built {
    let args = Query::select()
        .exprs(carried(sql, CalledWith::COLUMNS))
        .from(task::TABLE)
        .and_where(Expr::col(task::ID).eq(sql.param(1)))
        .take();
    sql.packed(CalledWith::COLUMNS, args)
}

/// The execution that was dispatched under a key. Parameter: the key.
pub(super) fn dispatched(sql: Sql<'_>) -> Built {
    let entry = Query::select()
        .columns(names(Dispatched::COLUMNS))
        .from(key::TABLE)
        .and_where(Expr::col(key::KEY).eq(sql.param(1)))
        .and_where(Expr::col(key::KIND).eq(literal(KeyEntryKind::Dispatch.as_str())))
        .take();
    Built::read(Dispatched::COLUMNS, entry)
}

/// A page of executions, newest first. Parameters: up to which id, how many, status, function, queue, tag, from which id, and
/// the first and the last moment of a dispatch; status, function, queue and tag may be null.
///
/// Open, completed, failed and cancelled executions are read from an index each, newest first, and merged. An index whose
/// executions cannot have the requested status is not read: the first condition names no column.
pub(super) fn list(sql: Sql<'_>) -> Built {
    let fits = |n: usize, test: &dyn Fn(Expr) -> Expr| sql.param(n).is_null().or(test(sql.param(n)));
    let newest = |alias: &'static str, ended: Expr, statuses: &[ExecutionStatus]| {
        let words: Vec<_> = statuses.iter().map(|status| literal(status.as_str())).collect();
        let newest = Query::select()
            .column(task::ID)
            .from(task::TABLE)
            .and_where(fits(3, &|status| status.is_in(words.clone())))
            .and_where(Expr::col(task::PARENT_ID).is_null())
            .and_where(ended)
            .and_where(Expr::col(task::ID).lte(sql.param(1)))
            .and_where(Expr::col(task::ID).gte(sql.param(7)))
            .and_where(Expr::col(task::CREATED_AT).gte(sql.param(8)))
            .and_where(Expr::col(task::CREATED_AT).lte(sql.param(9)))
            .and_where(fits(3, &|status| stands().eq(status)))
            .and_where(fits(4, &|function| Expr::col(task::NAME).eq(function)))
            .and_where(fits(5, &|queue| Expr::col(task::QUEUE).eq(queue)))
            .and_where(fits(6, &|tag| {
                let tags = || Expr::col(task::TAGS);
                let without = Func::cust(Alias::new("REPLACE")).args([tags(), tag, literal("")]);
                Expr::from(without).ne(tags())
            }))
            .order_by(task::ID, Order::Desc)
            .limit(limit(2))
            .take();
        Query::select().column(task::ID).from_subquery(newest, Alias::new(alias)).take()
    };
    let past = |status: TaskStatus, statuses: &[ExecutionStatus]| {
        let ended = Expr::col(task::ENDED_AT).is_not_null();
        newest(status.as_str(), ended.and(Expr::col(task::STATUS).eq(literal(status.as_str()))), statuses)
    };
    let open = [ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Cancelling];
    let all = newest("open", Expr::col(task::ENDED_AT).is_null(), &open)
        .union(UnionType::All, past(TaskStatus::Completed, &[ExecutionStatus::Completed]))
        .union(
            UnionType::All,
            past(TaskStatus::Failed, &[ExecutionStatus::Failed, ExecutionStatus::TimedOut]),
        )
        .union(UnionType::All, past(TaskStatus::Cancelled, &[ExecutionStatus::Cancelled]))
        .order_by(task::ID, Order::Desc)
        .limit(limit(2))
        .take();
    let rows = Query::select()
        .exprs(carried(sql, ExecutionRow::COLUMNS))
        .from(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), all))
        .take();
    sql.packed(ExecutionRow::COLUMNS, rows)
}

/// Counts executions by status in one statement, so that an execution that ends meanwhile is counted exactly once.
///
/// Parameter: the most open executions, and the most of each terminal status, that are counted.
pub(super) fn tally(_sql: Sql<'_>) -> Built {
    const COUNTED: &str = "counted";
    let open = |stands: &'static str| {
        let counted =
            CaseStatement::new().case(self::stands().eq(literal(stands)), literal(1)).finally(literal(0));
        let sum = Func::coalesce([Func::sum(counted).into(), literal(0)]);
        Expr::from(sum).cast_as("bigint")
    };
    let ended = |status: &'static str, which: Condition| {
        let ended = Query::select()
            .expr(Expr::cust("1"))
            .from(task::TABLE)
            .and_where(Expr::col(task::PARENT_ID).is_null())
            .and_where(Expr::col(task::ENDED_AT).is_not_null())
            .and_where(Expr::col(task::STATUS).eq(literal(status)))
            .cond_where(which)
            .limit(limit(1))
            .take();
        let counted =
            Query::select().expr(Expr::cust("COUNT(*)")).from_subquery(ended, Alias::new(COUNTED)).take();
        Expr::SubQuery(None, Box::new(counted.into()))
    };
    let in_time = Condition::all().add(has_not_expired(Expr::col(task::MARK)));
    let timed_out = Condition::all().add(has_expired(Expr::col(task::MARK)));
    let counts = [
        ("pending", open("pending")),
        ("running", open("running")),
        ("cancelling", open("cancelling")),
        ("completed", ended("completed", Condition::all())),
        ("failed", ended("failed", in_time)),
        ("timed_out", ended("failed", timed_out)),
        ("cancelled", ended("cancelled", Condition::all())),
    ];
    let mut tally = Query::select();
    for (column, count) in counts {
        tally.expr_as(count, Alias::new(column));
    }
    let open = Query::select()
        .columns([task::STATUS, task::MARK, task::STARTED_AT, task::ENDED_AT])
        .from(task::TABLE)
        .and_where(Expr::col(task::PARENT_ID).is_null())
        .and_where(Expr::col(task::ENDED_AT).is_null())
        .limit(limit(1))
        .take();
    tally.from_subquery(open, Alias::new(COUNTED));
    Built::read(Tally::COLUMNS, tally)
}

/// The number of waiting tasks in each lane, those with the most due tasks first. Parameters: now, how many.
pub(super) fn lanes(sql: Sql<'_>) -> Built {
    let waits = || {
        Query::select()
            .from_as(task::TABLE, name("task"))
            .and_where(Expr::col((name("task"), task::LANE)).equals((name("lane"), lane::KEY)))
            .and_where(Expr::col((name("task"), task::READY_AT)).is_not_null())
            .take()
    };
    let status = || Expr::col((name("task"), task::STATUS));
    let ready_at = || Expr::col((name("task"), task::READY_AT));
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
        .columns(of("lane", LaneRow::COLUMNS))
        .expr_as(scalar(due().expr(Expr::cust("COUNT(*)")).take()), Alias::new("due"))
        .expr_as(scalar(delayed), Alias::new("delayed"))
        .expr_as(scalar(due().expr(ready_at().min()).take()), Alias::new("oldest_due_at"))
        .from_as(lane::TABLE, name("lane"))
        .order_by(Alias::new("due"), Order::Desc)
        .order_by(Alias::new("delayed"), Order::Desc)
        .limit(limit(2))
        .take();
    Built::read(LaneViewRow::COLUMNS, lanes)
}

/// Running tasks, the latest end of a lease first. Finds them in the claim index, which has the status.
pub(super) fn running(sql: Sql<'_>) -> Built {
    let last = Query::select()
        .column(task::ID)
        .from(task::TABLE)
        .and_where(Expr::col(task::LANE).is_not_null())
        .and_where(Expr::col(task::READY_AT).is_not_null())
        .and_where(Expr::col(task::STATUS).eq(literal("running")))
        .order_by(task::READY_AT, Order::Desc)
        .order_by(task::ID, Order::Desc)
        .limit(limit(1))
        .take();
    let rows = Query::select()
        .columns(names(RunningRow::COLUMNS))
        .from(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col(task::ID), last))
        .take();
    sql.packed(RunningRow::COLUMNS, rows)
}

/// A page of dead letters, newest first. Parameters: up to which id, how many.
pub(super) fn dead_letters(sql: Sql<'_>) -> Built {
    let newest = Query::select()
        .column(task::ID)
        .from(task::TABLE)
        .and_where(Expr::col(task::PARENT_ID).is_null())
        .and_where(Expr::col(task::ENDED_AT).is_not_null())
        .and_where(Expr::col(task::STATUS).eq(literal("failed")))
        .and_where(has_no_mark(Expr::col(task::MARK)))
        .and_where(Expr::col(task::ID).lte(sql.param(1)))
        .order_by(task::ID, Order::Desc)
        .limit(limit(2))
        .take();
    let rows = Query::select()
        .exprs(carried(sql, DeadLetterRow::COLUMNS))
        .from(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col((task::TABLE, task::ID)), newest))
        .take();
    sql.packed(DeadLetterRow::COLUMNS, rows)
}

/// One dead letter.
pub(super) fn dead_letter(sql: Sql<'_>) -> Built {
    let row = Query::select()
        .exprs(carried(sql, DeadLetterRow::COLUMNS))
        .from(task::TABLE)
        .and_where(Expr::col((task::TABLE, task::ID)).eq(sql.param(1)))
        .and_where(Expr::col(task::PARENT_ID).is_null())
        .and_where(Expr::col(task::STATUS).eq(literal("failed")))
        .and_where(has_no_mark(Expr::col(task::MARK)))
        .take();
    sql.packed(DeadLetterRow::COLUMNS, row)
}

/// How many dead letters there are, by reason and function, the largest counts first. Parameter: how many.
pub(super) fn dead_letter_stats(_sql: Sql<'_>) -> Built {
    let stats = Query::select()
        .columns([task::REASON, task::NAME])
        .expr_as(Expr::cust("COUNT(*)"), Alias::new("count"))
        .from(task::TABLE)
        .and_where(Expr::cust(DEAD))
        .group_by_columns([task::REASON, task::NAME])
        .order_by_expr(Expr::cust("COUNT(*)"), Order::Desc)
        .limit(limit(1))
        .take();
    Built::read(DeadLetterStatRow::COLUMNS, stats)
}
