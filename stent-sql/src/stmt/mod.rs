//! One pure builder per intent. Each statement's text is rendered once per store and never depends on how much it is
//! asked to do: what varies is in its parameters.
//!
//! Builders take a [`Sql`], which knows the dialect, and give a sea-query statement. They bind nothing through sea-query:
//! parameters are numbered here, so that one that is used in many places is sent once.

mod claim;
mod inspect;
mod lane;
mod lease;
mod purge;
mod read;
mod step;
mod tree;
mod write;

use sea_orm::sea_query::{
    Alias, CommonTableExpression, DynIden, Expr, IntoIden, SelectStatement, SubQueryStatement, Value,
};

use crate::Dialect;
use crate::batch::Column;

/// Name of the derived table that holds a batch.
const BATCH: &str = "batch";

/// sea-query takes a limit as a number only. A limit that is a parameter is written as this number plus the parameter's,
/// which nobody means, and replaced by the parameter in the text.
const LIMIT_PARAM: u64 = 9_000_000_000_000_000_000;

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident: $build:path,)+) => {
        /// The text of every statement of the store, rendered for one dialect.
        #[derive(Clone, Debug)]
        pub struct Statements {
            $($(#[$doc])* pub $name: String,)+
        }

        impl Statements {
            /// Renders every statement.
            #[must_use]
            pub fn new(dialect: &dyn Dialect) -> Self {
                let sql = Sql { dialect };
                Self { $($name: sql.text($build(sql)),)+ }
            }

            /// Every statement by name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
                [$((stringify!($name), self.$name.as_str())),+].into_iter()
            }
        }
    };
}

statements! {
    /// Reads the rows that transitions read. Batch: ids.
    read: read::read,
    /// Writes new tasks. Batch: tasks.
    insert: write::insert,
    /// Writes what has changed of tasks. Batch: rows.
    update: write::update,
    /// Writes lanes, and gives what is stored under their keys. Batch: lanes.
    lane: lane::insert,
    /// Cancels what is open below tasks. Batch: ids.
    sweep: tree::sweep,
    /// Deletes tasks with everything below them. Batch: ids.
    erase: tree::erase,
    /// Lists lanes by priority, with their next moments. Parameter: now.
    streams: claim::streams,
    /// Picks due tasks. Batch: streams. Parameters: now, how many.
    pick: claim::pick,
    /// Writes claims. Batch: claimed rows.
    claim: write::claim,
    /// Reads steps. Batch: whose, and which of them.
    steps: step::steps,
    /// Extends leases. Batch: leases. Parameter: until.
    renew: lease::renew,
    /// Picks roots that ended. Parameters: before, how many.
    ended: purge::ended,
    /// Deletes the tasks below roots. Batch: ids of executions.
    purge_steps: purge::steps,
    /// Deletes roots. Batch: ids.
    purge_roots: purge::roots,
    /// Reads the clock.
    clock: inspect::clock,
    /// Reads executions. Batch: ids.
    executions: inspect::executions,
    /// Reads a page of an execution's steps. Parameters: execution, after, how many.
    tasks: inspect::tasks,
    /// Reads a page of a map's items. Parameters: map, from, how many.
    items: inspect::items,
}

/// What builders build with.
#[derive(Clone, Copy, Debug)]
struct Sql<'a> {
    dialect: &'a dyn Dialect,
}

impl Sql<'_> {
    fn text(self, query: impl Into<SubQueryStatement>) -> String {
        let mut text = self.dialect.render(&query.into());
        for n in 1..=9 {
            text = text.replace(&(LIMIT_PARAM + n).to_string(), &self.dialect.param(n as usize));
        }
        text
    }

    /// The n-th parameter.
    fn param(self, n: usize) -> Expr {
        Expr::cust(self.dialect.param(n))
    }

    /// The n-th parameter after those of a batch.
    fn param_after(self, columns: &[Column], n: usize) -> Expr {
        self.param(self.dialect.batch_params(columns) + n)
    }

    /// The n-th parameter after those of a batch, as a limit.
    fn limit_after(self, columns: &[Column], n: usize) -> u64 {
        limit((self.dialect.batch_params(columns) + n) as u64)
    }

    /// The batch as a common table, computed once.
    fn batch(self, columns: &[Column]) -> CommonTableExpression {
        let mut cte = CommonTableExpression::from_select(self.dialect.batch_source(columns, 1));
        cte.table_name(BATCH).materialized(true);
        cte
    }

    /// The batch as a derived table.
    fn batch_rows(self, columns: &[Column]) -> SelectStatement {
        self.dialect.batch_source(columns, 1)
    }
}

/// The n-th parameter as a limit.
const fn limit(n: u64) -> u64 {
    LIMIT_PARAM + n
}

/// A constant that is part of the text.
fn literal(value: impl Into<Value>) -> Expr {
    Expr::Constant(value.into())
}

fn name(name: &'static str) -> DynIden {
    Alias::new(name).into_iden()
}

/// A column of the batch.
fn in_batch(column: &'static str) -> Expr {
    Expr::col((name(BATCH), name(column)))
}
