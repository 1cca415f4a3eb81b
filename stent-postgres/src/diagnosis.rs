//! Examines the server of a store: indexes, privileges, dead rows, old transactions, settings, connections and poolers.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::postgres::{PgListener, PgRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Decode, Postgres, Row, Type};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};
use stent_core::backend::Finding;
use stent_sql::Connections;
use stent_sql::dialect::{Diagnosis, judge_indexes};
use stent_sql::migration::{Index, Migrator};
use tokio::time::timeout;
use uuid::Uuid;

use crate::dialect::PostgresDialect;

/// Dead rows of a table that are not worth a word: autovacuum begins at 2,000 and a fiftieth of the table.
const DEAD_ROWS_MAX: i64 = 50_000;

/// A transaction that is older keeps so many dead rows from being removed that claims become slow.
const TRANSACTION_AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// Gives a user what a program needs of the tables in a schema, whose name follows.
const GRANT_TABLES: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA";

/// The table that records the migrations.
const MIGRATIONS: &str = Migrator::TABLE;

/// How long a notification may take from one connection to another.
const ECHO_TIMEOUT: Duration = Duration::from_secs(2);

#[async_trait]
impl Diagnosis for PostgresDialect {
    async fn examine(&self, connections: &Connections) -> Result<Vec<Finding>, DbErr> {
        let read = &connections.read;
        let schema = self.schema_literal();
        let mut findings =
            vec![indexes(read, &self.indexes(), &schema).await?, privileges(read, &schema).await?];
        findings.extend(vacuum(read, &schema).await?);
        findings.push(transactions(read).await?);
        findings.push(durability(read).await?);
        findings.push(sessions(read).await?);
        findings.push(notifications(read, &connections.write).await?);
        Ok(findings)
    }

    fn indexes(&self) -> String {
        format!(
            "SELECT c.relname::text, i.indisvalid AND i.indisready FROM pg_index i \
             JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname LIKE 'stent\\_%'",
            self.schema_literal()
        )
    }

    /// Asks the catalogue, which every user may read: `information_schema` hides tables that the user may not read.
    fn find_table(&self, table: &str) -> String {
        let all = format!("{GRANT_TABLES} %2$I TO %1$I");
        format!(
            "SELECT CASE \
               WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN \
                 format('the user %1$I lacks USAGE on the schema %2$I: GRANT USAGE ON SCHEMA %2$I TO %1$I; {all}', \
                   current_user, n.nspname) \
               WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN \
                 format('the user %1$I lacks SELECT on the table %2$I.%3$I: {all}', current_user, n.nspname, c.relname) \
             END \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = '{table}' AND c.relkind IN ('r', 'p')",
            self.schema_literal()
        )
    }
}

/// Runs a query without preparing it: a pooler may not support prepared statements, and that should not be all that operators learn.
async fn rows(connection: &DatabaseConnection, query: &str) -> Result<Vec<PgRow>, DbErr> {
    let query = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
    query.fetch_all(connection.get_postgres_connection_pool()).await.map_err(failed)
}

fn get<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, column: usize) -> Result<T, DbErr> {
    row.try_get(column).map_err(failed)
}

fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

async fn indexes(read: &DatabaseConnection, query: &str, schema: &str) -> Result<Finding, DbErr> {
    let found = rows(read, query).await?;
    let found: Vec<(String, bool)> =
        found.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect::<Result<_, DbErr>>()?;
    let schema = rows(read, &format!("SELECT coalesce(quote_ident({schema}), 'public')")).await?;
    let schema: String = schema.first().map_or_else(|| Ok("public".to_owned()), |row| get(row, 0))?;
    // Both leave the table open to writers.
    let create = |index: &Index| index.create("CONCURRENTLY", Some(&schema));
    let repair = |index: &Index| format!("REINDEX INDEX CONCURRENTLY {schema}.\"{}\"", index.name);
    Ok(judge_indexes(&found, create, repair))
}

