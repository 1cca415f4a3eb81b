//! Keys, signals, limits, deadlines, notes, tries, traces, and reads for people.
//!
//! A task pays only for the features that it uses: new columns take no space while they are null or zero, and new indexes
//! contain only the tasks that use their feature, except the two indexes that lists are read from.
//!
//! | Index | For | Has |
//! |---|---|---|
//! | `stent_task_ready` | claims, and lists of waiting and running tasks, without reading rows: it now has all columns that they need | as before |
//! | `stent_task_key` | tasks that share a key, or wait under one | open tasks with a key |
//! | `stent_task_expiry` | deadlines that have passed, and the next one | open tasks with a deadline |
//! | `stent_task_slot` | how many tasks of a function run | running tasks of limited functions |
//! | `stent_task_stopping` | whether all tasks of an execution that was asked to end have ended | open tasks that are asked to end |
//! | `stent_task_stopped_by` | tasks of a worker that are asked to end | running tasks that are asked to end |
//! | `stent_task_live` | lists of executions that are open | roots, until they end |
//! | `stent_task_past` | lists of executions that have ended, dead letters, counts | roots that ended |
//! | `stent_task_ended` | purge: compacted executions apart from the others, so that none is compacted twice | roots that ended, but for dead letters |
//! | `stent_task_dead` | purge of dead letters | dead letters |
//! | `stent_task_reason` | counts of dead letters | dead letters |
//!
//! Conditions are repeated here in full: a released migration never changes, even if the statements that use its
//! indexes do.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sea_query::{Alias, ColumnDef, Index, IndexOrder, Table, TableCreateStatement};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Dialect;

pub(super) struct Keys {
    pub(super) dialect: Arc<dyn Dialect>,
}

impl MigrationName for Keys {
    fn name(&self) -> &str {
        "m0002_keys"
    }
}

