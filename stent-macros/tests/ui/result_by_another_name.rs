//! An error must not be stored as if it were a result.

use stent::durable;

type Outcome<T> = Result<T, String>;

#[durable]
async fn charge(cents: u32) -> Outcome<u32> {
    Ok(cents)
}

fn main() {}
