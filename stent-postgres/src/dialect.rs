//! What Postgres does in its own way.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Func, PostgresQueryBuilder, SelectStatement};
use sea_orm::sea_query::{SubQueryStatement, Value};
use sea_orm::{DbBackend, DbErr, QueryResult, TransactionOptions};
use stent_core::backend::{ErrorKind, Topic};
use stent_sql::batch::{Answer, Batch, Column};
use stent_sql::dialect::{Concurrency, Dialect, Failures, Patience, Text, Transport, Writers, render};

use crate::error::NOT_SET_UP;
use crate::options::ACQUIRE_TIMEOUT;
use crate::place::Place;
use crate::sessions::Sessions;
use crate::{error, guests, hints, pack};

/// The lock under which schemas are migrated, one of a database at a time: "stent" in ASCII.
const MIGRATION_LOCK: i64 = 0x73_74_65_6e_74;

/// How long the server may take to answer a statement of Stent's own. Those that may look at all there is take several times as
/// long, and migrations as long as they take. A server that is gone without a word would never answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Holds in transactions that go on seeing what was there when they began. `READ UNCOMMITTED` is `READ COMMITTED` here.
const FROZEN: &str = "current_setting('transaction_isolation') IN ('repeatable read', 'serializable')";

/// Tables whose rows change, or come and go, all the time. Pages keep room for the next versions of their rows; what is
/// dead is cleared away soon, since claims look at the beginning of an index where most of it lies.
const HOT: &str = "SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, \
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.1)";

/// Few rows that change all the time: each page holds a few of them and many of their versions.
const SMALL: &str = "SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, \
    autovacuum_vacuum_cost_delay = 0)";

/// Postgres, as far as `stent-sql` must know it.
#[derive(Clone, Debug)]
pub struct PostgresDialect {
    place: Arc<Place>,
    sessions: Arc<Sessions>,
    settings: Option<String>,
    acquire_timeout: Duration,
}

impl Default for PostgresDialect {
    /// With tables where connections look for tables first.
    fn default() -> Self {
        Self::new(Place::new(None), Arc::default())
    }
}

impl PostgresDialect {
    /// For connections that are set up as they are opened, of which these are the sessions.
    #[must_use]
    pub(crate) const fn new(place: Arc<Place>, sessions: Arc<Sessions>) -> Self {
        Self { place, sessions, settings: None, acquire_timeout: ACQUIRE_TIMEOUT }
    }

    /// For pools that say so after this time that they have no connection.
    #[must_use]
    pub(crate) const fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// For connections that others have opened: each transaction begins by setting this.
    #[must_use]
    pub(crate) fn with_settings(mut self, settings: String) -> Self {
        self.settings = Some(settings);
        self
    }

    /// With tables in a schema, for tests of what is rendered.
    #[doc(hidden)]
    #[must_use]
    pub fn in_schema(schema: &str) -> Self {
        Self::new(Place::new(Some(schema.to_owned())), Arc::default())
    }
}

impl Dialect for PostgresDialect {
    fn name(&self) -> &'static str {
        "postgres"
    }
}

impl Text for PostgresDialect {
    fn backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    fn render(&self, query: &SubQueryStatement) -> String {
        self.place.name_in(&render(query, PostgresQueryBuilder))
    }

    fn param(&self, n: usize) -> String {
        format!("${n}")
    }

    fn limit(&self, n: usize) -> String {
        self.param(n)
    }

    /// By an array, which is made once and looked up by index; `IN` would be a join, planned anew and planned wrong.
    fn any_of(&self, column: Expr, subquery: SelectStatement) -> Expr {
        let array = Func::cust(Alias::new("ARRAY")).arg(Expr::SubQuery(None, Box::new(subquery.into())));
        column.eq(Func::cust(Alias::new("ANY")).arg(array))
    }

