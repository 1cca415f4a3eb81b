//! Only functions that can be started again by name alone can be durable.

use stent::durable;

struct Shop;

impl Shop {
    #[durable]
    async fn charge(&self, cents: u32) -> u32 {
        cents
    }
}

#[durable]
fn refund(cents: u32) -> u32 {
    cents
}

#[durable]
async unsafe fn ship(parcel: u32) -> u32 {
    parcel
}

#[durable]
struct Receipt;

fn main() {
    let _ = refund(1);
}
