//! One pure builder per intent. Each statement's text is rendered once per store and never depends on how much it is
//! asked to do: what varies is in its parameters.
//!
//! Builders take a [`Sql`], which knows the dialect, and give a sea-query statement. They bind nothing through sea-query:
//! parameters are numbered here, so that one that is used in many places is sent once.

mod claim;
mod inspect;
mod key;
mod lane;
mod lease;
mod limit;
mod lock;
mod note;
mod purge;
mod read;
mod step;
mod tree;
mod write;

use sea_orm::sea_query::{
    Alias, CaseStatement, CommonTableExpression, DynIden, Expr, ExprTrait, Func, InsertStatement,
    IntoColumnRef, IntoIden, IntoTableRef, Order, Query, SelectExpr, SelectStatement, SubQueryStatement,
    TableRef, Value,
};

use crate::batch::{Column, Kind};
use crate::dialect::len_of;
use crate::table::task;
use crate::{Dialect, Writers};

/// Name of the derived table that holds a batch.
const BATCH: &str = "batch";

/// sea-query takes a limit as a number only. A limit that is a parameter is written as this number plus the parameter's,
/// which nobody means, and replaced by the parameter in the text.
const LIMIT_PARAM: u64 = 9_000_000_000_000_000_000;

/// Most parameters of a statement that has a limit.
const PARAMS_MAX: usize = 9;

/// A statement of the store.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What is sent.
    pub text: String,
    /// What each row that comes back consists of; nothing for a statement that only writes.
    pub gives: &'static [Column],
    /// Whether rows come back [packed](Dialect::pack).
    pub packed: bool,
}