    /// Of `EXISTS` the planner may make a table of all that there are, to look in that.
    fn any_row(&self, mut query: SelectStatement) -> Expr {
        let one = query.expr(Expr::cust("1")).limit(1).take();
        Expr::SubQuery(None, Box::new(one.into())).is_not_null()
    }

    /// Of an array of parents, of which some have very many steps, it takes all steps to be theirs, and reads those.
    fn joins_by_lookup(&self) -> bool {
        true
    }

    fn clock(&self) -> Expr {
        Expr::cust("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    }

    /// The server as well: shards of one application have databases of the same names. When it was started is what everybody
    /// may ask of it; its own identifier is kept from most users on some servers.
    fn home(&self) -> Expr {
        Expr::cust(
            "current_database() || ', of oid ' || (SELECT oid FROM pg_database WHERE datname = current_database()) || \
             ', on the server that was started at ' || \
             to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
        )
    }

    fn frozen(&self) -> Expr {
        let level = format!("CASE WHEN {FROZEN} THEN upper(current_setting('transaction_isolation')) END");
        Expr::cust(level)
    }

    fn marked(&self) -> Expr {
        Expr::cust("nullif(current_setting('stent.transaction', true), '')")
    }

    fn iso(&self, column: &str) -> String {
        format!(
            "to_char(to_timestamp({column} / 1000000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        )
    }

    fn json_field(&self, column: &str, field: &str) -> String {
        format!("{column}::json ->> '{field}'")
    }

    /// By the names under which migrations make them.
    fn storage(&self, table: &str) -> Option<&'static str> {
        match table {
            "stent_task" | "stent_memo" | "stent_note" => Some(HOT),
            "stent_rate" => Some(SMALL),
            _ => None,
        }
    }

    fn renames_indexes(&self) -> bool {
        true
    }
}

impl Transport for PostgresDialect {
    fn batch_source(&self, columns: &[Column], first: usize) -> SelectStatement {
        pack::source(columns, first)
    }

    fn batch_params(&self, columns: &[Column]) -> usize {
        pack::params(columns)
    }

    fn batch_values(&self, batch: &Batch<'_>) -> Vec<Value> {
        pack::values(batch)
    }

    fn inline_bytes_max(&self) -> Option<usize> {
        None
    }

    fn pack(
        &self,
        query: SelectStatement,
        _columns: &[Column],
        _numbered_by: Option<&str>,
    ) -> SelectStatement {
        query
    }

    fn unpack(&self, rows: Vec<QueryResult>, columns: &'static [Column]) -> Result<Answer, DbErr> {
        pack::read(&rows, columns)
    }
}

impl Concurrency for PostgresDialect {
    /// As the connection has it: `READ COMMITTED`, under which each statement sees what was committed before it. What is
    /// read to be written is locked.
    fn begin(&self) -> TransactionOptions {
        TransactionOptions::default()
    }

    fn writers(&self) -> Writers {
        Writers::Many { hold: "pg_advisory_xact_lock" }
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn settings(&self) -> Option<&str> {
        self.settings.as_deref()
    }

    fn guest_settings(&self, limit: Option<Duration>) -> Option<String> {
        Some(guests::settings(limit, &self.sessions, &self.place))
    }

    fn enter(&self) -> Option<String> {
        self.place.quoted().map(|schema| format!("SET LOCAL search_path = {schema}"))
    }

    fn schema_query(&self) -> Option<&'static str> {
        self.place.schema().is_none().then_some("SELECT current_schema()::text")
    }

    fn settle(&self, schema: String) {
        self.place.settle(schema);
    }

    /// What would make later calls fail for reasons that they cannot tell. A pooler may ignore what a connection asks for, and
    /// say nothing. In ASCII, which every encoding has.
    fn check(&self) -> Option<String> {
        let mut faults = vec![
            "IF getdatabaseencoding() NOT IN ('UTF8', 'SQL_ASCII') THEN RAISE EXCEPTION 'the database % has the \
             encoding %, which cannot store every text; create a database with CREATE DATABASE ... ENCODING ''UTF8'' \
             TEMPLATE template0', current_database(), getdatabaseencoding()"
                .to_owned(),
        ];
        if self.place.schema().is_none() {
            faults.push(
                "IF current_schema() IS NULL THEN RAISE EXCEPTION \
                 'there is no schema for the tables of Stent: the search_path \"%\" names no schema that exists; set the \
                 parameter schema of the URL, or use ALTER ROLE ... SET search_path', current_setting('search_path')"
                    .to_owned(),
            );
        }
        if self.settings.is_none() {
            faults.push(format!(
                "IF {FROZEN} THEN RAISE EXCEPTION 'transactions must be READ COMMITTED, but are % (perhaps a pooler ignores the \
                 startup parameter `options`); set it on the server with \
                 ALTER ROLE ... SET default_transaction_isolation = ''read committed'', or connect without the pooler', \
                 upper(current_setting('transaction_isolation'))"
            ));
        }
        let faults: Vec<_> =
            faults.iter().map(|fault| format!("{fault} USING ERRCODE = '{NOT_SET_UP}'; END IF;")).collect();
        Some(format!("DO $$ BEGIN {} END $$", faults.join(" ")))
    }

    fn before_migrations(&self) -> Vec<String> {
        // Another process may migrate for as long as it takes.
        let mut statements = vec![
            "SET LOCAL lock_timeout = 0".to_owned(),
            format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"),
        ];
        // Not `CREATE SCHEMA IF NOT EXISTS`, which asks for the right to create one also where there is no need.
        statements.extend(self.place.quoted().map(|schema| {
            let name = schema.replace('\'', "''");
            format!(
                "DO $$ BEGIN IF to_regnamespace('{name}') IS NULL THEN CREATE SCHEMA {schema}; END IF; END $$"
            )
        }));
        statements.extend(self.enter());
        statements
    }

    /// Statistics: autovacuum gathers them when many rows have changed, which a migration may not have done.
    fn after_migrations(&self) -> Vec<String> {
        vec!["ANALYZE stent_task".to_owned()]
    }

    /// `SET` looks at nothing, so that the application may still choose its isolation level.
    fn mark(&self, number: u64) -> Option<String> {
        Some(format!("SET LOCAL stent.transaction = '{number}'"))
    }

    /// By the driver's name for it. If there is another one, both are gone by this, and releasing it fails.
    fn only_savepoint(&self) -> Option<&'static str> {
        Some("RELEASE SAVEPOINT _sqlx_savepoint_1; SAVEPOINT _sqlx_savepoint_1")
    }

    fn hint_within(&self, topic: Topic) -> Option<String> {
        Some(hints::tell_within(&self.place, topic))
    }

    fn patience(&self) -> Option<Patience> {
        Some(Patience { connection: self.acquire_timeout, answer: ANSWER_TIMEOUT })
    }

    fn silent(&self) {
        self.sessions.retire();
    }

    fn abandoned(&self) {
        self.sessions.doubt();
    }

    fn begun(&self) {
        self.sessions.let_in();
    }

    fn heard(&self, error: &DbErr) {
        if error::spoils_sessions(error) {
            self.sessions.retire();
        }
    }
}

impl Failures for PostgresDialect {
    fn is_of_session(&self, error: &DbErr) -> bool {
        error::is_of_session(error)
    }

    fn is_conflict(&self, error: &DbErr) -> bool {
        error::is_conflict(error)
    }

    fn classify(&self, error: &DbErr) -> ErrorKind {
        error::classify(error, self.sessions.has_let_in())
    }

    fn classify_guest(&self, error: &DbErr) -> ErrorKind {
        error::classify_guest(error, self.sessions.has_let_in())
    }

    fn explain(&self, error: &DbErr) -> Option<String> {
        error::explain(error)
    }
}
