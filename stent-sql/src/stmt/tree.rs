//! Changes to everything below a task.

use sea_orm::sea_query::{
    Alias, CaseStatement, CommonTableExpression, Expr, ExprTrait, JoinType, Query, SelectStatement,
    UnionType, WithClause,
};
use stent_core::model::TaskStatus;

use super::mark::and_asked_to_end;
use super::{BATCH, Built, Sql, in_batch, literal, name, null};
use crate::row::{OneId, Shape, Since, Sweep};
use crate::table::{ended_claim, task};

const BELOW: &str = "below";

/// Cancels every open task below those of the batch, at the moment at which those ended.
///
/// A sweep has one moment per execution. Rows are looked up by `IN`: with a join, SQLite would scan all tasks.
pub(super) fn sweep(sql: Sql<'_>) -> Built {
    let ended_at = Query::select()
        .expr(in_batch("ended_at"))
        .from(Alias::new(BATCH))
        .and_where(in_batch("execution_id").eq(Expr::col((task::TABLE, task::EXECUTION_ID))))
        .limit(1)
        .take();
    let directly = directly_below(sql);
    let mut with = WithClause::new();
    with.recursive(true).cte(sql.batch_once(Sweep::COLUMNS)).cte(with_all_below(directly));
    let update = Query::update()
        .with_cte(with)
        .table(task::TABLE)
        .value(task::STATUS, literal(TaskStatus::Cancelled.as_str()))
        .value(task::READY_AT, null())
        .value(task::WORKER_ID, null())
        .value(task::LIMIT_KEY, null())
        .value(task::WAKE_THRESHOLD, null())
        .value(task::ENDED_AT, Expr::SubQuery(None, Box::new(ended_at.into())))
        .and_where(sql.dialect.any_of(Expr::col(task::ID), ids_below()))
        .and_where(Expr::col(task::ENDED_AT).is_null())
        .take();
    Built::write(update)
}

/// The steps of the batch's tasks.
pub(super) fn directly_below(sql: Sql<'_>) -> SelectStatement {
    let steps = || Query::select().column((task::TABLE, task::ID)).from(task::TABLE).take();
    let parent = Expr::col((task::TABLE, task::PARENT_ID));
    if sql.dialect.joins_by_lookup() {
        return steps().from(Alias::new(BATCH)).and_where(parent.eq(in_batch("id"))).take();
    }
    let roots = Query::select().expr(in_batch("id")).from(Alias::new(BATCH)).take();
    steps().and_where(sql.dialect.any_of(parent, roots)).take()
}

/// Asks every open task below the roots of the batch's executions to end, as [`Row::stop`](stent_core::ledger::Row::stop) does:
/// running tasks are marked, and all others are cancelled.
pub(super) fn stop(sql: Sql<'_>) -> Built {
    let of_task = |column| Expr::col((task::TABLE, column));
    let runs = || of_task(task::STATUS).eq(literal(TaskStatus::Running.as_str()));
    let if_runs = |then: Expr, other: Expr| CaseStatement::new().case(runs(), then).finally(other);
    let update = Query::update()
        .table(task::TABLE)
        .value(task::STATUS, if_runs(of_task(task::STATUS), literal(TaskStatus::Cancelled.as_str())))
        .value(task::MARK, if_runs(and_asked_to_end(of_task(task::MARK)), of_task(task::MARK)))
        .value(task::READY_AT, if_runs(of_task(task::READY_AT), null()))
        .value(task::WAKE_THRESHOLD, if_runs(of_task(task::WAKE_THRESHOLD), null()))
        .value(task::ENDED_AT, if_runs(of_task(task::ENDED_AT), in_batch("at")))
        .from(sql.batch_table(Since::COLUMNS))
        .and_where(of_task(task::EXECUTION_ID).eq(in_batch("execution_id")))
        .and_where(of_task(task::PARENT_ID).is_not_null())
        .and_where(of_task(task::ENDED_AT).is_null())
        .take();
    Built::write(update)
}

/// Deletes the tasks of the batch and everything below them.
pub(super) fn erase(sql: Sql<'_>) -> Built {
    let mut with = WithClause::new();
    with.recursive(true).cte(with_all_below(sql.batch(OneId::COLUMNS)));
    let mut delete = Query::delete();
    delete
        .with_cte(with)
        .from_table(task::TABLE)
        .and_where(sql.dialect.any_of(Expr::col(task::ID), ids_below()));
    Built::write(delete)
}

/// Deletes the ended claims of the tasks of the batch and of everything below them.
pub(super) fn erase_ended_claims(sql: Sql<'_>) -> Built {
    let mut with = WithClause::new();
    with.recursive(true).cte(with_all_below(sql.batch(OneId::COLUMNS)));
    let mut delete = Query::delete();
    delete
        .with_cte(with)
        .from_table(ended_claim::TABLE)
        .and_where(sql.dialect.any_of(Expr::col(ended_claim::TASK_ID), ids_below()));
    Built::write(delete)
}

/// These tasks and everything below them.
pub(super) fn with_all_below(first: SelectStatement) -> CommonTableExpression {
    let next = Query::select()
        .column((name("task"), task::ID))
        .from(Alias::new(BELOW))
        .join_as(
            JoinType::InnerJoin,
            task::TABLE,
            name("task"),
            Expr::col((name("task"), task::PARENT_ID)).equals((name(BELOW), task::ID)),
        )
        .take();
    let mut below = CommonTableExpression::new();
    below.table_name(BELOW).column(task::ID).query(first.clone().union(UnionType::All, next).take());
    below
}

pub(super) fn ids_below() -> SelectStatement {
    Query::select().column(task::ID).from(Alias::new(BELOW)).take()
}
