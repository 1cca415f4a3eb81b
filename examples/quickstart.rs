//! The program of the README; a test compares the two. Run it twice: the second time nothing is charged or shipped again,
//! because `orders.db` has the execution and its result. Kill it in the middle, and the next run continues from there.

use serde::{Deserialize, Serialize};
use stent::prelude::*;

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    number: u64,
    cents: u64,
    parcels: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Approval {
    by: String,
}

#[derive(Clone)]
struct Carrier(&'static str);

#[durable(retry(max_attempts = 5, initial_delay = "1s"), queue = "payments")]
async fn charge(order: Order) -> Result<String, String> {
    println!("charging {} cents", order.cents); // here it talks to the bank
    Ok(format!("receipt for order {}", order.number))
}

#[durable(max_concurrent = 10)]
async fn ship(parcel: String, State(carrier): State<Carrier>) -> Result<String, String> {
    println!("shipping {parcel}");
    Ok(format!("{parcel} by {}", carrier.0))
}

#[durable]
async fn checkout(order: Order) -> Result<String, stent::Error> {
    let receipt = charge(order.clone()).await?; // a step: recorded, retried, never repeated
    stent::sleep("2s").await?; // durable: no worker and no memory is held
    let ok: Approval = stent::signal("approval").timeout("2d").await?; // a value from outside
    let tracking = ship::map(order.parcels).await?; // fan-out over any number of items
    let note = stent::step("note", || async {
        // an inline closure whose result is recorded
        Ok::<_, stent::Error>(format!("{receipt}, approved by {}: {}", ok.by, tracking.join(", ")))
    });
    note.await
}

#[tokio::main]
async fn main() -> stent::Result<()> {
    let stent = Stent::connect("sqlite://orders.db").await?; // a file in the current folder
    let worker = stent.worker().concurrency(64).state(Carrier("post")).start().await?;

    let order = Order { number: 7, cents: 1_999, parcels: vec!["bell".to_owned(), "saddle".to_owned()] };
    let run = stent.dispatch(checkout(order)).max_duration("3d").idempotency_key("order-7").await?;
    match run.signal("approval", &Approval { by: "kim".to_owned() }).await {
        Ok(()) | Err(stent::Error::Ended { .. }) => {} // it has ended if this is not the first run
        Err(error) => return Err(error),
    }
    println!("{}", run.result().timeout("1m").await?); // typed; any process can ask by run.id()
    worker.drain().await
}
