//! Reads the record of tasks: their steps.

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Query, UnionType};

use super::{BATCH, Built, Sql, carried, in_batch, literal};
use crate::entity::task::{Column, Entity};
use crate::row::{WANT_ALL, WANT_OPEN, columns};

/// Steps that ended after the `seen` first ones; with them, as wanted, all that have not, or the open timers and maps.
pub(super) fn steps(sql: Sql<'_>) -> Built {
    let of_task = |column| Expr::col((Entity, column));
    let arm = || {
        Query::select()
            .exprs(carried(sql, &columns::STEP))
            .from(Alias::new(BATCH))
            .cross_join(Entity)
            .and_where(of_task(Column::ParentId).eq(in_batch("parent")))
            .take()
    };
    let others = arm()
        .and_where(in_batch("want").eq(literal(WANT_ALL)))
        .and_where(of_task(Column::DoneOrder).is_null())
        .take();
    let open = arm()
        .and_where(in_batch("want").eq(literal(WANT_OPEN)))
        .and_where(of_task(Column::Lane).is_null())
        .and_where(of_task(Column::EndedAt).is_null())
        .take();
    let all = arm()
        .with_cte(sql.batch_once(&columns::WANT))
        .and_where(of_task(Column::DoneOrder).gt(in_batch("seen")))
        .union(UnionType::All, others)
        .union(UnionType::All, open)
        .take();
    sql.packed_by("seq", &columns::STEP, all)
}
