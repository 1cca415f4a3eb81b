//! The first schema: tasks, lanes, and views for people.
//!
//! Indexes are few, because every task in an index costs a write. The purpose and the content of each:
//!
//! | Index | For | Has |
//! |---|---|---|
//! | `stent_task_ready` | claims | tasks that workers claim, until they end |
//! | `stent_task_step` | the record of a task, the items of a map, everything below a task | all but roots |
//! | `stent_task_open` | timers and maps that are open, by parent | open sleeps and maps |
//! | `stent_task_ended` | purge | roots that ended |
//! | `stent_task_execution` | timelines and purge | all but roots |
//!
//! `stent_task_step` begins with `done_order`, so that the steps that ended since a moment are one range of the index;
//! steps that have not ended (and items, which are only counted) are at its null end, by position. The index is not
//! unique: the fence of the parent's writes ensures that a position is used once.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sea_query::{Alias, ColumnDef, Index, IndexOrder, Table, TableCreateStatement};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Dialect;

pub(super) struct Tables {
    pub(super) dialect: Arc<dyn Dialect>,
}

impl MigrationName for Tables {
    fn name(&self) -> &str {
        "m0001_tables"
    }
}

#[async_trait]
impl MigrationTrait for Tables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(task()).await?;
        manager.create_table(lane()).await?;
        let connection = manager.get_connection();
        for storage in super::storage(&*self.dialect, &["stent_task", "stent_lane"]) {
            connection.execute_unprepared(&storage).await?;
        }
        for index in indexes(&*self.dialect) {
            connection.execute_unprepared(&index).await?;
        }
        for view in views(&*self.dialect) {
            connection.execute_unprepared(&view).await?;
        }
        Ok(())
    }
}

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn task() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("stent_task"))
        .col(column("id").uuid().not_null().primary_key())
        .col(column("execution_id").uuid().not_null())
        .col(column("parent_id").uuid().null())
        .col(column("owner_id").uuid().null())
        .col(column("seq").big_integer().not_null())
        .col(column("kind").text().not_null())
        .col(column("lane").big_integer().null())
        .col(column("queue").text().not_null())
        .col(column("name").text().not_null())
        .col(column("priority").small_integer().not_null())
        .col(column("status").text().not_null())
        .col(column("epoch").big_integer().not_null())
        .col(column("tries").big_integer().not_null())
        .col(column("attempts").big_integer().not_null())
        .col(column("commit_no").big_integer().not_null())
        .col(column("commit_epoch").big_integer().not_null())
        .col(column("ready_at").big_integer().null())
        .col(column("worker_id").uuid().null())
        .col(column("done").big_integer().not_null())
        .col(column("wake_at").big_integer().null())
        .col(column("done_order").big_integer().null())
        .col(column("fed").big_integer().not_null())
        .col(column("total").big_integer().null())
        .col(column("created_at").big_integer().not_null())
        .col(column("started_at").big_integer().null())
        .col(column("ended_at").big_integer().null())
        .col(column("retry").text().null())
        .col(column("failure").text().null())
        .col(column("args_type").text().not_null())
        // Large columns come last: reads that do not need them do not touch their pages.
        .col(column("args").blob().not_null())
        .col(column("result_type").text().null())
        .col(column("result").blob().null())
        .take()
}

fn lane() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("stent_lane"))
        .col(column("key").big_integer().not_null().primary_key())
        .col(column("queue").text().not_null())
        .col(column("function").text().not_null())
        .take()
}

/// sea-query knows no partial indexes; the condition is added to its text.
fn indexes(dialect: &dyn Dialect) -> [String; 5] {
    let index = |name: &'static str, columns: &[&'static str], condition: &str| {
        let mut index = Index::create();
        index.name(name).table(Alias::new("stent_task"));
        for column in columns {
            match *column {
                "priority" => index.col((Alias::new("priority"), IndexOrder::Desc)),
                column => index.col(Alias::new(column)),
            };
        }
        format!("{} WHERE {condition}", dialect.backend().build(&index).sql)
    };
    [
        index(
            "stent_task_ready",
            &["lane", "priority", "ready_at", "id"],
            "lane IS NOT NULL AND ready_at IS NOT NULL",
        ),
        index("stent_task_step", &["parent_id", "done_order", "seq"], "parent_id IS NOT NULL"),
        index("stent_task_open", &["parent_id"], "lane IS NULL AND ended_at IS NULL"),
        index("stent_task_ended", &["ended_at", "id"], "parent_id IS NULL AND ended_at IS NOT NULL"),
        index("stent_task_execution", &["execution_id", "id"], "parent_id IS NOT NULL"),
    ]
}

fn views(dialect: &dyn Dialect) -> [String; 2] {
    let iso = |column: &str| format!("{} AS {column}", dialect.iso(column));
    let moments = ["created_at", "started_at", "ended_at"].map(iso).join(", ");
    [
        format!(
            "CREATE VIEW stent_execution_view AS SELECT id, name AS function, queue, priority, \
             CASE WHEN status = 'pending' AND started_at IS NULL THEN 'pending' \
             WHEN status IN ('pending', 'waiting') THEN 'running' ELSE status END AS status, \
             failure, {moments} FROM stent_task WHERE parent_id IS NULL"
        ),
        format!(
            "CREATE VIEW stent_task_view AS SELECT id, execution_id, parent_id, seq, kind, queue, name, priority, \
             status, epoch, tries, attempts, worker_id, done, done_order, fed, total, failure, {}, {moments} \
             FROM stent_task",
            iso("ready_at")
        ),
    ]
}
