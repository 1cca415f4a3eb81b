//! Steps carry a digest of their arguments. Those that were written before have none, and are not compared.

use async_trait::async_trait;
use sea_orm::DbErr;
use sea_orm::sea_query::{Alias, ColumnDef, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Digests;

impl MigrationName for Digests {
    fn name(&self) -> &str {
        "m0004_digests"
    }
}

#[async_trait]
impl MigrationTrait for Digests {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let digest = ColumnDef::new(Alias::new("digest")).big_integer().take();
        manager.alter_table(Table::alter().table(Alias::new("stent_task")).add_column(digest).take()).await
    }
}
