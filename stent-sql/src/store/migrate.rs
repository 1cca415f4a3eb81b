//! Migrates the schema to the version that this program needs.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use sea_orm_migration::MigratorTraitSelf;
use stent_core::backend::{Backend, Error, ErrorKind, Migrate, Result, SchemaVersion};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use super::SqlStore;
use crate::migration::{Migrator, Seen};

pub(super) const OPERATION: &str = "migrate";

#[async_trait]
impl Migrate for SqlStore {
    async fn migrate(&self) -> Result<()> {
        self.check_connection().await?;
        self.bring_up_to_date().await?;
        // Queried now, while no other call uses the store's connections (see `within`), and not before there is a schema.
        self.home().await.map(drop)
    }

    async fn version(&self) -> Result<SchemaVersion> {
        let (applied, known) = (self.applied().await?.len(), self.migrator().migrations().len());
        Ok(SchemaVersion { applied: applied as u32, known: known as u32 })
    }

    async fn restore_indexes(&self) -> Result<Vec<String>> {
        // Its indexes are those of the present schema.
        if self.migrator().check(&self.applied().await?)? == Standing::Behind {
            return Ok(Vec::new());
        }
        let transaction = self.begin(OPERATION).await?;
        self.run_all(&transaction, &self.dialect.before_migrations()).await?;
        let missing = self.migrator().missing(&*transaction).await;
        let missing = missing.map_err(|error| self.error(OPERATION, error))?;
        let statements: Vec<_> = missing.iter().map(|index| index.create("", None)).collect();
        self.run_all(&transaction, &statements).await?;
        self.commit(OPERATION, transaction).await?;
        let names: Vec<_> = missing.iter().map(|index| index.name.to_owned()).collect();
        if !names.is_empty() {
            let (store, indexes) = (self.info().location, names.join(", "));
            tracing::info!(store, indexes, "created missing indexes of {store} again: {indexes}");
        }
        Ok(names)
    }
}

impl SqlStore {
    async fn check_connection(&self) -> Result<()> {
        let Some(check) = self.dialect.check() else { return Ok(()) };
        match self.reading(OPERATION)?.connection.execute_unprepared(&check).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(OPERATION, error).await),
        }
    }

    async fn bring_up_to_date(&self) -> Result<()> {
        let migrator = self.migrator();
        // Most starts have nothing to migrate, and must not wait for a writer to find that out.
        if migrator.check(&self.applied().await?)? == Standing::Current {
            return Ok(());
        }
        // Other processes that migrate wait for this transaction, and then have nothing to do.
        let transaction = self.begin(OPERATION).await?;
        self.run_all(&transaction, &self.dialect.before_migrations()).await?;
        let applied = self.applied_within(&transaction).await?;
        if migrator.check(&applied)? == Standing::Behind {
            // The library logs each of its steps at INFO, and servers' notices.
            let up = migrator.up(&*transaction, None).with_subscriber(Dispatch::none()).await;
            up.map_err(|error| self.error(OPERATION, error))?;
            self.run_all(&transaction, &self.dialect.after_migrations()).await?;
        }
        self.commit(OPERATION, transaction).await?;
        if applied.len() == migrator.migrations().len() {
            return Ok(());
        }
        let (store, known) = (self.info().location, migrator.migrations().len());
        tracing::info!(store, from = applied.len(), to = known, "migrated the schema of {store}");
        Ok(())
    }

    fn migrator(&self) -> Migrator {
        Migrator::new(std::sync::Arc::clone(&self.dialect))
    }

    async fn run_all(&self, transaction: &DatabaseTransaction, statements: &[String]) -> Result<()> {
        for statement in statements {
            let run = transaction.execute_unprepared(statement).await;
            run.map_err(|error| self.error(OPERATION, error))?;
        }
        Ok(())
    }

    async fn applied(&self) -> Result<Vec<String>> {
        let seen = match self.dialect.enter() {
            Some(enter) => {
                let transaction = self.begin_to_read(OPERATION, &enter).await?;
                self.migrator().seen(&transaction).await
            }
            None => self.migrator().seen(self.reading(OPERATION)?.connection).await,
        };
        match seen {
            Ok(seen) => readable(seen),
            Err(error) => Err(self.failed(OPERATION, error).await),
        }
    }

    async fn applied_within(&self, transaction: &DatabaseTransaction) -> Result<Vec<String>> {
        let seen = self.migrator().seen(transaction).await;
        readable(seen.map_err(|error| self.error(OPERATION, error))?)
    }
}

fn readable(seen: Seen) -> Result<Vec<String>> {
    match seen {
        Seen::Applied(applied) => Ok(applied),
        Seen::Refused(lacking) => Err(Error::new(ErrorKind::Config, OPERATION).with_message(lacking)),
    }
}

/// The schema of a store compared with this program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Behind,
    Current,
}

impl Migrator {
    fn check(&self, applied: &[String]) -> Result<Standing> {
        let known: Vec<_> = self.migrations().iter().map(|migration| migration.name().to_owned()).collect();
        if let Some(unknown) = applied.iter().find(|name| !known.contains(name)) {
            let message = format!(
                "the store has the migration {unknown:?}, which this program does not know (its last one is {:?}): a \
                 newer version of the program has migrated the store; upgrade this program",
                known.last().map_or("none", String::as_str)
            );
            return Err(Error::new(ErrorKind::Schema, OPERATION).with_message(message));
        }
        Ok(if applied.len() < known.len() { Standing::Behind } else { Standing::Current })
    }
}
