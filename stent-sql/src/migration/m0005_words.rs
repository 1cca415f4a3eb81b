//! Tables, columns and indexes get the names that the code, the documentation and the metrics use.
//!
//! | Was | Is |
//! |---|---|
//! | `stent_memo` | `stent_keys` |
//! | `stent_tried` | `stent_ended_claims` |
//! | `stent_task.tries` | `uncommitted_claims` |
//! | `stent_task.wake_at` | `wake_threshold` |
//! | `stent_task.slot` | `limit_key` |
//! | `stent_task.mark = 'revive'` | `'redrive'` |
//!
//! Names change; rows do not, except for the marks. Databases rename a column in its indexes, too; SQLite cannot rename an
//! index, so indexes whose names contain an old word are created again.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::Dialect;

pub(super) struct Words {
    pub(super) dialect: Arc<dyn Dialect>,
}

impl MigrationName for Words {
    fn name(&self) -> &str {
        "m0005_words"
    }
}

/// The old and new names of indexes, and the statements that create the new ones.
const INDEXES: [[&str; 3]; 5] = [
    [
        "stent_task_slot",
        "stent_task_limit",
        "ON \"stent_task\" (\"limit_key\", \"ready_at\") WHERE limit_key IS NOT NULL",
    ],
    ["stent_memo_execution", "stent_keys_execution", "ON \"stent_keys\" (\"execution_id\")"],
    [
        "stent_memo_ended",
        "stent_keys_ended",
        "ON \"stent_keys\" (\"ended_at\") WHERE kind = 'result' AND ended_at IS NOT NULL",
    ],
    [
        "stent_memo_expiry",
        "stent_keys_expiry",
        "ON \"stent_keys\" (\"expires_at\") WHERE kind = 'result' AND expires_at IS NOT NULL",
    ],
    ["stent_tried_execution", "stent_ended_claims_execution", "ON \"stent_ended_claims\" (\"execution_id\")"],
];

/// Only roots are redriven. Each statement finds its roots in an index.
const MARKS: [&str; 2] = [
    "UPDATE stent_task SET mark = 'redrive' WHERE mark = 'revive' AND parent_id IS NULL AND ended_at IS NULL",
    "UPDATE stent_task SET mark = 'redrive' WHERE mark = 'revive' AND parent_id IS NULL AND ended_at IS NOT NULL",
];

#[async_trait]
impl MigrationTrait for Words {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let mut statements: Vec<String> = [
            "DROP VIEW stent_execution_view",
            "DROP VIEW stent_task_view",
            "ALTER TABLE stent_memo RENAME TO stent_keys",
            "ALTER TABLE stent_tried RENAME TO stent_ended_claims",
            "ALTER TABLE stent_task RENAME COLUMN tries TO uncommitted_claims",
            "ALTER TABLE stent_task RENAME COLUMN wake_at TO wake_threshold",
            "ALTER TABLE stent_task RENAME COLUMN slot TO limit_key",
            MARKS[0],
            MARKS[1],
        ]
        .map(str::to_owned)
        .into();
        for [old, new, index] in INDEXES {
            if self.dialect.renames_indexes() {
                statements.push(format!("ALTER INDEX {old} RENAME TO {new}"));
            } else {
                statements.push(format!("DROP INDEX {old}"));
                statements.push(format!("CREATE INDEX \"{new}\" {index}"));
            }
        }
        if self.dialect.renames_indexes() {
            // Some databases name the indexes of primary keys.
            for (old, new) in
                [("stent_memo_pkey", "stent_keys_pkey"), ("stent_tried_pkey", "stent_ended_claims_pkey")]
            {
                statements.push(format!("ALTER INDEX IF EXISTS {old} RENAME TO {new}"));
            }
        }
        statements.extend(views(&*self.dialect));
        for statement in statements {
            connection.execute_unprepared(&statement).await?;
        }
        Ok(())
    }
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
             status, mark, CASE WHEN epoch < 2147483648 THEN epoch ELSE epoch >> 31 END AS epoch, uncommitted_claims, \
             attempts, crashes, releases, worker_id, done, done_order, fed, total, failure, {}, {moments} \
             FROM stent_task",
            iso("ready_at")
        ),
    ]
}
