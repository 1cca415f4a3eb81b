//! The durable functions of the shop. They know nothing of HTTP.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stent::prelude::*;

/// The signal that brings the payment.
pub(crate) const PAYMENT: &str = "payment";

/// An order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The shop's own number of the order: its business key.
    pub(crate) number: String,
    pub(crate) items: Vec<String>,
}

/// The payment provider's news of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) order: String,
    pub(crate) accepted: bool,
}

/// The outcome of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(crate) enum Receipt {
    Shipped { parcels: Vec<String> },
    Declined,
    NotPaid,
}

/// Where items are packed: a state of the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bench {
    pub(crate) pack_ms: u64,
}

/// Fulfils an order: waits for its payment, packs its items, ships it.
#[durable]
pub(crate) async fn fulfil(order: Order) -> Result<Receipt, stent::Error> {
    let execution = stent::execution()?;
    execution.progress("waiting for the payment")?;
    // While it waits, it is a row in the store, and needs no worker and no memory.
    match stent::signal::<Payment>(PAYMENT).timeout("3d").await {
        Ok(Payment { accepted: true, .. }) => {}
        Ok(Payment { accepted: false, .. }) => return Ok(Receipt::Declined),
        Err(stent::Error::SignalTimeout { .. }) => return Ok(Receipt::NotPaid),
        Err(other) => return Err(other),
    }
    execution.progress("paid")?;
    let mut parcels = Vec::new();
    for item in order.items {
        parcels.push(pack(order.number.clone(), item.clone()).await?);
        execution.progress(format!("packed {item}"))?;
    }
    execution.progress("shipped")?;
    Ok(Receipt::Shipped { parcels })
}

/// Packs an item. It may run again if the process dies in the middle, so it must be safe to repeat.
#[durable]
async fn pack(number: String, item: String, State(bench): State<Bench>) -> Result<String, String> {
    tokio::time::sleep(Duration::from_millis(bench.pack_ms)).await;
    Ok(format!("{number}/{item}"))
}
