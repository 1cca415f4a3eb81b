//! A store in front of another one, whose transactions misbehave on command.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use stent::Timestamp;
use stent::backend::model::Lease;
use stent::backend::transition::{Outcome, Transition};
use stent::backend::{Error, ErrorKind, Forward, HostTransaction, Renewal, Result, Store, Transactions};

use crate::front::{refused, takes_one};

/// For this many calls from now on, a call misbehaves in this way.
#[derive(Debug)]
pub(crate) struct Rigged {
    inner: Arc<dyn Store>,
    /// A commit is made, and fails all the same.
    pub(crate) lies: AtomicU64,
    /// A commit fails, and is not made.
    pub(crate) fails: AtomicU64,
    /// A record is refused, as if its claim were stale.
    pub(crate) fences: AtomicU64,
    /// No transaction can begin.
    pub(crate) busy: AtomicU64,
    /// No lease is renewed.
    pub(crate) lapses: AtomicU64,
}

impl Rigged {
    pub(crate) fn new(inner: &Arc<dyn Store>) -> Arc<Self> {
        let (lies, fails, fences, busy, lapses) = Default::default();
        Arc::new(Self { inner: inner.clone(), lies, fails, fences, busy, lapses })
    }
}

impl Rigged {
    fn real(&self) -> &dyn Transactions {
        self.inner.transactions().unwrap()
    }
}

fn lost() -> Error {
    refused(ErrorKind::Unavailable, "commit")
}

#[async_trait]
impl Transactions for Rigged {
    async fn begin(&self) -> Result<Arc<HostTransaction>> {
        if takes_one(&self.busy) {
            return Err(refused(ErrorKind::Contended, "begin"));
        }
        self.real().begin().await
    }

    async fn exchange_within(
        &self,
        transaction: &HostTransaction,
        commit: &[Transition],
    ) -> Result<Vec<Outcome>> {
        if takes_one(&self.fences) {
            return Ok(vec![Outcome::Fenced]);
        }
        self.real().exchange_within(transaction, commit).await
    }

    async fn commit(&self, transaction: Arc<HostTransaction>) -> Result<()> {
        if takes_one(&self.fails) {
            return Err(lost());
        }
        self.real().commit(transaction).await?;
        if takes_one(&self.lies) { Err(lost()) } else { Ok(()) }
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.real().classify(error)
    }
}

#[async_trait]
impl Forward for Rigged {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        if takes_one(&self.lapses) {
            return Err(lost());
        }
        self.inner.renew(leases, now, until).await
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        Some(self)
    }
}
