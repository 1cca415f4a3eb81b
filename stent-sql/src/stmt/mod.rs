//! One pure builder per intent. Each statement is rendered once per store, and its text does not depend on the number of
//! rows.
//!
//! Builders take a [`Sql`], which has the dialect, and return a sea-query statement. They number parameters themselves instead
//! of binding them through sea-query, so that a parameter with several uses is sent once.

mod claim;
mod inspect;
mod key;
mod lane;
mod lease;
mod limit;
mod lock;
mod mark;
mod note;
mod purge;
mod read;
mod step;
mod tree;
mod worker;
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

/// sea-query takes limits as numbers only. A limit that is a parameter is built as this number plus the parameter's number, and
/// replaced in the text.
const LIMIT_PARAM: u64 = 9_000_000_000_000_000_000;

/// Most parameters of a statement that has a limit.
const PARAMS_MAX: usize = 9;

/// A statement of the store.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The SQL.
    pub text: String,
    /// The columns of the rows that it returns; empty for a statement that only writes.
    pub gives: &'static [Column],
    /// Whether rows come back [packed](crate::dialect::Transport::pack).
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
    /// Statements that lock, for databases with [many](Writers::Many) concurrent writers.
    Locks {
    /// Takes locks by number. Batch: numbers.
    hold: lock::hold,
    /// Locks every open task below tasks. Batch: ids.
    hold_below: lock::below,
    /// Locks every open task below the roots of executions. Batch: ids of executions.
    hold_within: lock::within,
    /// Reads leases that could be extended if their rows were not locked. Batch: leases. Parameter: now.
    held: lease::held,
    /// Locks roots that are open. Batch: ids.
    hold_roots: lock::stopping,
    }
}

