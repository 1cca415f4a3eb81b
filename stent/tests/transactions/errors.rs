//! Errors of a closure: which ones fail the step at once, and which ones make the closure run again.

use std::time::{Duration, Instant};

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, DbBackend, DbErr, RuntimeErr, sqlx};

use crate::{World, on_every_database, ran, unique};

/// An error of the application without a database error.
#[derive(Debug, thiserror::Error)]
#[error("the card was declined")]
struct Declined;

/// An error of the application that a database error caused.
#[derive(Debug, thiserror::Error)]
#[error("the shelf cannot be read")]
struct Unread(#[source] DbErr);

/// Fails with an error that another run of the closure cannot avoid.
async fn fail_by(way: &str, txn: &stent::Transaction) -> Result<(), BoxedError> {
    let error: BoxedError = match way {
        "custom" => DbErr::Custom("out of stock".to_owned()).into(),
        "custom after a statement" => {
            txn.execute_unprepared("SELECT 1").await?;
            DbErr::Custom("out of stock".to_owned()).into()
        }
        "record not found" => DbErr::RecordNotFound("no such account".to_owned()).into(),
        "record not updated" => DbErr::RecordNotUpdated.into(),
        "type" => DbErr::Type("no number".to_owned()).into(),
        "json" => DbErr::Json("no json".to_owned()).into(),
        "syntax" => txn.execute_unprepared("SELEC 1").await.expect_err("no SQL").into(),
        "syntax, prepared" => {
            let query = stent::sea_orm::Statement::from_string(txn.get_database_backend(), "SELEC 1");
            txn.query_one_raw(query).await.expect_err("no SQL").into()
        }
        "no table" => txn.execute_unprepared("SELECT * FROM nowhere").await.expect_err("no table").into(),
        "no column" => {
            txn.execute_unprepared("SELECT nothing FROM orders").await.expect_err("no column").into()
        }
        "unique" => {
            txn.execute_unprepared("CREATE TABLE shipped (id BIGINT PRIMARY KEY)").await?;
            txn.execute_unprepared("INSERT INTO shipped VALUES (1)").await?;
            txn.execute_unprepared("INSERT INTO shipped VALUES (1)").await.expect_err("twice").into()
        }
        "within another" => Unread(txn.execute_unprepared("SELEC 1").await.expect_err("no SQL")).into(),
        "row not found" => DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::RowNotFound.into())).into(),
        "column not found" => {
            DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::ColumnNotFound("cents".to_owned()).into())).into()
        }
        "not encoded" => {
            DbErr::Exec(RuntimeErr::SqlxError(sqlx::Error::Encode("too long".into()).into())).into()
        }
        "the driver's own" => sqlx::Error::RowNotFound.into(),
        "internal" => DbErr::Query(RuntimeErr::Internal("of the application's".to_owned())).into(),
        "own" => Declined.into(),
        "io" => std::io::Error::other("the printer is out").into(),
        "of Stent" => stent::Error::Cancelled.into(),
        "of Stent, inner" => stent::sleep("1ms").await.expect_err("no step in here").into(),
        "of Stent, database" => stent::Error::from(DbErr::Custom("out of stock".to_owned())).into(),
        other => panic!("{other}"),
    };
    Err(error)
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

const WAYS: [&str; 22] = [
    "custom",
    "custom after a statement",
    "record not found",
    "record not updated",
    "type",
    "json",
    "syntax",
    "syntax, prepared",
    "no table",
    "no column",
    "unique",
    "within another",
    "row not found",
    "column not found",
    "not encoded",
    "the driver's own",
    "internal",
    "own",
    "io",
    "of Stent",
    "of Stent, inner",
    "of Stent, database",
];

#[durable(name = "errors.fails", retry(max_attempts = 1))]
async fn fails(test: i64, way: String) -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        ran::note(test);
        fail_by(&way, &txn).await
    })
    .await
}

/// Makes the database report, the first time, that the transaction may succeed if it is repeated.
#[durable(name = "errors.passes", retry(max_attempts = 1))]
async fn passes(test: i64, code: String) -> Result<u32, stent::Error> {
    stent::transaction(async |txn| {
        let runs = ran::note(test);
        if runs == 1 {
            let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = '{code}'; END $$");
            match (txn.get_database_backend(), code.as_str()) {
                (_, "io") => {
                    let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
                    return Err(DbErr::Query(RuntimeErr::SqlxError(lost.into())));
                }
                (DbBackend::Postgres, _) => txn.execute_unprepared(&raise).await.map(drop)?,
                _ => return Err(DbErr::Exec(RuntimeErr::SqlxError(sqlx::Error::PoolTimedOut.into()))),
            }
        }
        Ok(runs)
    })
    .await
}

on_every_database! {
    async fn of_its_own_fail_the_step_at_once(world) {
        let worker = world.worker().await;
        let mut wrong = Vec::new();
        for way in WAYS {
            let (test, began) = (unique(), Instant::now());
            let failed = world.stent.run(fails(test, way.to_owned())).await;
            let error = failed.expect_err("fails");
            if ran::count(test) != 1 || began.elapsed() > Duration::from_secs(3) {
                wrong.push(format!("{way}: {} runs in {:?}: {error}", ran::count(test), began.elapsed()));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(world.orders().await.is_empty());
        worker.drain().await.unwrap();
    }

    async fn that_pass_have_the_closure_run_again(world) {
        let worker = world.worker().await;
        for code in ["40001", "40P01", "55P03", "57P01", "08006", "io"] {
            let run = world.stent.dispatch(passes(unique(), code.to_owned())).await.unwrap();
            assert_eq!(run.result().timeout("20s").await.unwrap(), 2, "{code}");
        }
        worker.drain().await.unwrap();
    }
}

/// A constraint that is checked at the commit.
#[durable(name = "errors.deferred", retry(max_attempts = 1))]
async fn deferred(test: i64) -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        ran::note(test);
        txn.execute_unprepared("INSERT INTO lines (order_id) VALUES (404)").await.map(drop)
    })
    .await
}

on_every_database! {
    async fn of_a_constraint_that_is_checked_at_the_commit_fail_the_step_at_once(world) {
        create_lines(&world).await;
        let (test, worker) = (unique(), world.worker().await);
        let error = world.stent.run(deferred(test)).await.unwrap_err();
        assert_eq!(ran::count(test), 1, "{error}");
        worker.drain().await.unwrap();
    }
}

/// A statement that takes longer than the closure's timeout.
#[cfg(feature = "postgres")]
#[durable(name = "errors.slow", retry(max_attempts = 1))]
async fn slow(test: i64) -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        ran::note(test);
        txn.execute_unprepared("SET LOCAL statement_timeout = '30ms'").await?;
        txn.execute_unprepared("SELECT pg_sleep(20)").await.map(drop)
    })
    .await
}

#[test]
#[cfg(feature = "postgres")]
fn of_a_statement_that_the_closure_has_limited_fail_the_step_at_once() {
    crate::run(World::postgres(), async |world| {
        let (test, worker) = (unique(), world.worker().await);
        let error = world.stent.run(slow(test)).await.unwrap_err();
        assert!(error.to_string().contains("statement timeout"), "{error}");
        assert_eq!(ran::count(test), 1);
        worker.drain().await.unwrap();
    });
}

async fn create_lines(world: &World) {
    for table in [
        "CREATE TABLE parents (id BIGINT PRIMARY KEY)",
        "CREATE TABLE lines (order_id BIGINT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
    ] {
        world.database.execute_unprepared(table).await.unwrap();
    }
}
