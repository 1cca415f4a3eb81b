//! The tables: every column once, with its name and type. Rows of statements are checked against them at compile time,
//! and rows of tasks are encoded and decoded beside their table.
//!
//! Moments are microseconds since the Unix epoch, UTC; the views `stent_execution_view` and `stent_task_view` show them as
//! ISO 8601 texts. There are no foreign keys: each would cost every insert a look-up.

pub(crate) mod ended_claim;
pub(crate) mod key;
pub(crate) mod lane;
pub(crate) mod note;
pub(crate) mod progress;
pub(crate) mod rate;
pub(crate) mod task;
pub(crate) mod worker;

/// Declares the columns of a table: for each, a constant with its name, and its type.
macro_rules! table {
    ($table:literal { $($(#[$doc:meta])* $name:ident $text:literal: $type:ty,)+ }) => {
        /// The table's name.
        pub(crate) const TABLE: &str = $table;

        $($(#[$doc])* #[allow(dead_code, reason = "every column has a name, whether a statement uses it or not")]
        pub(crate) const $name: &str = $text;)+

        /// Every column of the table.
        pub(crate) const COLUMNS: &[$crate::batch::Column] = $crate::row::shape::Columns::as_slice(
            &const { $crate::row::shape::Columns::new()$(.with($crate::row::shape::column::<$type>($text)))+ }
        );

        const _: () = { $(assert!($text.eq_ignore_ascii_case(stringify!($name)), "a column's constant has another name");)+ };
    };
}
use table;
