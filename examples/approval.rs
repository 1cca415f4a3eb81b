//! An expense that a person approves or refuses, or that nobody answers in time: a signal, and a limit on the wait for it.
//!
//! ```sh
//! cargo run --example approval -- request "a new bike" --patience 2h    # prints an id and waits
//! cargo run --example approval -- answer ID --by kim                    # in another terminal; or with --no
//! cargo run --example approval -- wait ID                               # goes on, should the first have been stopped
//! ```
//!
//! While it waits, the function is a row in the store: no worker, no connection, and no process has to be there. An answer
//! may come before anyone waits for it, and while nothing runs at all.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::{Error as StentError, ExecutionId};

/// What somebody wants to be paid.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Expense {
    what: String,
}

/// What a person said.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Approval {
    by: String,
    is_granted: bool,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
enum Decision {
    Paid { by: String },
    Refused { by: String },
    Unanswered,
}

/// Asks, waits, and pays. The time to wait counts from when it was first waited for, and is stored: a crash does not start
/// it over.
#[durable]
async fn reimburse(expense: Expense, patience: String) -> Result<Decision, StentError> {
    ask(expense.clone()).await?;
    match stent::signal::<Approval>("approval").timeout(patience.as_str()).await {
        Ok(Approval { by, is_granted: true }) => {
            pay(expense).await?;
            Ok(Decision::Paid { by })
        }
        Ok(Approval { by, is_granted: false }) => Ok(Decision::Refused { by }),
        // Silence is an outcome here. A function could as well remind somebody, and wait again.
        Err(StentError::SignalTimeout { .. }) => Ok(Decision::Unanswered),
        Err(other) => Err(other),
    }
}

/// Tells whoever may approve it; a real one would send a mail.
#[durable]
async fn ask(expense: Expense) {
    println!("who approves {}?", expense.what);
}

/// Pays it.
#[durable]
async fn pay(expense: Expense) {
    println!("paid: {}", expense.what);
}

/// Requests money, and has a person decide
#[derive(Debug, Parser)]
#[command(name = "approval")]
struct Options {
    /// Where requests are recorded
    #[arg(long, value_name = "URL", default_value = "sqlite://approval.db", global = true)]
    store: String,

    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Requests money and waits for the decision
    Request {
        /// What for
        what: String,

        /// How long an answer may take; 0s for as long as it takes
        #[arg(long, default_value = "2h")]
        patience: String,
    },
    /// Answers a request
    Answer {
        /// The request
        id: ExecutionId,

        /// Who answers
        #[arg(long)]
        by: String,

        /// Refuses it
        #[arg(long)]
        no: bool,
    },
    /// Waits for the decision of a request that was made before
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
    // A short lease, so that a request that is stopped in the middle of a turn goes on soon elsewhere.
    let worker = stent.worker().lease("3s").start().await?;
    match run.result().await? {
        Decision::Paid { by } => println!("approved by {by}"),
        Decision::Refused { by } => println!("refused by {by}"),
        Decision::Unanswered => println!("nobody answered in time"),
    }
    worker.drain().await?;
    Ok(())
}
