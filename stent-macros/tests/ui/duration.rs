//! Durations are checked to their last character.

use stent::durable;

#[durable(retry(initial_delay = "10x"))]
async fn unknown_unit() {}

#[durable(retry(initial_delay = "1h 30m"))]
async fn inner_space() {}

#[durable(retry(max_delay = "40000w"))]
async fn too_long() {}

#[durable(max_duration = "10sfoo")]
async fn left_over() {}

#[durable(cached = "0s")]
async fn for_no_time() {}

#[durable(retry(max_delay = 60))]
async fn without_quotes() {}

fn main() {}
