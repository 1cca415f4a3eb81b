//! A task can have several marks: `stent_task.mark` holds their words with commas, `cancel` before all others.
//!
//! The indexes of tasks that are asked to end, and the view of executions, asked for the word alone. They are created again with
//! conditions that hold for lists, too. No row changes.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Dialect;

pub(super) struct Marks {
    pub(super) dialect: Arc<dyn Dialect>,
}

impl MigrationName for Marks {
    fn name(&self) -> &str {
        "m0006_marks"
    }
}

/// Names of indexes, and the statements that create them.
const INDEXES: [[&str; 2]; 2] = [
    [
        "stent_task_stopping",
        "ON \"stent_task\" (\"execution_id\", \"id\") WHERE substr(mark, 1, 6) = 'cancel' AND ended_at IS NULL",
    ],
    [
        "stent_task_stopped_by",
        "ON \"stent_task\" (\"worker_id\") WHERE substr(mark, 1, 6) = 'cancel' AND worker_id IS NOT NULL",
    ],
];

#[async_trait]
impl MigrationTrait for Marks {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for [name, index] in INDEXES {
            connection.execute_unprepared(&format!("DROP INDEX {name}")).await?;
            connection.execute_unprepared(&format!("CREATE INDEX \"{name}\" {index}")).await?;
        }
        connection.execute_unprepared("DROP VIEW stent_execution_view").await?;
        connection.execute_unprepared(&view(&*self.dialect)).await?;
        Ok(())
    }
}

fn view(dialect: &dyn Dialect) -> String {
    let iso = |column: &str| format!("{} AS {column}", dialect.iso(column));
    let moments = ["created_at", "started_at", "ended_at", "expires_at"].map(iso).join(", ");
    format!(
        "CREATE VIEW stent_execution_view AS SELECT id, name AS function, queue, tags, priority, \
         CASE WHEN ended_at IS NULL AND substr(mark, 1, 6) = 'cancel' THEN 'cancelling' \
         WHEN ended_at IS NULL AND started_at IS NULL THEN 'pending' \
         WHEN ended_at IS NULL THEN 'running' \
         WHEN status = 'failed' AND ',' || mark || ',' LIKE '%,expire,%' THEN 'timed_out' ELSE status END AS status, \
         attempts, failure, {moments} FROM stent_task WHERE parent_id IS NULL"
    )
}
