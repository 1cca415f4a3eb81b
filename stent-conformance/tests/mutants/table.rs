//! The table of mutants: the fault of each, the guarantee that it breaks, and the cases that caught it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use stent_conformance::Guarantee;

/// Rows by the number of the mutant, because trials end in any order.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<BTreeMap<usize, Row>>);

/// The result of a mutant.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its fault.
    pub(crate) name: &'static str,
    /// The guarantee that it breaks.
    pub(crate) breaks: Guarantee,
    /// The case that it names.
    pub(crate) case: &'static str,
    /// Whether that case caught it, for the right reason.
    pub(crate) caught: bool,
    /// How many cases have failed.
    pub(crate) failed: usize,
    /// How many cases ran.
    pub(crate) played: usize,
}

impl Row {
    fn cells(&self) -> [String; 4] {
        let case = if self.caught { self.case.to_owned() } else { format!("SURVIVES {}", self.case) };
        let failed = format!("{} of {}", self.failed, self.played);
        [self.name.to_owned(), self.breaks.id().to_owned(), case, failed]
    }
}

impl Table {
    /// Adds the mutant with this number.
    pub(crate) fn add(&self, n: usize, row: Row) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(n, row);
    }

    /// Prints the rows, if there are any, and the number of caught mutants.
    pub(crate) fn print(&self) {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.is_empty() {
            return;
        }
        let head = ["a store that", "breaks", "is caught by", "cases that fail"].map(str::to_owned);
        let cells: Vec<_> = [head].into_iter().chain(rows.values().map(Row::cells)).collect();
        let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or_default();
        let [name, breaks, case] = [0, 1, 2].map(width);
        for row in &cells {
            println!("{:name$}  {:breaks$}  {:case$}  {}", row[0], row[1], row[2], row[3]);
        }
        let survivors = rows.values().filter(|row| !row.caught).count();
        println!("\n{} mutants, {} caught, {survivors} survived", rows.len(), rows.len() - survivors);
    }
}
