//! `stent_worker`: what workers say of themselves. No other table changes, so workers of the version before may go on.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sea_query::{Alias, Index, Table};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use super::{column, storage};
use crate::Dialect;

pub(super) struct Workers {
    pub(super) dialect: Arc<dyn Dialect>,
}

impl MigrationName for Workers {
    fn name(&self) -> &str {
        "m0007_workers"
    }
}

#[async_trait]
impl MigrationTrait for Workers {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Alias::new("stent_worker"))
            .col(column("id").uuid().not_null().primary_key())
            .col(column("state").text().not_null())
            .col(column("seen_at").big_integer().not_null())
            .col(column("record").text().not_null())
            .take();
        manager.create_table(table).await?;
        let seen = Index::create()
            .name("stent_worker_seen")
            .table(Alias::new("stent_worker"))
            .col(Alias::new("seen_at"))
            .col(Alias::new("id"))
            .take();
        manager.create_index(seen).await?;
        for storage in storage(&*self.dialect, &["stent_worker"]) {
            manager.get_connection().execute_unprepared(&storage).await?;
        }
        Ok(())
    }
}
