//! Options that do not exist, are given twice, or contradict each other.

use stent::durable;

#[durable(quue = "payments")]
async fn misspelt(cents: u32) -> u32 {
    cents
}

#[durable(colour = "red")]
async fn of_no_such_option(cents: u32) -> u32 {
    cents
}

#[durable(retry(max_atempts = 3))]
async fn misspelt_setting(cents: u32) -> u32 {
    cents
}

#[durable(timeout = "10m")]
async fn of_another_name(cents: u32) -> u32 {
    cents
}

#[durable(expiry = "10m")]
async fn of_an_older_name(cents: u32) -> u32 {
    cents
}

#[durable(max_concurrent = 0)]
async fn idle(cents: u32) -> u32 {
    cents
}

#[durable(rate = "100/x")]
async fn hectic(cents: u32) -> u32 {
    cents
}

#[durable(tags = "gpu")]
async fn tagged(cents: u32) -> u32 {
    cents
}

#[durable(name = "charge@2")]
async fn versioned(cents: u32) -> u32 {
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
    // The functions exist in spite of their wrong options, so that calls add no errors of their own.
    let _ = (misspelt(1), of_no_such_option(1), misspelt_setting(1), of_another_name(1), of_an_older_name(1), idle(1), hectic(1), tagged(1));
    let _ = (versioned(1), twice(1), without_value(1), out_of_range::map([1]));
}
