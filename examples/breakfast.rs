//! The program of the guide's quickstart, as written there: kill it half-way, and run it again.

use stent::prelude::*;

#[durable]
async fn bake(loaf: u64) -> Result<String, String> {
    println!("baking loaf {loaf}");
    Ok(format!("loaf {loaf}"))
}

#[durable]
async fn breakfast() -> Result<String, stent::Error> {
    let mut loaves = Vec::new();
    for n in 1..=5 {
        loaves.push(bake(n).await?); // a step: its result is recorded
        stent::sleep("2s").await?; // durable: it survives the process
    }
    Ok(loaves.join(", "))
}

#[tokio::main]
async fn main() -> stent::Result<()> {
    let stent = Stent::connect("sqlite://breakfast.db").await?;
    let worker = stent.worker().start().await?;

    let run = stent.dispatch(breakfast()).idempotency_key("monday").await?;
    println!("ready: {}", run.result().await?);
    worker.drain().await
}
