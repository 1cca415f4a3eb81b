//! Copies of a store, where a database is a file.

use std::fmt::Debug;
use std::path::Path;

use async_trait::async_trait;
use stent_core::backend::Result;

/// Copies a whole store: see [`Backend::backup_to`](stent_core::backend::Backend::backup_to).
#[async_trait]
pub trait Backup: Debug + Send + Sync + 'static {
    /// Writes a copy into a new file.
    ///
    /// # Errors
    /// Nothing is left of a copy that failed.
    ///
    /// # Cancel safety
    /// A copy that was begun is brought to its end.
    async fn copy_to(&self, path: &Path) -> Result<()>;
}
