//! The schema and its history. A released migration never changes; later changes are new migrations.

mod indexes;
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
use sea_orm::{ConnectionTrait, DbErr, DynIden, Statement};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTraitSelf, SchemaManager};

use crate::Dialect;

pub use indexes::{INDEXES, Index};

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
    pub(crate) async fn seen(&self, connection: &impl ConnectionTrait) -> Result<Seen, DbErr> {
        let query =
            Statement::from_string(connection.get_database_backend(), self.dialect.find_table(Self::TABLE));
        let Some(table) = connection.query_one_raw(query).await? else {
            return Ok(Seen::Applied(Vec::new()));
        };
        if let Some(lacking) = table.try_get_by_index::<Option<String>>(0)? {
            return Ok(Seen::Refused(lacking));
        }
        let query = Query::select().column(Alias::new("version")).from(Alias::new(Self::TABLE)).take();
        let rows = connection.query_all(&query).await?;
        rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, DbErr>>().map(Seen::Applied)
    }

    /// The indexes of the present schema that a database lacks. Reads only.
    pub(crate) async fn missing(&self, connection: &impl ConnectionTrait) -> Result<Vec<Index>, DbErr> {
        let query = Statement::from_string(connection.get_database_backend(), self.dialect.indexes());
        let rows = connection.query_all_raw(query).await?;
        let found: Vec<String> =
            rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, DbErr>>()?;
        Ok(INDEXES.into_iter().filter(|index| !found.iter().any(|name| name == index.name)).collect())
    }
}

/// What a database shows of its schema.
pub(crate) enum Seen {
    /// The migrations that were applied.
    Applied(Vec<String>),
    /// The tables exist, and the user may not read them: what the user lacks, and the remedy.
    Refused(String),
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
