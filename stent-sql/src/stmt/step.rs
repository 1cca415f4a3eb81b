//! Reads the record of tasks: their steps.

use sea_orm::EntityName;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Query, SelectStatement, UnionType};

use super::read::ROW_COLUMNS;
use super::{BATCH, Sql, in_batch, literal, name};
use crate::entity::task::{Column, Entity};
use crate::row::{STEP_BATCH, STEP_COLUMNS, WANT_ALL, WANT_OPEN};

/// Steps that ended after the `seen` first ones; with them, as wanted, all that have not, or the open timers and maps.
pub(super) fn steps(sql: Sql<'_>) -> SelectStatement {
    let task = || name(Entity.table_name());
    let arm = || {
        Query::select()
            .columns(ROW_COLUMNS.into_iter().chain(STEP_COLUMNS).map(|column| (task(), column)))
            .from(Alias::new(BATCH))
            .cross_join(Entity)
            .and_where(Expr::col((task(), Column::ParentId)).eq(in_batch("parent")))
            .take()
    };
    let mut ended = arm();
    ended
        .with_cte(sql.batch(&STEP_BATCH))
        .and_where(Expr::col((task(), Column::DoneOrder)).gt(in_batch("seen")));
    let mut others = arm();
    others
        .and_where(in_batch("want").eq(literal(WANT_ALL)))
        .and_where(Expr::col((task(), Column::DoneOrder)).is_null());
    let mut open = arm();
    open.and_where(in_batch("want").eq(literal(WANT_OPEN)))
        .and_where(Expr::col((task(), Column::Lane)).is_null())
        .and_where(Expr::col((task(), Column::EndedAt)).is_null());
    ended.union(UnionType::All, others).union(UnionType::All, open);
    ended
}
