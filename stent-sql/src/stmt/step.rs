//! Reads the record of tasks: their steps.

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Query, UnionType};

use super::{BATCH, Built, Sql, carried, in_batch, literal};
use crate::row::{Recorded, Shape, WANT_ALL, WANT_OPEN, WantRow};
use crate::table::task;

/// Steps that ended after the first `seen`; and, if wanted, all steps that have not ended, or open timers and maps.
pub(super) fn steps(sql: Sql<'_>) -> Built {
    let of_task = |column| Expr::col((task::TABLE, column));
    let arm = || {
        Query::select()
            .exprs(carried(sql, Recorded::COLUMNS))
            .from(Alias::new(BATCH))
            .cross_join(task::TABLE)
            .and_where(of_task(task::PARENT_ID).eq(in_batch("parent")))
            .take()
    };
    let others = arm()
        .and_where(in_batch("want").eq(literal(WANT_ALL)))
        .and_where(of_task(task::DONE_ORDER).is_null())
        .take();
    let open = arm()
        .and_where(in_batch("want").eq(literal(WANT_OPEN)))
        .and_where(of_task(task::LANE).is_null())
        .and_where(of_task(task::ENDED_AT).is_null())
        .take();
    let all = arm()
        .with_cte(sql.batch_once(WantRow::COLUMNS))
        .and_where(of_task(task::DONE_ORDER).gt(in_batch("seen")))
        .union(UnionType::All, others)
        .union(UnionType::All, open)
        .take();
    sql.packed_by("seq", Recorded::COLUMNS, all)
}
