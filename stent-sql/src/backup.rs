//! Copies of a store whose database is a file.

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
    /// A copy that fails leaves no file.
    ///
    /// # Cancel safety
    /// A copy that has begun is completed.
    async fn copy_to(&self, path: &Path) -> Result<()>;
}
