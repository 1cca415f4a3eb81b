//! The table of mutants: what each does, what that breaks, what caught it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use stent_conformance::Guarantee;

/// Rows by the number of the mutant: trials end in any order.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<BTreeMap<usize, [String; 4]>>);

impl Table {
    /// Adds a mutant that was run against so many cases and caught by so many of them.
    pub(crate) fn add(&self, n: usize, name: &str, breaks: Guarantee, case: &str, caught: usize, cases: usize) {
        let row = [name.to_owned(), breaks.id().to_owned(), case.to_owned(), format!("{caught} of {cases}")];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(n, row);
    }

    pub(crate) fn print(&self) {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.is_empty() {
            return;
        }
        let head = ["a store that", "breaks", "is caught by", "cases that fail"].map(str::to_owned);
        let width = |column: usize| {
            rows.values().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let [name, breaks, case] = [0, 1, 2].map(width);
        for row in [&head].into_iter().chain(rows.values()) {
            println!("{:name$}  {:breaks$}  {:case$}  {}", row[0], row[1], row[2], row[3]);
        }
    }
}
