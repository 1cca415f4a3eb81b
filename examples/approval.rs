//! An expense that a person approves or refuses, or that nobody answers in time: a signal, and a timeout on the wait for it.
//!
//! ```sh
//! cargo run --example approval -- request "a new bike" --patience 2h    # prints an id and waits
//! cargo run --example approval -- answer ID --by kim                    # in another terminal; or with --no
//! cargo run --example approval -- wait ID                               # continues, if the first was stopped
//! ```
//!
//! While the function waits, it is only a row in the store: it needs no worker, no connection and no process. The answer may
//! arrive before the wait begins, and while no process runs.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::{Error as StentError, ExecutionId};

/// A request for money.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Expense {
    what: String,
}

/// The answer of a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Approval {
    by: String,
    is_granted: bool,
}

/// The outcome of a request.
#[derive(Debug, Serialize, Deserialize)]
enum Decision {
    Paid { by: String },
    Refused { by: String },
    Unanswered,
}

/// Asks, waits, and pays. The timeout counts from the first time that the code waits, and is stored: a crash does not restart
/// it.
#[durable]
async fn reimburse(expense: Expense, patience: String) -> Result<Decision, StentError> {
    ask(expense.clone()).await?;
    match stent::signal::<Approval>("approval").timeout(patience.as_str()).await {
        Ok(Approval { by, is_granted: true }) => {
            pay(expense).await?;
            Ok(Decision::Paid { by })
        }
        Ok(Approval { by, is_granted: false }) => Ok(Decision::Refused { by }),
        // Here, silence is an outcome. A function could also send a reminder and wait again.
        Err(StentError::SignalTimeout { .. }) => Ok(Decision::Unanswered),
        Err(other) => Err(other),
    }
}

/// Notifies the people who may approve it; a real one would send a mail.
#[durable]
async fn ask(expense: Expense) {
    println!("who approves {}?", expense.what);
}

/// Pays it.
#[durable]
async fn pay(expense: Expense) {
    println!("paid: {}", expense.what);
}

/// Requests money, and lets a person decide
#[derive(Debug, Parser)]
#[command(name = "approval")]
struct Options {
    /// The store that records requests
    #[arg(long, value_name = "URL", default_value = "sqlite://approval.db", global = true)]
    store: String,

    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Requests money and waits for the decision
    Request {
        /// The purpose of the money
        what: String,

        /// The longest wait for an answer; 0s for no limit
        #[arg(long, default_value = "2h")]
        patience: String,
    },
    /// Answers a request
    Answer {
        /// The request
        id: ExecutionId,

        /// The person who answers
        #[arg(long)]
        by: String,

        /// Refuses it
        #[arg(long)]
        no: bool,
    },
    /// Waits for the decision of an earlier request
    Wait {
        /// The request
        id: ExecutionId,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("approval: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let stent = Stent::connect(&options.store).await?;
    match options.act {
        Act::Request { what, patience } => {
            let run = stent.dispatch(reimburse(Expense { what }, patience)).await?;
            println!("{}", run.id());
            wait(&stent, run).await?;
        }
        Act::Answer { id, by, no } => {
            stent.send_signal(id, "approval", &Approval { by, is_granted: !no }).await?;
        }
        Act::Wait { id } => wait(&stent, stent.handle(id)).await?,
    }
    stent.close().await?;
    Ok(())
}

/// Runs a worker until there is a decision.
async fn wait(stent: &Stent, run: Handle<Decision>) -> Result<(), Box<dyn Error>> {
    // A short lease, so that a request whose process was killed in the middle of a turn soon continues elsewhere.
    let worker = stent.worker().lease("3s").start().await?;
    match run.result().await? {
        Decision::Paid { by } => println!("approved by {by}"),
        Decision::Refused { by } => println!("refused by {by}"),
        Decision::Unanswered => println!("nobody answered in time"),
    }
    worker.drain().await?;
    Ok(())
}
