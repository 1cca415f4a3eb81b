//! Paths in options are paths of the user's own code: the compiler says what is wrong with them.

use stent::durable;

#[derive(Debug)]
enum ChargeError {
    Declined,
}

impl std::fmt::Display for ChargeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("declined")
    }
}

impl std::error::Error for ChargeError {}

impl stent::Classify for ChargeError {}

enum ShipError {
    Lost,
}

fn order_number(order: &String) -> String {
    order.clone()
}

#[durable(idempotent, key = order_number)]
async fn other_arguments(cents: u32) -> u32 {
    cents
}

#[durable(retry(retry_for = [ChargeError::Declined, ChargeError::Late]))]
async fn no_such_variant() -> Result<(), ChargeError> {
    Err(ChargeError::Declined)
}

#[durable(retry(retry_for = [ShipError::Lost]))]
async fn unclassified() -> Result<(), ChargeError> {
    let _ = ShipError::Lost;
    Ok(())
}

#[durable(retry(retry_for = [ChargeEror]))]
async fn no_such_type() -> Result<(), ChargeError> {
    Err(ChargeError::Declined)
}

fn main() {}
