//! Reads and writes key entries.

use sea_orm::sea_query::{
    Alias, Condition, Expr, ExprTrait, JoinType, OnConflict, Query, SelectStatement, UnionType,
};

use super::{BATCH, Built, Sql, in_batch, insert_from, literal, name, names, number};
use crate::entity::key::{Column, Entity};
use crate::entity::task::{self, Column as Task};
use crate::row::{CLOSING, VACANT, columns};

/// Key entries by key.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let entries = Query::select()
        .columns(names(&columns::KEY_ENTRY))
        .from(Entity)
        .and_where(sql.in_batch_of(Column::Key, &columns::ONE_KEY))
        .take();
    Built::read(&columns::KEY_ENTRY, sql.locked(entries, Column::Key))
}

/// Over what is there.
pub(super) fn write(sql: Sql<'_>) -> Built {
    let mut insert = insert_from(Entity, names(&columns::KEY_ENTRY), sql.upserted(&columns::KEY_ENTRY));
    let others = columns::KEY_ENTRY[1..].iter().map(|column| name(column.name));
    insert.on_conflict(OnConflict::column(Column::Key).update_columns(others).to_owned());
    Built::write(insert)
}

pub(super) fn forget(sql: Sql<'_>) -> Built {
    let mut delete = Query::delete();
    delete.from_table(Entity).and_where(sql.in_batch_of(Column::Key, &columns::ONE_KEY));
    Built::write(delete)
}

/// Gives values back to the key entries that have none.
pub(super) fn restore(sql: Sql<'_>) -> Built {
    let of_task = |column: Task| -> Expr {
        let value: SelectStatement = Query::select()
            .column((name("taker"), column))
            .from_as(task::Entity, name("taker"))
            .and_where(Expr::col((name("taker"), Task::Id)).eq(in_batch("id")))
            .take();
        Expr::SubQuery(None, Box::new(value.into()))
    };
    let update = Query::update()
        .table(Entity)
        .value(Column::ValueType, of_task(Task::ResultType))
        .value(Column::Value, of_task(Task::Result))
        .from(sql.batch_table(&columns::RESTORE))
        .and_where(Expr::col((Entity, Column::Key)).eq(in_batch("key")))
        .and_where(Expr::col((Entity, Column::ValueType)).is_null())
        .take();
    Built::write(update)
}

/// The next steps of cascades in executions: keys whose holders have ended without a result, and roots that were asked to
/// end and have nothing running any more. Below such a root everything that is open was asked to end too.
pub(super) fn cascade(sql: Sql<'_>) -> Built {
    let open = |alias: &'static str| {
        Query::select()
            .expr(Expr::cust("1"))
            .from_as(task::Entity, name(alias))
            .and_where(Expr::col((name(alias), Task::EndedAt)).is_null())
            .take()
    };
    let holder = open("holder")
        .and_where(Expr::col((name("holder"), Task::Id)).equals((Entity, Column::HolderId)))
        .take();
    let vacant = Query::select()
        .expr_as(number(VACANT), Alias::new("what"))
        .expr_as(Expr::col((Entity, Column::Key)), Alias::new("id"))
        .expr_as(in_batch("at"), Alias::new("at"))
        .from(Alias::new(BATCH))
        .cross_join(Entity)
        .and_where(Expr::col((Entity, Column::ExecutionId)).eq(in_batch("execution_id")))
        .and_where(Expr::col((Entity, Column::Kind)).eq(literal("result")))
        .and_where(Expr::col((Entity, Column::ValueType)).is_null())
        .and_where(Expr::exists(holder).not())
        .take();
    let others = open("other")
        .and_where(Expr::col((name("other"), Task::ExecutionId)).equals((name("root"), Task::Id)))
        .and_where(Expr::col((name("other"), Task::Mark)).eq(literal("cancel")))
        .and_where(Expr::col((name("other"), Task::Id)).ne(Expr::col((name("root"), Task::Id))))
        .take();
    let of_root = |column: Task| Expr::col((name("root"), column));
    let closing = Query::select()
        .expr_as(number(CLOSING), Alias::new("what"))
        .expr_as(of_root(Task::Id), Alias::new("id"))
        .expr_as(in_batch("at"), Alias::new("at"))
        .from(Alias::new(BATCH))
        .join_as(JoinType::CrossJoin, task::Entity, name("root"), Condition::all())
        .and_where(of_root(Task::Id).eq(in_batch("execution_id")))
        .and_where(of_root(Task::Status).ne(literal("running")))
        .and_where(of_root(Task::Mark).eq(literal("cancel")))
        .and_where(of_root(Task::EndedAt).is_null())
        .and_where(Expr::exists(others).not())
        .take();
    let all = vacant.clone().with_cte(sql.batch_once(&columns::SINCE)).union(UnionType::All, closing).take();
    Built::read(&columns::CASCADE, all)
}