macro_rules! statements {
    ($(#[$about:meta])* $all:ident { $($(#[$doc:meta])* $name:ident: $build:path,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $all {
            $($(#[$doc])* pub $name: Statement,)+
        }

        impl $all {
            /// Renders every statement.
            #[must_use]
            pub fn new(dialect: &dyn Dialect) -> Self {
                let sql = Sql { dialect };
                Self { $($name: $build(sql).render(sql),)+ }
            }

            /// Every statement by name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Statement)> {
                [$((stringify!($name), &self.$name)),+].into_iter()
            }
        }
    };
}

statements! {
    /// What locks where [many](Writers::Many) write at once.
    Locks {
    /// Takes locks by number. Batch: numbers.
    hold: lock::hold,
    /// Locks every open task below tasks. Batch: ids.
    hold_below: lock::below,
    /// Locks every open task below the roots of executions. Batch: ids of executions.
    hold_within: lock::within,
    /// Reads which leases could be extended but for the locks of others. Batch: leases. Parameter: now.
    held: lease::held,
    /// Locks roots that are open. Batch: ids.
    hold_roots: lock::stopping,
    }
}

statements! {
    /// Every statement of the store, rendered for one dialect, but for those that only lock.
    Statements {
    /// Reads the rows that transitions read. Batch: ids.
    read: read::read,
    /// Reads them, and what is open under keys. Batches: ids, keys.
    read_keyed: read::read_keyed,
    /// Reads key entries. Batch: keys.
    keys: key::read,
    /// Writes new tasks, if their lanes are stored. Batches: tasks, keys of lanes. Parameter between them: how many lanes.
    insert: write::insert,
    /// Writes new tasks that have more than most, if their lanes are stored. Batches and parameter: the same.
    insert_rare: write::insert_rare,
    /// Writes what has changed of tasks. Batch: rows.
    update: write::update,
    /// Writes what has changed of tasks that have more than most. Batch: rows.
    update_rare: write::update_rare,
    /// Copies results. Batch: to whom, and whose.
    copy: write::copy,
    /// Writes key entries. Batch: key entries.
    write_keys: key::write,
    /// Deletes key entries. Batch: keys.
    forget: key::forget,
    /// Gives values back to key entries. Batch: keys, and who took the values.
    restore: key::restore,
    /// Writes counters and states that are new. Batch: notes.
    first: note::first,
    /// Adds to counters. Batch: notes.
    count: note::count,
    /// Adds to counters to and fro. Batch: counters, with what comes of them.
    recount: note::recount,
    /// Sets states. Batch: notes.
    set: note::set,
    /// Writes entries of progress. Batch: entries.
    progress: note::progress,
    /// Deletes entries of progress that are too many. Batch: ids of executions.
    trim_progress: note::trim_progress,
    /// Writes ended claims. Batch: ended claims.
    ended_claims: note::ended_claims,
    /// Asks what is open in executions to end. Batch: executions and when.
    stop: tree::stop,
    /// Writes lanes, and gives what is stored under their keys. Batch: lanes.
    lane: lane::insert,
    /// Reads lanes. Batch: keys of lanes.
    stored_lanes: lane::read,
    /// Finds lanes that are not stored though tasks are ready in them.
    lost_lanes: lane::lost,
    /// Cancels what is open below tasks. Batch: the tasks and when they ended.
    sweep: tree::sweep,
    /// Deletes the ended claims of tasks and of everything below them. Batch: ids.
    erase_ended_claims: tree::erase_ended_claims,
    /// Deletes tasks with everything below them. Batch: ids.
    erase: tree::erase,
    /// Finds the next steps of cascades. Batch: executions and when.
    cascade: key::cascade,
    /// Finds tasks that are over or asked to end. Parameters: now, worker.
    ends: limit::ends,
    /// Lists lanes by priority, with their next moments. Parameter: now.
    streams: claim::streams,
    /// Picks due tasks. Batch: streams. Parameters: now, how many.
    pick: claim::pick,
    /// Counts what runs and has started. Batch: functions, and since when. Parameter: now.
    usage: limit::usage,
    /// Takes the places away of what is over. Batch: functions. Parameter: now.
    vacate: limit::vacate,
    /// Reads heads of streams. Batch: streams. Parameters: now, how many.
    heads: claim::heads,
    /// Picks due tasks, and brings others. Batches: streams, ids. Parameters between them: now, how many.
    pick_with: claim::pick_with,
    /// Adds to what has started. Batch: functions, when, and how many.
    rate: limit::rate,
    /// Deletes what has started before moments. Batch: functions and moments.
    trim_rate: limit::trim_rate,
    /// Writes claims of limited tasks, and of those taken over. Batch: claimed rows. Parameters: worker, until.
    claim_rare: write::claim_rare,
    /// Writes claims. Batch: claimed rows. Parameters: worker, until.
    claim: write::claim,
    /// Reads steps. Batch: whose, and which of them.
    steps: step::steps,
    /// Reads arguments that did not come along with their tasks. Batch: ids.
    overflow_args: read::overflow_args,
    /// Reads results that did not come along with their steps. Batch: ids.
    overflow_results: read::overflow_results,
    /// Extends leases, but for those that others have locked. Batch: leases. Parameters: until, now.
    renew: lease::renew,
    /// Picks roots that ended, but for dead letters. Parameters: before, how many.
    ended: purge::ended,
    /// Picks those of them that are not compacted, and tells whether there is anything to compact. Parameters: before, how
    /// many.
    whole: purge::whole,
    /// Picks dead letters. Parameters: before, how many.
    dead: purge::dead,
    /// Deletes signals of executions and the keys that they were dispatched under. Batch: ids of executions.
    purge_keys: purge::keys,
    /// Deletes notes of executions. Batch: ids of executions.
    purge_notes: purge::notes,
    /// Deletes the progress of executions. Batch: ids of executions. Parameter: how many rows.
    purge_progress: purge::entries,
    /// Deletes ended claims of executions. Batch: ids of executions. Parameter: how many rows.
    purge_ended_claims: purge::ended_claims,
    /// Writes what is left of steps. Batch: ids of executions.
    summary: purge::summary,
    /// Notes that roots are compacted. Batch: ids.
    compacted: purge::compacted,
    /// Picks results that are old. Parameters: before, how many, now.
    results: purge::results,
    /// Deletes the tasks below roots. Batch: ids of executions. Parameter: how many rows.
    purge_steps: purge::steps,
    /// Deletes roots. Batch: ids.
    purge_roots: purge::roots,
    /// Reads the clock.
    clock: inspect::clock,
    /// Reads in which database a connection is.
    home: inspect::home,
    /// Reads executions. Batch: ids.
    executions: inspect::executions,
    /// Reads a page of an execution's tasks. Parameters: execution, from which id, how many.
    tasks: inspect::tasks,
    /// Reads a page of a map's items. Parameters: map, from, how many.
    items: inspect::items,
    /// Reads what a task was called with. Parameter: task.
    args: inspect::args,
    /// Reads a page of executions. Parameters: up to which id, how many, status, function, queue, tag.
    list: inspect::list,
    /// Counts executions.
    tally: inspect::tally,
    /// Reads what waits in lanes. Parameter: now.
    lanes: inspect::lanes,
    /// Reads what runs. Parameter: how many.
    running: inspect::running,
    /// Reads a page of dead letters. Parameters: up to which id, how many.
    dead_letters: inspect::dead_letters,
    /// Reads a dead letter. Parameter: execution.
    dead_letter: inspect::dead_letter,
    /// Counts dead letters.
    dead_letter_stats: inspect::dead_letter_stats,
    /// Reads the notes of an execution. Parameter: execution.
    notes: note::notes,
    /// Reads the progress of an execution. Parameter: execution.
    read_progress: note::read_progress,
    /// Reads the ended claims of a task. Parameter: task.
    read_ended_claims: note::read_ended_claims,
    }
}

/// Which roots are dead letters, as the indexes of dead letters have it.
const DEAD: &str = "parent_id IS NULL AND status = 'failed' AND mark IS NULL";

/// Which roots that ended are no dead letters, as the index of ended roots has it.
const SETTLED: &str = "(status <> 'failed' OR mark IS NOT NULL)";

/// What builders build with.
#[derive(Clone, Copy, Debug)]
struct Sql<'a> {
    dialect: &'a dyn Dialect,
}

