//! A stored name stands for one function, and what is stored has a type with a name.

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
