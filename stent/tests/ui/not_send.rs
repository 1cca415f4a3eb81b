//! rustc's words, but at the function's name.

use std::rc::Rc;

use stent::durable;

#[durable]
async fn stay_on_this_thread(cents: u32) -> u32 {
    let cents = Rc::new(cents);
    std::future::ready(()).await;
    *cents
}

fn main() {}
