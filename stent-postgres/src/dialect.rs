//! The Postgres dialect of `stent-sql`.

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

/// The advisory lock that allows one schema migration at a time per database: "stent" in ASCII.
const MIGRATION_LOCK: i64 = 0x73_74_65_6e_74;

/// How long the server may take to answer one of Stent's own statements. Statements that may scan whole tables get
/// several times as long, and migrations have no limit. Without this timeout, a call to a server that disappeared
/// silently would never return.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// True in transactions that keep the snapshot of their beginning. In Postgres, `READ UNCOMMITTED` is `READ COMMITTED`.
const FROZEN: &str = "current_setting('transaction_isolation') IN ('repeatable read', 'serializable')";

/// The first schema of the `search_path` that exists. `current_schema()` leaves out those that the user may not use.
const FIRST_IN_PATH: &str = "(SELECT n.nspname::text \
    FROM unnest(string_to_array(current_setting('search_path'), ',')) WITH ORDINALITY AS path (name, place) \
    JOIN pg_namespace n ON n.nspname = CASE btrim(path.name) WHEN '\"$user\"' THEN current_user::text \
      ELSE btrim(btrim(path.name), '\"') END \
    ORDER BY path.place LIMIT 1)";

/// For tables whose rows constantly change, appear and disappear. Pages reserve room for new versions of their rows,
/// and dead rows are vacuumed early, because claims read the beginning of an index, where most dead rows are.
const HOT: &str = "SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, \
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.1)";

/// For tables with few rows that change constantly: each page holds a few rows and many of their versions.
const SMALL: &str = "SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, \
    autovacuum_vacuum_cost_delay = 0)";

/// The Postgres dialect for `stent-sql`.
#[derive(Clone, Debug)]
pub struct PostgresDialect {
    place: Arc<Place>,
    sessions: Arc<Sessions>,
    settings: Option<String>,
    acquire_timeout: Duration,
}

impl Default for PostgresDialect {
    /// Tables are in the first schema of the connection's `search_path`.
    fn default() -> Self {
        Self::new(Place::new(None), Arc::default())
    }
}

impl PostgresDialect {
    /// For connections that are configured when they are opened; `sessions` tracks them.
    #[must_use]
    pub(crate) const fn new(place: Arc<Place>, sessions: Arc<Sessions>) -> Self {
        Self { place, sessions, settings: None, acquire_timeout: ACQUIRE_TIMEOUT }
    }

    /// Sets the time after which the pools report that no connection is available.
    #[must_use]
    pub(crate) const fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// The schema of the tables, as an SQL expression.
    pub(crate) fn schema_literal(&self) -> String {
        match self.place.schema() {
            Some(schema) => format!("'{}'", schema.replace('\'', "''")),
            None => format!("coalesce(current_schema()::text, {FIRST_IN_PATH})"),
        }
    }

    /// For connections that the application opened: each transaction begins with these settings.
    #[must_use]
    pub(crate) fn with_settings(mut self, settings: String) -> Self {
        self.settings = Some(settings);
        self
    }

    /// With tables in a schema, for tests of rendered statements.
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

    /// Uses an array, which is built once and looked up by index. `IN` would be a join, which is planned anew and
    /// badly.
    fn any_of(&self, column: Expr, subquery: SelectStatement) -> Expr {
        let array = Func::cust(Alias::new("ARRAY")).arg(Expr::SubQuery(None, Box::new(subquery.into())));
        column.eq(Func::cust(Alias::new("ANY")).arg(array))
    }

    /// For `EXISTS`, the planner may materialize all candidate rows first and search those.
    fn any_row(&self, mut query: SelectStatement) -> Expr {
        let one = query.expr(Expr::cust("1")).limit(1).take();
        Expr::SubQuery(None, Box::new(one.into())).is_not_null()
    }

    /// For an array of parents of which some have very many steps, the planner assumes that most steps match, and reads
    /// all steps.
    fn joins_by_lookup(&self) -> bool {
        true
    }

    fn clock(&self) -> Expr {
        Expr::cust("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    }

    /// Includes the server, because shards of one application have databases of the same name. Every user may read the
    /// server's start time; some servers hide its own identifier from most users.
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

    /// Uses the names under which migrations create the tables.
    fn storage(&self, table: &str) -> Option<&'static str> {
        match table {
            "stent_task" | "stent_memo" | "stent_note" => Some(HOT),
            "stent_rate" | "stent_worker" => Some(SMALL),
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
    /// Uses the isolation level of the connection: `READ COMMITTED`, under which each statement sees everything that
    /// was committed before it. Rows that are read in order to be written are locked.
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

    /// Checks settings whose absence would make later calls fail without a hint at the reason. A pooler may silently
    /// ignore the settings that a connection asks for. The text is ASCII, which every encoding contains.
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
        // Another process may be migrating, for as long as that takes.
        let mut statements = vec![
            "SET LOCAL lock_timeout = 0".to_owned(),
            format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"),
        ];
        // Not `CREATE SCHEMA IF NOT EXISTS`, which requires the privilege to create a schema even if the schema exists.
        statements.extend(self.place.quoted().map(|schema| {
            let name = schema.replace('\'', "''");
            format!(
                "DO $$ BEGIN IF to_regnamespace('{name}') IS NULL THEN CREATE SCHEMA {schema}; END IF; END $$"
            )
        }));
        statements.extend(self.enter());
        statements
    }

    /// Gathers statistics. Autovacuum does so only after many rows have changed, which a migration may not cause.
    fn after_migrations(&self) -> Vec<String> {
        vec!["ANALYZE stent_task".to_owned()]
    }

    /// `SET` takes no snapshot, so the application can still choose its isolation level afterwards.
    fn mark(&self, number: u64) -> Option<String> {
        Some(format!("SET LOCAL stent.transaction = '{number}'"))
    }

    /// The driver's name for the savepoint. If there is another savepoint, this removes both, and releasing the other
    /// one fails.
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
        error::explain(error, self.place.quoted().as_deref())
    }
}
