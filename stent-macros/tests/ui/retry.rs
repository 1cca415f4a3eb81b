//! Retry settings that no policy can have.

use stent::durable;

#[durable(retry(max_attempts = 0))]
async fn never() {}

#[durable(retry(backoff_factor = 0.5))]
async fn hasty() {}

#[durable(retry(jitter = 1.5))]
async fn nervous() {}

#[durable(retry(attempts = 3))]
async fn misspelt() {}

#[durable(retry(initial_delay = "2m"))]
async fn contradictory() {}

#[durable(retry(retry_for = "Timeout"))]
async fn without_brackets() {}

#[durable(retry = 5)]
async fn without_parentheses() {}

fn main() {}