/// What a builder has built.
struct Built {
    query: SubQueryStatement,
    gives: &'static [Column],
    packed: bool,
}

impl Built {
    /// A statement that writes.
    fn write(query: impl Into<SubQueryStatement>) -> Self {
        Self { query: query.into(), gives: &[], packed: false }
    }

    /// A statement that gives rows.
    fn read(gives: &'static [Column], query: impl Into<SubQueryStatement>) -> Self {
        Self { query: query.into(), gives, packed: false }
    }

    fn render(self, sql: Sql<'_>) -> Statement {
        let mut text = sql.dialect.render(&self.query);
        for n in 1..=PARAMS_MAX {
            text = text.replace(&limit(n).to_string(), &sql.dialect.limit(n));
        }
        Statement { text, gives: self.gives, packed: self.packed }
    }
}

impl Sql<'_> {
    /// Whether rows that are read to be written must be locked.
    fn locks(self) -> bool {
        self.dialect.writers() != Writers::One
    }

    /// Rows that are read to be written, locked in the order of a column if they must be.
    fn locked(self, mut rows: SelectStatement, by: impl IntoColumnRef) -> SelectStatement {
        if self.locks() {
            rows.order_by(by, Order::Asc).lock_exclusive();
        }
        rows
    }

    /// Whether a column is one of the batch's, which has no other.
    fn in_batch_of(self, column: impl IntoColumnRef, batch: &[Column]) -> Expr {
        self.dialect.any_of(Expr::col(column), self.batch(batch))
    }

    /// A statement that gives many rows, though not more than were asked for.
    fn packed(self, gives: &'static [Column], query: SelectStatement) -> Built {
        Built { query: self.dialect.pack(query, gives, None).into(), gives, packed: true }
    }

    /// A statement that gives any number of rows.
    fn packed_by(self, number: &str, gives: &'static [Column], query: SelectStatement) -> Built {
        Built { query: self.dialect.pack(query, gives, Some(number)).into(), gives, packed: true }
    }

    /// The n-th parameter.
    fn param(self, n: usize) -> Expr {
        Expr::cust(self.dialect.param(n))
    }

    /// The n-th parameter after those of a batch.
    fn param_after(self, batch: &[Column], n: usize) -> Expr {
        self.param(self.dialect.batch_params(batch) + n)
    }

    /// The n-th parameter after those of a batch, as a limit.
    fn limit_after(self, batch: &[Column], n: usize) -> u64 {
        limit(self.dialect.batch_params(batch) + n)
    }

    /// The rows of the batch.
    fn batch(self, columns: &[Column]) -> SelectStatement {
        self.dialect.batch_source(columns, 1)
    }

    /// The rows of a second batch, whose parameters follow those of the first.
    fn batch_after(self, first: &[Column], columns: &[Column]) -> SelectStatement {
        self.dialect.batch_source(columns, self.dialect.batch_params(first) + 1)
    }

    /// The rows of the batch, to be inserted or else written over what is there.
    fn upserted(self, columns: &[Column]) -> SelectStatement {
        let mut rows = self.batch(columns);
        // SQLite reads the ON of an upsert as a join's, unless a WHERE stands between.
        rows.and_where(Expr::cust("TRUE"));
        rows
    }

    /// The batch as a derived table.
    fn batch_table(self, columns: &[Column]) -> TableRef {
        TableRef::SubQuery(Box::new(self.batch(columns)), name(BATCH))
    }

    /// The batch as a common table, which is computed once.
    fn batch_once(self, columns: &[Column]) -> CommonTableExpression {
        let mut table = CommonTableExpression::from_select(self.batch(columns));
        table.table_name(BATCH).materialized(true);
        table
    }
}

