//! Options that do not exist, not yet exist, or are given twice.

use stent::durable;

#[durable(quue = "payments")]
async fn misspelt(cents: u32) -> u32 {
    cents
}

#[durable(max_concurrent = 10)]
async fn planned(cents: u32) -> u32 {
    cents
}

#[durable(priority = 1, queue = "payments", priority = 2)]
async fn twice(cents: u32) -> u32 {
    cents
}

#[durable(queue)]
async fn without_value(cents: u32) -> u32 {
    cents
}

#[durable(priority = 40000)]
async fn out_of_range(cents: u32) -> u32 {
    cents
}

fn main() {
    // The functions are there in spite of their options, so that calls add no errors of their own.
    let _ = (misspelt(1), planned(1), twice(1), without_value(1), out_of_range::map([1]));
}
