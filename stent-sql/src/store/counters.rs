//! Counts the store's work, so that tests can check budgets.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counted work of a store so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions whose commit was sent.
    pub transactions: u64,
    /// Statements run, without those that begin and end transactions.
    pub statements: u64,
    /// Rows inserted, updated or deleted.
    pub rows_written: u64,
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            transactions: self.transactions - earlier.transactions,
            statements: self.statements - earlier.statements,
            rows_written: self.rows_written - earlier.rows_written,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    transactions: AtomicU64,
    statements: AtomicU64,
    rows_written: AtomicU64,
}

impl Tally {
    pub(super) fn transaction(&self) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn statement(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rows_written(&self, rows: u64) {
        self.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            transactions: self.transactions.load(Ordering::Relaxed),
            statements: self.statements.load(Ordering::Relaxed),
            rows_written: self.rows_written.load(Ordering::Relaxed),
        }
    }
}