/// Names the privileges that this user lacks: on the schema, on Stent's tables, and on the list of migrations, which every program
/// reads. Another user may apply the migrations.
async fn privileges(read: &DatabaseConnection, schema: &str) -> Result<Finding, DbErr> {
    const CHECK: &str = "privileges";
    let query = format!(
        "SELECT current_user::text, quote_ident(current_user), quote_ident(n.nspname), \
           CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'USAGE on the schema ' || quote_ident(n.nspname) END, \
           string_agg(p.privilege || ' on ' || t.relname, ', ' ORDER BY t.relname, p.privilege) \
             FILTER (WHERE NOT has_table_privilege(t.oid, p.privilege)) \
         FROM pg_namespace n JOIN pg_class t ON t.relnamespace = n.oid \
         CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS p (privilege) \
         WHERE n.nspname = {schema} AND t.relkind IN ('r', 'p') AND t.relname LIKE 'stent\\_%' \
           AND (t.relname <> '{MIGRATIONS}' OR p.privilege = 'SELECT') \
         GROUP BY n.oid, n.nspname"
    );
    let rows = rows(read, &query).await?;
    let Some(row) = rows.first() else {
        return Ok(Finding::ok(CHECK, "this user may read and write all tables"));
    };
    let (user, role, schema): (String, String, String) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
    let (of_schema, of_tables): (Option<String>, Option<String>) = (get(row, 3)?, get(row, 4)?);
    let mut grants = Vec::new();
    grants.extend(of_schema.is_some().then(|| format!("GRANT USAGE ON SCHEMA {schema} TO {role}")));
    grants.extend(of_tables.is_some().then(|| format!("{GRANT_TABLES} {schema} TO {role}")));
    let lacking: Vec<_> = [of_schema, of_tables].into_iter().flatten().collect();
    if lacking.is_empty() {
        return Ok(Finding::ok(CHECK, "this user may read and write all tables"));
    }
    let what = format!("the user {user} lacks {}", lacking.join(", "));
    Ok(Finding::problem(CHECK, what, format!("workers need them all: {}", grants.join("; "))))
}

async fn vacuum(read: &DatabaseConnection, schema: &str) -> Result<[Finding; 2], DbErr> {
    const OFF: &str = "(SELECT count(*) FROM unnest(c.reloptions) o WHERE o ~* '^autovacuum_enabled=(false|off|no|0)$') > 0";
    let query = format!(
        "SELECT s.relname::text, s.n_live_tup, s.n_dead_tup, coalesce({OFF}, false), \
           (extract(epoch FROM now() - greatest(s.last_vacuum, s.last_autovacuum)) * 1000000)::bigint, \
           current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on', \
           quote_ident(s.schemaname) || '.' || s.relname \
         FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid \
         WHERE s.schemaname = {schema} AND s.relname LIKE 'stent\\_%' ORDER BY s.relname"
    );
    let mut tables = Vec::new();
    let (mut off, mut runs) = (Vec::new(), true);
    for row in &rows(read, &query).await? {
        let name: String = get(row, 0)?;
        if get(row, 3)? {
            off.push((name.clone(), get(row, 6)?));
        }
        let vacuumed: Option<i64> = get(row, 4)?;
        tables.push(Table {
            name,
            live: get(row, 1)?,
            dead: get(row, 2)?,
            vacuumed: vacuumed.map(|age| Duration::from_micros(u64::try_from(age).unwrap_or(0))),
        });
        runs = get(row, 5)?;
    }
    Ok([judge_dead_rows(&tables), judge_autovacuum(runs, &off)])
}

/// The server's statistics of a table.
#[derive(Clone, Debug)]
struct Table {
    name: String,
    live: i64,
    dead: i64,
    /// How long ago dead rows were last removed; `None` if never.
    vacuumed: Option<Duration>,
}

fn judge_dead_rows(tables: &[Table]) -> Finding {
    const CHECK: &str = "dead rows";
    let many = tables.iter().filter(|table| table.dead > DEAD_ROWS_MAX && table.dead > table.live);
    let many: Vec<_> = many
        .map(|Table { name, live, dead, vacuumed }| {
            let last = vacuumed.map_or_else(
                || "never vacuumed".to_owned(),
                |ago| format!("last vacuumed {} s ago", ago.as_secs()),
            );
            format!("{name} has {dead} dead rows beside {live} live ones, {last}")
        })
        .collect();
    if many.is_empty() {
        let dead: i64 = tables.iter().map(|table| table.dead).sum();
        return Finding::ok(CHECK, format!("{dead} dead rows wait to be removed"));
    }
    let remedy =
        "VACUUM these tables; if that removes nothing, an old transaction or replication slot holds the rows";
    Finding::warning(CHECK, many.join("; "), remedy)
}