statements! {
    /// Every statement of the store, rendered for one dialect, except those that only lock.
    Statements {
    /// Reads the rows that transitions read. Batch: ids.
    read: read::read,
    /// Reads these, and open tasks under keys. Batches: ids, keys.
    read_keyed: read::read_keyed,
    /// Reads key entries. Batch: keys.
    keys: key::read,
    /// Writes new tasks, if their lanes are stored. Batches: tasks, keys of lanes. Parameter between them: how many lanes.
    insert: write::insert,
    /// Writes new tasks with rare columns, if their lanes are stored. Batches and parameter: as for `insert`.
    insert_rare: write::insert_rare,
    /// Writes the changes of tasks. Batch: rows.
    update: write::update,
    /// Writes the changes of tasks with rare columns. Batch: rows.
    update_rare: write::update_rare,
    /// Moves tasks to other lanes. Batch: tasks, each with its lane and queue.
    relane: write::relane,
    /// Reads the names of lanes of tasks. Batch: ids.
    lanes_of: read::lanes_of,
    /// Copies results. Batch: target and source.
    copy: write::copy,
    /// Writes key entries. Batch: key entries.
    write_keys: key::write,
    /// Deletes key entries. Batch: keys.
    forget: key::forget,
    /// Returns values to key entries. Batch: keys, and the tasks that took the values.
    restore: key::restore,
    /// Writes counters and states that are new. Batch: notes.
    first: note::first,
    /// Adds to counters. Batch: notes.
    count: note::count,
    /// Adds positive and negative numbers to counters. Batch: counters and their sums.
    recount: note::recount,
    /// Sets states. Batch: notes.
    set: note::set,
    /// Writes entries of progress. Batch: entries.
    progress: note::progress,
    /// Deletes the oldest entries of progress beyond the limit. Batch: ids of executions.
    trim_progress: note::trim_progress,
    /// Writes ended claims. Batch: ended claims.
    ended_claims: note::ended_claims,
    /// Asks open tasks of executions to end. Batch: executions and moments.
    stop: tree::stop,
    /// Writes lanes, and returns the stored ones. Batch: lanes.
    lane: lane::insert,
    /// Reads lanes. Batch: keys of lanes.
    stored_lanes: lane::read,
    /// Finds lanes that have ready tasks and are not stored.
    lost_lanes: lane::lost,
    /// Cancels open tasks below tasks. Batch: the tasks and when they ended.
    sweep: tree::sweep,
    /// Deletes the ended claims of tasks and of everything below them. Batch: ids.
    erase_ended_claims: tree::erase_ended_claims,
    /// Deletes tasks with everything below them. Batch: ids.
    erase: tree::erase,
    /// Finds the next steps of cascades. Batch: executions and moments.
    cascade: key::cascade,
    /// Finds tasks whose deadline has passed or that are asked to end. Parameters: now, worker.
    ends: limit::ends,
    /// Lists lanes by priority, with their next due times. Parameters: now, worker.
    streams: claim::streams,
    /// Picks due tasks. Batch: streams. Parameters: now, how many.
    pick: claim::pick,
    /// Counts running and started tasks. Batch: functions, each with the first bucket that counts. Parameter: now.
    usage: limit::usage,
    /// Vacates the slots of tasks whose leases have expired. Batch: functions. Parameter: now.
    vacate: limit::vacate,
    /// Reads heads of streams. Batch: streams. Parameters: now, how many.
    heads: claim::heads,
    /// Picks due tasks, and reads others by id. Batches: streams, ids. Parameters between them: now, how many.
    pick_with: claim::pick_with,
    /// Counts started tasks. Batch: functions, buckets and numbers.
    rate: limit::rate,
    /// Deletes buckets before moments. Batch: functions and moments.
    trim_rate: limit::trim_rate,
    /// Writes claims of limited tasks and of tasks whose lease expired. Batch: claimed rows. Parameters: worker, until.
    claim_rare: write::claim_rare,
    /// Writes claims. Batch: claimed rows. Parameters: worker, until.
    claim: write::claim,
    /// Reads steps. Batch: parents, each with the wanted steps.
    steps: step::steps,
    /// Reads overflow arguments. Batch: ids.
    overflow_args: read::overflow_args,
    /// Reads overflow results. Batch: ids.
    overflow_results: read::overflow_results,
    /// Extends leases whose rows are not locked. Batch: leases. Parameters: until, now.
    renew: lease::renew,
    /// Picks roots that ended and are no dead letters. Parameters: before, how many.
    ended: purge::ended,
    /// Picks those that are not compacted, and whether there is anything to compact. Parameters: before, how many.
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
    /// Writes summaries of steps. Batch: ids of executions.
    summary: purge::summary,
    /// Marks roots as compacted. Batch: ids.
    compacted: purge::compacted,
    /// Picks results that are old. Parameters: before, how many, now.
    results: purge::results,
    /// Deletes records of workers that are over. Parameters: last seen before, how many, and dead if last seen before.
    purge_workers: worker::purge,
    /// Deletes the tasks below roots. Batch: ids of executions. Parameter: how many rows.
    purge_steps: purge::steps,
    /// Deletes roots. Batch: ids.
    purge_roots: purge::roots,
    /// Reads the clock.
    clock: inspect::clock,
    /// Reads which database a connection is in.
    home: inspect::home,
    /// Reads executions. Batch: ids.
    executions: inspect::executions,
    /// Reads a page of an execution's tasks. Parameters: execution, from which id, how many.
    tasks: inspect::tasks,
    /// Reads a page of an execution's tasks with all columns. Parameters: execution, from which id, how many.
    stored: inspect::stored,
    /// Reads a page of an execution's key entries. Parameters: execution, from which key, how many.
    entries_of: key::of_execution,
    /// Reads a page of a map's items. Parameters: map, from, how many.
    items: inspect::items,
    /// Reads a task's arguments. Parameter: task.
    args: inspect::args,
    /// Reads which execution was dispatched under a key. Parameter: key.
    dispatched: inspect::dispatched,
    /// Reads a page of executions. Parameters: up to which id, how many, status, function, queue, tag, from which id, the first
    /// and the last moment of a dispatch.
    list: inspect::list,
    /// Counts executions.
    tally: inspect::tally,
    /// Counts waiting tasks by lane. Parameter: now.
    lanes: inspect::lanes,
    /// Reads running tasks. Parameter: how many.
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
    /// Writes the record of a worker. Batch: the record.
    report: worker::report,
    /// Reads a page of records of workers. Parameters: from which id, how many.
    workers: worker::read,
    }
}

/// The condition of the indexes of dead letters.
const DEAD: &str = "parent_id IS NULL AND status = 'failed' AND mark IS NULL";

/// The condition of the index of ended roots, which excludes dead letters.
const SETTLED: &str = "(status <> 'failed' OR mark IS NOT NULL)";

/// The input of builders.
#[derive(Clone, Copy, Debug)]
struct Sql<'a> {
    dialect: &'a dyn Dialect,
}

/// The output of a builder.
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

    /// A statement that returns rows.
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

    /// A condition: the column is a value of the batch, which has one column.
    fn in_batch_of(self, column: impl IntoColumnRef, batch: &[Column]) -> Expr {
        self.dialect.any_of(Expr::col(column), self.batch(batch))
    }

    /// A statement that returns a bounded number of rows, packed.
    fn packed(self, gives: &'static [Column], query: SelectStatement) -> Built {
        Built { query: self.dialect.pack(query, gives, None).into(), gives, packed: true }
    }

    /// A statement that returns any number of rows, packed.
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

    /// The rows of the batch, for an insert that replaces existing rows.
    fn upserted(self, columns: &[Column]) -> SelectStatement {
        let mut rows = self.batch(columns);
        // SQLite parses the ON of an upsert as a join's, unless there is a WHERE before it.
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

/// A 64-bit number, the type of the columns.
fn number(value: i64) -> Expr {
    Expr::cust(format!("CAST({value} AS bigint)"))
}

/// A null of the 64-bit type.
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

/// Columns of tasks, to be packed. Large payloads are left out here, so that the database does not copy them.
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
