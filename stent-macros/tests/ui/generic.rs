//! A stored name identifies one function, and stored types have a name.

use stent::durable;

#[durable]
async fn store<T: Clone>(thing: T) -> T {
    thing
}

#[durable]
async fn render(page: impl ToString) -> String {
    page.to_string()
}

fn main() {}