/// The n-th parameter as a limit.
const fn limit(n: usize) -> u64 {
    LIMIT_PARAM + n as u64
}

/// A constant that is part of the text.
fn literal(value: impl Into<Value>) -> Expr {
    Expr::Constant(value.into())
}

/// A number as a column has it: of 64 bits.
fn number(value: i64) -> Expr {
    Expr::cust(format!("CAST({value} AS bigint)"))
}

/// No number, of 64 bits.
fn no_number() -> Expr {
    Expr::cust("CAST(NULL AS bigint)")
}

fn null() -> Expr {
    Expr::cust("NULL")
}

fn name(name: &'static str) -> DynIden {
    Alias::new(name).into_iden()
}

fn names(columns: &[Column]) -> impl Iterator<Item = DynIden> {
    columns.iter().map(|column| name(column.name))
}

/// Writes the rows of a query to columns of a table.
fn insert_from<C: IntoIden>(
    table: impl IntoTableRef,
    columns: impl IntoIterator<Item = C>,
    rows: SelectStatement,
) -> InsertStatement {
    let mut insert = Query::insert();
    insert.into_table(table).columns(columns);
    insert.select_from(rows).expect("as many columns as values");
    insert
}

/// Columns of tasks, to be packed. What of it is large is left where it is, so that nothing is copied on the way that is
/// not wanted in the end.
fn carried<'a>(sql: Sql<'a>, columns: &'a [Column]) -> impl Iterator<Item = SelectExpr> + 'a {
    columns.iter().flat_map(move |column| {
        let value = Expr::col((task::TABLE, name(column.name)));
        match sql.dialect.inline_bytes_max().filter(|_| column.kind == Kind::Bytes) {
            None => vec![named(value, column.name)],
            Some(max) => {
                let len = || Expr::from(Func::cust(Alias::new("length")).arg(value.clone()));
                let inline = CaseStatement::new().case(len().lte(literal(max as i64)), value.clone());
                vec![named(inline.into(), column.name), named(len(), &len_of(column.name))]
            }
        }
    })
}

fn named(expr: Expr, alias: &str) -> SelectExpr {
    SelectExpr { expr, alias: Some(Alias::new(alias).into_iden()), window: None }
}

/// Columns of a table.
fn of(table: &'static str, columns: &[Column]) -> impl Iterator<Item = (DynIden, DynIden)> {
    columns.iter().map(move |column| (name(table), name(column.name)))
}

/// A column of the batch.
fn in_batch(column: &'static str) -> Expr {
    Expr::col((name(BATCH), name(column)))
}