/// `off` names the tables for which it is turned off, and each with its schema.
fn judge_autovacuum(runs: bool, off: &[(String, String)]) -> Finding {
    const CHECK: &str = "autovacuum";
    if !runs {
        let remedy = "set autovacuum = on and track_counts = on on the server: without it, claims become slower by the hour";
        return Finding::problem(CHECK, "the server removes no dead rows by itself", remedy);
    }
    if !off.is_empty() {
        let names: Vec<_> = off.iter().map(|(name, _)| name.as_str()).collect();
        let statements =
            off.iter().map(|(_, table)| format!("ALTER TABLE {table} RESET (autovacuum_enabled)"));
        let statements = statements.collect::<Vec<_>>().join("; ");
        let remedy = format!("without it, claims become slower by the hour: {statements}");
        return Finding::problem(CHECK, format!("it is turned off for {}", names.join(", ")), remedy);
    }
    Finding::ok(CHECK, "it is on")
}

/// The oldest transaction in the database that this user can see: no dead row that it may still see can be removed.
async fn transactions(read: &DatabaseConnection) -> Result<Finding, DbErr> {
    let query = "SELECT * FROM ( \
           SELECT 'session ' || pid || coalesce(' of ' || nullif(application_name, ''), '') || ', ' || coalesce(state, ''), \
             'SELECT pg_terminate_backend(' || pid || ')', \
             (extract(epoch FROM clock_timestamp() - xact_start) * 1000000)::bigint AS age \
           FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL \
             AND pid <> pg_backend_pid() AND backend_type = 'client backend' \
           UNION ALL \
           SELECT 'prepared transaction ' || quote_literal(gid), 'ROLLBACK PREPARED ' || quote_literal(gid), \
             (extract(epoch FROM clock_timestamp() - prepared) * 1000000)::bigint \
           FROM pg_prepared_xacts WHERE database = current_database() \
         ) AS open ORDER BY age DESC LIMIT 1";
    let rows = rows(read, query).await?;
    let Some(row) = rows.first() else { return Ok(judge_transaction(None)) };
    let age: i64 = get(row, 2)?;
    let (who, end): (String, String) = (get(row, 0)?, get(row, 1)?);
    Ok(judge_transaction(Some((&who, &end, Duration::from_micros(u64::try_from(age).unwrap_or(0))))))
}

fn judge_transaction(oldest: Option<(&str, &str, Duration)>) -> Finding {
    const CHECK: &str = "transactions";
    let Some((who, end, age)) = oldest else { return Finding::ok(CHECK, "none is open") };
    let what = format!("the oldest one is {} s old: {who}", age.as_secs());
    if age <= TRANSACTION_AGE_MAX {
        return Finding::ok(CHECK, what);
    }
    let remedy = format!(
        "no row that it may still see can be removed: end it ({end}), and set idle_in_transaction_session_timeout"
    );
    Finding::warning(CHECK, what, remedy)
}

async fn durability(read: &DatabaseConnection) -> Result<Finding, DbErr> {
    let query = "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')";
    let rows = rows(read, query).await?;
    let setting = |index| rows.first().map_or(Ok(String::new()), |row| get(row, index));
    let (fsync, pages, commit): (String, String, String) = (setting(0)?, setting(1)?, setting(2)?);
    Ok(judge_durability(&fsync, &pages, &commit))
}

fn judge_durability(fsync: &str, pages: &str, commit: &str) -> Finding {
    const CHECK: &str = "durability";
    if fsync == "off" || pages == "off" {
        let (name, _) = if fsync == "off" { ("fsync", fsync) } else { ("full_page_writes", pages) };
        let what = format!("{name} is off: a crash of the machine can destroy the database");
        return Finding::warning(CHECK, what, format!("set {name} = on, unless the data may be lost"));
    }
    if commit == "off" {
        let what =
            "synchronous_commit is off: a crash of the server loses confirmed work, and its steps run again";
        return Finding::warning(CHECK, what, "set synchronous_commit = on for this user or database");
    }
    Finding::ok(CHECK, format!("commits are on the disk (synchronous_commit {commit})"))
}

async fn sessions(read: &DatabaseConnection) -> Result<Finding, DbErr> {
    let query = "SELECT count(*), current_setting('max_connections')::bigint FROM pg_stat_activity \
                 WHERE backend_type = 'client backend'";
    let rows = rows(read, query).await?;
    let number = |index| rows.first().map_or(Ok(0), |row| get(row, index));
    Ok(judge_sessions(number(0)?, number(1)?))
}

