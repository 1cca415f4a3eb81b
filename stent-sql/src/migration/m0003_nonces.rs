//! Epochs carry a nonce beside their count, in the same column: `count << 31 | nonce`. Epochs of claims before this
//! migration are a count alone. No row changes; views show the count.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Dialect;

pub(super) struct Nonces {
    pub(super) dialect: Arc<dyn Dialect>,
}

impl MigrationName for Nonces {
    fn name(&self) -> &str {
        "m0003_nonces"
    }
}

#[async_trait]
impl MigrationTrait for Nonces {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared("DROP VIEW stent_task_view").await?;
        connection.execute_unprepared(&view(&*self.dialect)).await.map(drop)
    }
}

fn view(dialect: &dyn Dialect) -> String {
    let iso = |column: &str| format!("{} AS {column}", dialect.iso(column));
    let moments = ["ready_at", "created_at", "started_at", "ended_at", "expires_at"].map(iso).join(", ");
    format!(
        "CREATE VIEW stent_task_view AS SELECT id, execution_id, parent_id, seq, kind, queue, name, tags, priority, \
         status, mark, CASE WHEN epoch < 2147483648 THEN epoch ELSE epoch >> 31 END AS epoch, tries, attempts, crashes, \
         releases, worker_id, done, done_order, fed, total, failure, {moments} FROM stent_task"
    )
}
