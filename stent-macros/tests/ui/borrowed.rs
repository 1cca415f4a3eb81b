//! Stored values are owned.

use std::borrow::Cow;

use stent::durable;

#[durable]
async fn charge(order: &str) -> u32 {
    order.len() as u32
}

#[durable]
async fn ship(_parcel: Option<Cow<'_, str>>) -> &'static str {
    "shipped"
}

fn main() {}