fn judge_sessions(used: i64, most: i64) -> Finding {
    const CHECK: &str = "connections";
    let what = format!("{used} of {most} are in use");
    if used * 10 > most * 9 {
        let remedy = "raise max_connections, lower max_connections in the URLs of workers, or put a pooler in session mode in front";
        return Finding::warning(CHECK, what, remedy);
    }
    Finding::ok(CHECK, what)
}

/// Whether a notification of one connection arrives at another: a pooler that assigns each transaction to a different connection
/// loses it.
async fn notifications(read: &DatabaseConnection, write: &DatabaseConnection) -> Result<Finding, DbErr> {
    const CHECK: &str = "notifications";
    let mut listener = PgListener::connect_with(read.get_postgres_connection_pool()).await.map_err(failed)?;
    let channel = format!("stent_doctor_{}", Uuid::new_v4().simple());
    listener.listen(&channel).await.map_err(failed)?;
    let mut teller = write.get_postgres_connection_pool().acquire().await.map_err(failed)?;
    let tell = format!("SELECT pg_notify('{channel}', '')");
    let told = sqlx::raw_sql(AssertSqlSafe(tell)).execute(&mut *teller).await;
    if told.is_err() {
        // Behind such a pooler, the notification may come to this connection, which does not expect it.
        drop(teller.detach());
    }
    if told.is_ok() && timeout(ECHO_TIMEOUT, listener.recv()).await.is_ok_and(|heard| heard.is_ok()) {
        return Ok(Finding::ok(CHECK, "they arrive"));
    }
    let what =
        "they do not arrive, perhaps because a pooler in front of Postgres does not use session pooling";
    let remedy = "workers find the work of other processes by polling only: connect them without the pooler, or use session pooling";
    Ok(Finding::warning(CHECK, what, remedy))
}

#[cfg(test)]
mod tests {
    use stent_core::backend::Verdict;

    use super::*;

    #[test]
    fn a_table_of_mostly_dead_rows_is_a_warning() {
        let table = |live, dead| Table { name: "stent_task".to_owned(), live, dead, vacuumed: None };
        for (live, dead, verdict) in
            [(0, 50_000, Verdict::Ok), (100_000, 60_000, Verdict::Ok), (10_000, 60_000, Verdict::Warning)]
        {
            assert_eq!(judge_dead_rows(&[table(live, dead)]).verdict, verdict, "{live} {dead}");
        }
        let said = judge_dead_rows(&[table(1, 2), table(10_000, 60_000)]).what;
        assert_eq!(said, "stent_task has 60000 dead rows beside 10000 live ones, never vacuumed");
    }

    #[test]
    fn an_old_transaction_is_a_warning_with_the_statement_that_ends_it() {
        let of = |seconds| {
            judge_transaction(Some((
                "session 7",
                "SELECT pg_terminate_backend(7)",
                Duration::from_secs(seconds),
            )))
        };
        assert_eq!(judge_transaction(None).verdict, Verdict::Ok);
        assert_eq!(of(300).verdict, Verdict::Ok);
        let old = of(301);
        assert_eq!(
            (old.verdict, old.what.as_str()),
            (Verdict::Warning, "the oldest one is 301 s old: session 7")
        );
        assert!(old.remedy.contains("SELECT pg_terminate_backend(7)"), "{}", old.remedy);
    }

    #[test]
    fn settings_that_lose_commits_are_warnings() {
        assert_eq!(judge_durability("on", "on", "on").verdict, Verdict::Ok);
        assert_eq!(judge_durability("on", "on", "local").verdict, Verdict::Ok);
        for (fsync, pages, commit, said) in [
            ("off", "on", "on", "fsync"),
            ("on", "off", "on", "full_page_writes"),
            ("on", "on", "off", "synchronous_commit"),
        ] {
            let judged = judge_durability(fsync, pages, commit);
            assert_eq!(judged.verdict, Verdict::Warning, "{said}");
            assert!(judged.what.starts_with(said) && judged.remedy.contains(said), "{judged:?}");
        }
    }

    #[test]
    fn connections_that_run_out_are_a_warning() {
        assert_eq!(
            (judge_sessions(90, 100).verdict, judge_sessions(91, 100).verdict),
            (Verdict::Ok, Verdict::Warning)
        );
    }
}
