use stent::durable;

#[durable(retry(retry_for = ["stent::Panik"]))]
async fn no_such_kind() -> Result<(), String> {
    Ok(())
}

#[durable(retry(retry_for = ["stent::Panic", "Panik"]))]
async fn such_kinds() -> Result<(), String> {
    Ok(())
}

fn main() {}
