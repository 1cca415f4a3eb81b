//! An order from payment to parcels: steps with retries, a sleep that holds no resources, a fan-out, an inline step, and the
//! timeline of it all.
//!
//! ```sh
//! cargo run --example order                        # the bank answers at the third attempt
//! cargo run --example order -- --bank-fails 9      # it does not, and the order fails
//! ```

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;
use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent_examples::timeline;

/// A customer's order.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    number: u64,
    cents: u64,
    parcels: Vec<Parcel>,
}

/// The content of one box.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parcel {
    weight_grams: u32,
    to: String,
}

/// The bank's receipt.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Receipt {
    order: u64,
    cents: u64,
}

/// The answer to the customer.
#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    receipt: Receipt,
    tracking: Vec<String>,
    note: String,
}

/// Why a charge failed. Serde can encode it, so the code that waits for the order gets this value back and not only its text.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum ChargeError {
    #[error("the bank did not answer attempt {attempt}")]
    Unavailable { attempt: u32 },
}

/// A bank that does not answer the first few times.
#[derive(Clone, Debug)]
struct Bank {
    fails: u32,
    asked: Arc<AtomicU32>,
}

impl Bank {
    /// A real bank would recognize a repeated charge by the order's number: a step that was in flight at a crash runs again.
    async fn charge(&self, order: &Order) -> Result<Receipt, ChargeError> {
        let attempt = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if attempt <= self.fails {
            return Err(ChargeError::Unavailable { attempt });
        }
        Ok(Receipt { order: order.number, cents: order.cents })
    }
}

/// Charges the customer through the bank that the worker provides.
#[durable(retry(max_attempts = 5, initial_delay = "100ms"), queue = "payments")]
async fn charge(order: Order, State(bank): State<Bank>) -> Result<Receipt, ChargeError> {
    bank.charge(&order).await.inspect_err(|error| eprintln!("order: {error}"))
}

/// Ships one parcel and returns its tracking number.
#[durable]
async fn ship(parcel: Parcel) -> String {
    format!("{}-{}", parcel.to.to_uppercase(), parcel.weight_grams)
}

/// The whole order. Each awaited step is recorded; after a crash the code runs again and gets the recorded results.
#[durable]
async fn checkout(order: Order) -> Result<Summary, stent::Error> {
    let receipt = charge(order.clone()).await?;
    // Time to cancel the order. The sleep holds no worker, lease or memory.
    stent::sleep("500ms").await?;
    let tracking = ship::map(order.parcels).await?;
    let note = stent::step("note", || async {
        let Receipt { order, cents } = receipt;
        Ok::<_, stent::Error>(format!("order {order}: paid {}.{:02}, thank you!", cents / 100, cents % 100))
    })
    .await?;
    Ok(Summary { receipt, tracking, note })
}

/// Runs one order through payment, a pause and shipping, and prints its timeline
#[derive(Debug, Parser)]
#[command(name = "order")]
struct Options {
    /// The store that records the order
    #[arg(long, value_name = "URL", default_value = "sqlite://order.db")]
    store: String,

    /// How often the bank does not answer; from 5 on, the order fails
    #[arg(long, value_name = "N", default_value_t = 2)]
    bank_fails: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("order: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let parcels = ["oslo", "kyoto", "quito"].map(|to| Parcel { weight_grams: 1200, to: to.to_owned() });
    let order = Order { number: 1042, cents: 1999, parcels: parcels.into() };
    let bank = Bank { fails: options.bank_fails, asked: Arc::default() };

    let stent = Stent::connect(&options.store).await?;
    let worker = stent.worker().state(bank).start().await?;

    let run = stent.dispatch(checkout(order)).await?;
    let ended = run.result().timeout("1m").await;
    worker.drain().await?;

    let code = match ended {
        Ok(summary) => {
            println!("{}", summary.note);
            println!("parcels: {}", summary.tracking.join(", "));
            ExitCode::SUCCESS
        }
        Err(error) => match error.downcast::<ChargeError>() {
            Some(ChargeError::Unavailable { attempt }) => {
                println!("not paid: the bank was asked {attempt} times");
                ExitCode::FAILURE
            }
            None => return Err(error.into()),
        },
    };
    println!();
    timeline::write(&stent.inspect().timeline(run.id()).await?, io::stdout())?;
    stent.close().await?;
    Ok(code)
}
