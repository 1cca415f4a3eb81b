//! What happens to everything below a task.

use sea_orm::sea_query::{
    Alias, CaseStatement, CommonTableExpression, Expr, ExprTrait, JoinType, Query, SelectStatement,
    UnionType, WithClause,
};
use stent_core::model::{Mark, TaskStatus};

use super::{BATCH, Built, Sql, in_batch, literal, name, null};
use crate::entity::ended_claim;
use crate::entity::task::{Column, Entity};
use crate::row::columns;

const BELOW: &str = "below";

/// Cancels every open task below those of the batch, at the moment at which they themselves ended.
///
/// Within an execution that is one moment: whoever gives up tasks of it twice does so in two sweeps. Rows are looked up one
/// by one (`IN`): with a join, SQLite prefers to read all tasks there are and to look for each among those below.
pub(super) fn sweep(sql: Sql<'_>) -> Built {
    let ended_at = Query::select()
        .expr(in_batch("ended_at"))
        .from(Alias::new(BATCH))
        .and_where(in_batch("execution_id").eq(Expr::col((Entity, Column::ExecutionId))))
        .limit(1)
        .take();
    let directly = directly_below(sql);
    let mut with = WithClause::new();
    with.recursive(true).cte(sql.batch_once(&columns::SWEEP)).cte(with_all_below(directly));
    let update = Query::update()
        .with_cte(with)
        .table(Entity)
        .value(Column::Status, literal(TaskStatus::Cancelled.as_str()))
        .value(Column::ReadyAt, null())
        .value(Column::WorkerId, null())
        .value(Column::LimitKey, null())
        .value(Column::WakeThreshold, null())
        .value(Column::EndedAt, Expr::SubQuery(None, Box::new(ended_at.into())))
        .and_where(sql.dialect.any_of(Expr::col(Column::Id), ids_below()))
        .and_where(Expr::col(Column::EndedAt).is_null())
        .take();
    Built::write(update)
}

/// The steps of the batch's tasks. Where many write, by a join, each one's being looked up: of an array of parents, of which
/// some have very many, Postgres takes all steps that there are to be theirs, and reads those.
pub(super) fn directly_below(sql: Sql<'_>) -> SelectStatement {
    let steps = || Query::select().column((Entity, Column::Id)).from(Entity).take();
    let parent = Expr::col((Entity, Column::ParentId));
    if sql.locks() {
        return steps().from(Alias::new(BATCH)).and_where(parent.eq(in_batch("id"))).take();
    }
    let roots = Query::select().expr(in_batch("id")).from(Alias::new(BATCH)).take();
    steps().and_where(sql.dialect.any_of(parent, roots)).take()
}

/// Asks every open task below the roots of the batch's executions to end: what runs is marked, the rest has ended. What
/// [`Row::stop`](stent_core::ledger::Row::stop) does.
pub(super) fn stop(sql: Sql<'_>) -> Built {
    let of_task = |column| Expr::col((Entity, column));
    let runs = || of_task(Column::Status).eq(literal(TaskStatus::Running.as_str()));
    let if_runs = |then: Expr, other: Expr| CaseStatement::new().case(runs(), then).finally(other);
    let update = Query::update()
        .table(Entity)
        .value(Column::Status, if_runs(of_task(Column::Status), literal(TaskStatus::Cancelled.as_str())))
        .value(Column::Mark, if_runs(literal(Mark::Cancel.as_str()), of_task(Column::Mark)))
        .value(Column::ReadyAt, if_runs(of_task(Column::ReadyAt), null()))
        .value(Column::WakeThreshold, if_runs(of_task(Column::WakeThreshold), null()))
        .value(Column::EndedAt, if_runs(of_task(Column::EndedAt), in_batch("at")))
        .from(sql.batch_table(&columns::SINCE))
        .and_where(of_task(Column::ExecutionId).eq(in_batch("execution_id")))
        .and_where(of_task(Column::ParentId).is_not_null())
        .and_where(of_task(Column::EndedAt).is_null())
        .take();
    Built::write(update)
}

/// Deletes the tasks of the batch and everything below them.
pub(super) fn erase(sql: Sql<'_>) -> Built {
    let mut with = WithClause::new();
    with.recursive(true).cte(with_all_below(sql.batch(&columns::ONE_ID)));
    let mut delete = Query::delete();
    delete
        .with_cte(with)
        .from_table(Entity)
        .and_where(sql.dialect.any_of(Expr::col(Column::Id), ids_below()));
    Built::write(delete)
}

/// Deletes the ended claims of the tasks of the batch and of everything below them.
pub(super) fn erase_ended_claims(sql: Sql<'_>) -> Built {
    let mut with = WithClause::new();
    with.recursive(true).cte(with_all_below(sql.batch(&columns::ONE_ID)));
    let mut delete = Query::delete();
    delete
        .with_cte(with)
        .from_table(ended_claim::Entity)
        .and_where(sql.dialect.any_of(Expr::col(ended_claim::Column::TaskId), ids_below()));
    Built::write(delete)
}

/// These tasks and everything below them.
pub(super) fn with_all_below(first: SelectStatement) -> CommonTableExpression {
    let next = Query::select()
        .column((name("task"), Column::Id))
        .from(Alias::new(BELOW))
        .join_as(
            JoinType::InnerJoin,
            Entity,
            name("task"),
            Expr::col((name("task"), Column::ParentId)).equals((name(BELOW), Column::Id)),
        )
        .take();
    let mut below = CommonTableExpression::new();
    below.table_name(BELOW).column(Column::Id).query(first.clone().union(UnionType::All, next).take());
    below
}

pub(super) fn ids_below() -> SelectStatement {
    Query::select().column(Column::Id).from(Alias::new(BELOW)).take()
}