#[async_trait]
impl MigrationTrait for Keys {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for view in ["stent_execution_view", "stent_task_view"] {
            connection.execute_unprepared(&format!("DROP VIEW {view}")).await?;
        }
        // One column at a time: SQLite takes no more in one statement.
        for column in task_columns() {
            manager.alter_table(Table::alter().table(task()).add_column(column).take()).await?;
        }
        let tags = column("tags").text().not_null().default("[]").take();
        manager.alter_table(Table::alter().table(Alias::new("stent_lane")).add_column(tags).take()).await?;
        for table in tables() {
            manager.create_table(table).await?;
        }
        let tables = ["stent_memo", "stent_note", "stent_progress", "stent_tried", "stent_rate"];
        for storage in super::storage(&*self.dialect, &tables) {
            connection.execute_unprepared(&storage).await?;
        }
        connection.execute_unprepared(&reasons(&*self.dialect)).await?;
        for index in ["stent_task_ready", "stent_task_ended"] {
            connection.execute_unprepared(&format!("DROP INDEX {index}")).await?;
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

fn task() -> Alias {
    Alias::new("stent_task")
}

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn count(name: &'static str) -> ColumnDef {
    column(name).big_integer().not_null().default(0).take()
}

fn task_columns() -> [ColumnDef; 11] {
    [
        column("tags").text().null().take(),
        count("crashes"),
        count("releases"),
        count("noted"),
        column("mark").text().null().take(),
        column("key").uuid().null().take(),
        column("expires_at").big_integer().null().take(),
        column("slot").big_integer().null().take(),
        column("reason").text().null().take(),
        count("compacted"),
        column("trace").text().null().take(),
    ]
}

fn tables() -> [TableCreateStatement; 5] {
    let table = |name: &'static str| Table::create().table(Alias::new(name)).take();
    let key = |columns: &[&'static str]| {
        let mut key = Index::create();
        for column in columns {
            key.col(Alias::new(*column));
        }
        key.primary().take()
    };
    [
        table("stent_memo")
            .col(column("key").uuid().not_null().primary_key())
            .col(column("kind").text().not_null())
            .col(column("execution_id").uuid().not_null())
            .col(column("name").text().not_null())
            .col(column("holder_id").uuid().null())
            .col(column("ttl").big_integer().null())
            .col(column("ended_at").big_integer().null())
            .col(column("expires_at").big_integer().null())
            .col(column("sends").text().null())
            .col(column("value_type").text().null())
            .col(column("value").blob().null())
            .take(),
        table("stent_note")
            .col(column("execution_id").uuid().not_null())
            .col(column("kind").text().not_null())
            .col(column("name").text().not_null())
            .col(column("count").big_integer().null())
            .col(column("value_type").text().null())
            .col(column("value").blob().null())
            .primary_key(&mut key(&["execution_id", "kind", "name"]))
            .take(),
        table("stent_progress")
            .col(column("id").uuid().not_null().primary_key())
            .col(column("execution_id").uuid().not_null())
            .col(column("task_id").uuid().not_null())
            .col(column("at").big_integer().not_null())
            .col(column("text").text().not_null())
            .take(),
        table("stent_tried")
            .col(column("task_id").uuid().not_null())
            .col(column("epoch").big_integer().not_null())
            .col(column("at").big_integer().not_null())
            .col(column("execution_id").uuid().not_null())
            .col(column("worker_id").uuid().null())
            .col(column("how").text().not_null())
            .col(column("failure").text().null())
            .col(column("data_type").text().null())
            .col(column("data").blob().null())
            .primary_key(&mut key(&["task_id", "epoch", "at"]))
            .take(),
        table("stent_rate")
            .col(column("function_key").big_integer().not_null())
            .col(column("bucket").big_integer().not_null())
            .col(column("used").big_integer().not_null())
            .primary_key(&mut key(&["function_key", "bucket"]))
            .take(),
    ]
}

/// Makes failed roots dead letters, which are counted by reason.
fn reasons(dialect: &dyn Dialect) -> String {
    let kind = dialect.json_field("failure", "kind");
    format!(
        "UPDATE stent_task SET reason = {kind} \
         WHERE parent_id IS NULL AND ended_at IS NOT NULL AND status = 'failed' AND failure IS NOT NULL"
    )
}

/// sea-query knows no partial indexes; the condition is added to its text.
fn indexes(dialect: &dyn Dialect) -> [String; 16] {
    let index = |name: &'static str, columns: &[&'static str], condition: &str| {
        let mut index = Index::create();
        index.name(name).table(task());
        for column in columns {
            match *column {
                "priority" => index.col((Alias::new("priority"), IndexOrder::Desc)),
                column => index.col(Alias::new(column)),
            };
        }
        format!("{} WHERE {condition}", dialect.backend().build(&index).sql)
    };
    let whole = |name: &'static str, table: &'static str, columns: &[&'static str]| {
        let mut index = Index::create();
        index.name(name).table(Alias::new(table));
        for column in columns {
            index.col(Alias::new(*column));
        }
        dialect.backend().build(&index).sql
    };
    let of_memos = |name: &'static str, column: &'static str| {
        let text = whole(name, "stent_memo", &[column]);
        format!("{text} WHERE kind = 'result' AND {column} IS NOT NULL")
    };
    let dead = "parent_id IS NULL AND status = 'failed' AND mark IS NULL";
    [
        index(
            "stent_task_ready",
            &["lane", "priority", "ready_at", "id", "status", "mark", "expires_at"],
            "lane IS NOT NULL AND ready_at IS NOT NULL",
        ),
        index("stent_task_key", &["key"], "key IS NOT NULL AND ended_at IS NULL"),
        index("stent_task_expiry", &["expires_at", "id"], "expires_at IS NOT NULL AND ended_at IS NULL"),
        index("stent_task_slot", &["slot", "ready_at"], "slot IS NOT NULL"),
        index("stent_task_stopping", &["execution_id", "id"], "mark = 'cancel' AND ended_at IS NULL"),
        index("stent_task_stopped_by", &["worker_id"], "mark = 'cancel' AND worker_id IS NOT NULL"),
        index("stent_task_live", &["id"], "parent_id IS NULL AND ended_at IS NULL"),
        // Contains the columns of its own condition, for which SQLite would otherwise read the rows: executions are
        // counted in this index.
        index(
            "stent_task_past",
            &["status", "id", "mark", "parent_id", "ended_at"],
            "parent_id IS NULL AND ended_at IS NOT NULL",
        ),
        index(
            "stent_task_ended",
            &["compacted", "ended_at", "id"],
            "parent_id IS NULL AND ended_at IS NOT NULL AND (status <> 'failed' OR mark IS NOT NULL)",
        ),
        // Contains the status, so that the planner prefers it to the other index that lists of failed executions could use.
        index("stent_task_dead", &["status", "ended_at", "id"], dead),
        index("stent_task_reason", &["status", "reason", "name", "parent_id", "mark"], dead),
        whole("stent_memo_execution", "stent_memo", &["execution_id"]),
        of_memos("stent_memo_ended", "ended_at"),
        of_memos("stent_memo_expiry", "expires_at"),
        whole("stent_progress_execution", "stent_progress", &["execution_id", "id"]),
        whole("stent_tried_execution", "stent_tried", &["execution_id"]),
    ]
}

fn views(dialect: &dyn Dialect) -> [String; 2] {
    let iso = |column: &str| format!("{} AS {column}", dialect.iso(column));
    let moments = ["created_at", "started_at", "ended_at", "expires_at"].map(iso).join(", ");
    [
        format!(
            "CREATE VIEW stent_execution_view AS SELECT id, name AS function, queue, tags, priority, \
             CASE WHEN ended_at IS NULL AND mark = 'cancel' THEN 'cancelling' \
             WHEN ended_at IS NULL AND started_at IS NULL THEN 'pending' \
             WHEN ended_at IS NULL THEN 'running' \
             WHEN status = 'failed' AND mark = 'expire' THEN 'timed_out' ELSE status END AS status, \
             attempts, failure, {moments} FROM stent_task WHERE parent_id IS NULL"
        ),
        format!(
            "CREATE VIEW stent_task_view AS SELECT id, execution_id, parent_id, seq, kind, queue, name, tags, priority, \
             status, mark, epoch, tries, attempts, crashes, releases, worker_id, done, done_order, fed, total, failure, \
             {}, {moments} FROM stent_task",
            iso("ready_at")
        ),
    ]
}
