//! The application's transaction whose closure is being polled: its store, and whether one of its writes was torn.
//!
//! The closure's own writes go through [`written_within`]. A write to the same store outside the transaction is
//! refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stent_core::backend::Store;

use crate::error::{Error, Result};

tokio::task_local! {
    static AMBIENT: Arc<AmbientTransaction>;
}

/// The open transaction of the code being polled.
#[derive(Debug)]
pub(crate) struct AmbientTransaction {
    store: Arc<dyn Store>,
    /// Number of writes that have begun and not ended.
    writes: AtomicU32,
}

#[cfg(feature = "sql")]
impl AmbientTransaction {
    /// A transaction on this store.
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, writes: AtomicU32::new(0) })
    }

    /// Polls the transaction's closure.
    pub(crate) fn enter<T>(self: &Arc<Self>, body: impl FnOnce() -> T) -> T {
        AMBIENT.sync_scope(self.clone(), body)
    }

    /// Whether a write was dropped before it ended. The driver may then have rolled back more than that write without
    /// reporting it.
    pub(crate) fn is_torn(&self) -> bool {
        self.writes.load(Ordering::Acquire) > 0
    }
}

/// Whether the code being polled is the closure of a transaction.
pub(crate) fn is_within() -> bool {
    AMBIENT.try_with(|_| ()).is_ok()
}

/// Refuses a write to `store` outside the transaction that the code is in. On SQLite the write would wait for that
/// transaction forever.
///
/// # Errors
/// Names the remedy.
pub(crate) fn check_not_within(store: &Arc<dyn Store>) -> Result<()> {
    let is_past = AMBIENT.try_with(|ambient| Arc::ptr_eq(&ambient.store, store)).unwrap_or(false);
    if !is_past {
        return Ok(());
    }
    Err(Error::InTransaction {
        what: "a dispatch or a signal".to_owned(),
        remedy: "must be part of the transaction: add .within(&txn)",
    })
}

/// Awaits a write that is part of a transaction, and records if it is dropped before it ends.
pub(crate) async fn written_within<T>(write: impl Future<Output = T>) -> T {
    let ambient = AMBIENT.try_with(Clone::clone).ok();
    if let Some(ambient) = &ambient {
        ambient.writes.fetch_add(1, Ordering::AcqRel);
    }
    let written = write.await;
    if let Some(ambient) = &ambient {
        ambient.writes.fetch_sub(1, Ordering::AcqRel);
    }
    written
}
