//! A durable function on a custom store, which continues where it was however often its process is killed.
//!
//! ```sh
//! cargo run -p custom-backend                  # kill it between its lines, and run it again
//! cargo run -p custom-backend -- /tmp/x.json   # elsewhere than in ./x.json
//! ```

use std::error::Error;

use custom_backend::JsonStore;
use stent::prelude::*;

/// Three cups. The pause is recorded too, and goes on while no process runs.
#[durable]
async fn brew(cups: u32) -> Result<String, stent::Error> {
    let grams = grind(cups).await?;
    stent::sleep("3s").await?;
    pour(grams).await
}

/// Grinds the beans: once, however often the program is killed afterwards.
#[durable]
async fn grind(cups: u32) -> Result<u32, stent::Error> {
    println!("grinding for {cups} cups");
    Ok(cups * 15)
}

/// Pours the water.
#[durable]
async fn pour(grams: u32) -> Result<String, stent::Error> {
    println!("pouring");
    Ok(format!("coffee of {grams} g"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "x.json".to_owned());
    let stent = Stent::builder().open(JsonStore::open(path)?).await?;
    // A short lease: if this process is killed while a step runs, the next process takes the step over after the lease.
    let worker = stent.worker().lease("2s").start().await?;

    // Under this key it is one execution, however often this line runs.
    let run = stent.dispatch(brew(3)).idempotency_key("the first coffee").await?;
    println!("{}", run.result().await?);

    worker.drain().await?;
    stent.close().await?;
    Ok(())
}
