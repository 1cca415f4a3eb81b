//! The schema and its history. A released migration never changes; later changes are new migrations.

mod m0001_tables;
mod m0002_keys;
mod m0003_nonces;
mod m0005_words;
mod m0006_marks;
mod m0007_workers;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sea_query::{Alias, ColumnDef, IntoIden, Query, Table};
use sea_orm::{ConnectionTrait, DbErr, DynIden};
use sea_orm_migration::{
    IntoSchemaManagerConnection, MigrationName, MigrationTrait, MigratorTraitSelf, SchemaManager,
};

use crate::Dialect;

/// The indexes of the present schema, besides primary keys. Stent's statements find their rows by them.
pub const INDEXES: [&str; 20] = [
    "stent_ended_claims_execution",
    "stent_keys_ended",
    "stent_keys_execution",
    "stent_keys_expiry",
    "stent_progress_execution",
    "stent_task_dead",
    "stent_task_ended",
    "stent_task_execution",
    "stent_task_expiry",
    "stent_task_key",
    "stent_task_limit",
    "stent_task_live",
    "stent_task_open",
    "stent_task_past",
    "stent_task_ready",
    "stent_task_reason",
    "stent_task_step",
    "stent_task_stopped_by",
    "stent_task_stopping",
    "stent_worker_seen",
];

/// Applies Stent's migrations, which are recorded apart from those of the application.
pub struct Migrator {
    dialect: Arc<dyn Dialect>,
}

impl Migrator {
    /// Name of the table that records them.
    pub const TABLE: &'static str = "stent_migration";

    /// A migrator for a dialect.
    #[must_use]
    pub const fn new(dialect: Arc<dyn Dialect>) -> Self {
        Self { dialect }
    }

    /// The migrations that a database has seen, by name. Reads only.
    pub(crate) async fn applied<'c, C>(&self, connection: &'c C) -> Result<Vec<String>, DbErr>
    where
        C: ConnectionTrait,
        &'c C: IntoSchemaManagerConnection<'c>,
    {
        if !SchemaManager::new(connection).has_table(Self::TABLE).await? {
            return Ok(Vec::new());
        }
        let query = Query::select().column(Alias::new("version")).from(Alias::new(Self::TABLE)).take();
        connection.query_all(&query).await?.iter().map(|row| row.try_get_by_index(0)).collect()
    }
}

/// Storage parameters of new tables, if the dialect sets any.
fn storage<'a>(dialect: &'a dyn Dialect, tables: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    tables.iter().filter_map(|table| Some(format!("ALTER TABLE {table} {}", dialect.storage(table)?)))
}

/// A migration that adds a column to `stent_task`. Existing rows get null in it, or its default.
struct TaskColumn {
    name: &'static str,
    column: fn() -> ColumnDef,
}

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

impl MigrationName for TaskColumn {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait]
impl MigrationTrait for TaskColumn {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = (self.column)();
        manager.alter_table(Table::alter().table(Alias::new("stent_task")).add_column(column).take()).await
    }
}

impl MigratorTraitSelf for Migrator {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        let dialect = || Arc::clone(&self.dialect);
        vec![
            Box::new(m0001_tables::Tables { dialect: dialect() }),
            Box::new(m0002_keys::Keys { dialect: dialect() }),
            Box::new(m0003_nonces::Nonces { dialect: dialect() }),
            // Steps carry a digest of their arguments. Older steps have none, and are not compared.
            Box::new(TaskColumn { name: "m0004_digests", column: || column("digest").big_integer().take() }),
            Box::new(m0005_words::Words { dialect: dialect() }),
            Box::new(m0006_marks::Marks { dialect: dialect() }),
            Box::new(m0007_workers::Workers { dialect: dialect() }),
        ]
    }

    fn migration_table_name(&self) -> DynIden {
        Alias::new(Self::TABLE).into_iden()
    }
}

impl fmt::Debug for Migrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrator").field("dialect", &self.dialect.name()).finish()
    }
}
