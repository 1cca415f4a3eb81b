//! The shape of the whole: from `#[durable]` to a result, on the memory store.

use std::sync::atomic::{AtomicU32, Ordering};

use stent::prelude::*;

#[durable]
async fn double(n: u64) -> Result<u64, String> {
    Ok(n * 2)
}

#[durable]
async fn twice(n: u64) -> Result<u64, stent::Error> {
    let a = double(n).await?;
    let b = double(a).await?;
    Ok(b)
}

#[durable]
async fn nested(n: u64) -> Result<u64, stent::Error> {
    let a = twice(n).await?;
    let (x, y) = stent::join!(double(a), twice(a));
    stent::sleep("20ms").await?;
    let z = stent::step("sum", || async { Ok::<_, stent::Error>(x? + y?) }).await;
    z
}

#[durable]
async fn fan(n: u64) -> Result<u64, stent::Error> {
    let all = double::map(0..n).await?;
    assert!(all.iter().enumerate().all(|(i, v)| *v == 2 * i as u64));
    Ok(all.len() as u64)
}

static FLAKES: AtomicU32 = AtomicU32::new(0);

#[durable(retry(max_attempts = 3, initial_delay = "10ms"))]
async fn flaky() -> Result<u32, String> {
    let n = FLAKES.fetch_add(1, Ordering::SeqCst);
    if n < 2 { Err(format!("flake {n}")) } else { Ok(n) }
}

#[durable]
async fn calls_flaky() -> Result<u32, stent::Error> {
    Ok(flaky().await?)
}

async fn setup() -> (Stent, Worker) {
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
    let stent = Stent::connect("memory:").await.unwrap();
    let worker = stent.worker().start().await.unwrap();
    (stent, worker)
}

#[tokio::test]
async fn a_leaf() {
    let (stent, worker) = setup().await;
    assert_eq!(stent.dispatch(double(2)).await.unwrap().result().timeout("5s").await.unwrap(), 4);
    worker.drain().await.unwrap();
}

#[tokio::test]
async fn steps() {
    let (stent, worker) = setup().await;
    assert_eq!(stent.dispatch(twice(2)).await.unwrap().result().timeout("5s").await.unwrap(), 8);
    worker.drain().await.unwrap();
}

#[tokio::test]
async fn nesting() {
    let (stent, worker) = setup().await;
    assert_eq!(stent.dispatch(nested(2)).await.unwrap().result().timeout("5s").await.unwrap(), 16 + 32);
    worker.drain().await.unwrap();
}

#[tokio::test]
async fn maps() {
    let (stent, worker) = setup().await;
    for n in [0, 1, 999, 1000, 1001, 10_000] {
        assert_eq!(stent.dispatch(fan(n)).await.unwrap().result().timeout("10s").await.unwrap(), n);
    }
    worker.drain().await.unwrap();
}

#[tokio::test]
async fn retries() {
    let (stent, worker) = setup().await;
    assert_eq!(stent.dispatch(calls_flaky()).await.unwrap().result().timeout("5s").await.unwrap(), 2);
    worker.drain().await.unwrap();
}
