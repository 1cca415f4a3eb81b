//! A shop whose orders and executions are in one database: one transaction inserts an order and starts its execution, and stock
//! is taken off the shelf exactly once.
//!
//! ```sh
//! cargo run --example outbox                       # three orders, one of which is withdrawn
//! cargo run --example outbox -- --orders 20        # more than there is on the shelf
//! ```

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};

/// The application's tables, beside Stent's.
const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS orders (number BIGINT PRIMARY KEY, state TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS shelf (pieces BIGINT NOT NULL)",
    "INSERT INTO shelf SELECT 10 WHERE NOT EXISTS (SELECT 1 FROM shelf)",
];

/// The outcome of an order.
#[derive(Debug, Serialize, Deserialize)]
enum Fate {
    /// One piece was taken off the shelf; this many are left.
    Reserved { left: i64 },
    /// There was none left.
    SoldOut,
}

/// Fulfils an order. Whatever crashes, an order takes one piece: the closure's writes and the record of the step are committed
/// together.
#[durable]
async fn fulfil(number: i64) -> Result<Fate, stent::Error> {
    let fate = stent::transaction(async |txn| {
        let left =
            first(&txn, "UPDATE shelf SET pieces = pieces - 1 WHERE pieces > 0 RETURNING pieces").await?;
        let (state, fate) = match left {
            Some(left) => ("reserved", Fate::Reserved { left }),
            None => ("sold out", Fate::SoldOut),
        };
        txn.execute_unprepared(&format!("UPDATE orders SET state = '{state}' WHERE number = {number}"))
            .await?;
        Ok::<_, DbErr>(fate)
    })
    .name("reserve")
    .await?;
    // Effects outside the database come after it, in a separate step, and happen at least once.
    let tell = || async {
        println!("order {number}: {fate:?}");
        Ok::<_, String>(())
    };
    stent::step("tell", tell).await?;
    Ok(fate)
}

/// Takes an order: its row and its execution are committed together, or neither is.
async fn take(
    stent: &Stent,
    database: &DatabaseConnection,
    number: i64,
) -> Result<Handle<Fate>, Box<dyn Error>> {
    let immediate = TransactionOptions {
        // SQLite: a transaction that will write must wait for the lock at its beginning, where waiting helps.
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let txn = database.begin_with_options(immediate).await?;
    txn.execute_unprepared(&format!("INSERT INTO orders VALUES ({number}, 'taken')")).await?;
    let run = stent.dispatch(fulfil(number)).within(&txn).await?;
    if number == 2 {
        // After this, neither the row nor the execution exists.
        txn.rollback().await?;
        return Err("the customer has thought better of it".into());
    }
    txn.commit().await?;
    Ok(run)
}

/// Takes orders and fulfils them
#[derive(Debug, Parser)]
#[command(name = "outbox")]
struct Options {
    /// The database of the shop, which is also Stent's store
    #[arg(long, value_name = "URL", default_value = "sqlite://outbox.db")]
    store: String,

    /// The number of orders
    #[arg(long, value_name = "N", default_value_t = 3)]
    orders: i64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outbox: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let stent = Stent::connect(&options.store).await?;
    let database = Database::connect(&options.store).await?;
    for statement in TABLES {
        database.execute_unprepared(statement).await?;
    }
    let worker = stent.worker().start().await?;

    let mut runs = Vec::new();
    for number in 1..=options.orders {
        match take(&stent, &database, number).await {
            Ok(run) => runs.push(run),
            Err(error) => println!("order {number}: not taken: {error}"),
        }
    }
    for run in &runs {
        run.result().timeout("1m").await?;
    }
    let reserved =
        first(&database, "SELECT COUNT(*) FROM orders WHERE state = 'reserved'").await?.unwrap_or_default();
    let left = first(&database, "SELECT pieces FROM shelf").await?.unwrap_or_default();
    println!("{} orders, {reserved} reserved, {left} left", runs.len());

    worker.drain().await?;
    stent.close().await?;
    Ok(())
}

/// The first number that a statement returns.
async fn first(connection: &impl ConnectionTrait, sql: &str) -> Result<Option<i64>, DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await?;
    row.map(|row| row.try_get_by_index(0)).transpose()
}
