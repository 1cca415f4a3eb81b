//! Two limits that apply to all workers together: how many tasks run at once, and how many start per second.
//!
//! ```sh
//! cargo run --example limits
//! cargo run --example limits -- --workers 4 --calls 60
//! ```
//!
//! A limit belongs to a function and is set in its attribute. Calls over the limit wait in the store, hold no worker's slot,
//! and do not block other work behind them. A parked function, for example one that sleeps, does not count as running.

use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use stent::prelude::*;

/// At most two at once, on all workers: for example, a program with two licences.
#[durable(max_concurrent = 2)]
async fn render(frame: u32, State(gauge): State<Gauge>) {
    let _inside = gauge.enter();
    tokio::time::sleep(Duration::from_millis(5 + u64::from(frame % 3) * 5)).await;
}

/// At most twenty per second, on all workers: for example, a service with that quota.
#[durable(rate = "20/s")]
async fn look_up(_address: u32, State(starts): State<Starts>) {
    starts.note();
}

/// A film and its credits. The two maps run concurrently, and neither limit delays the other.
#[durable]
async fn film(calls: u32) -> Result<(), stent::Error> {
    let (frames, addresses) = stent::join!(render::map(0..calls), look_up::map(0..calls));
    frames?;
    addresses?;
    Ok(())
}

/// Counts concurrent calls.
#[derive(Clone, Debug, Default)]
struct Gauge(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    now: u32,
    most: u32,
}

impl Gauge {
    fn enter(&self) -> impl Drop + use<> {
        let mut inside = self.0.lock().expect("not poisoned");
        inside.now += 1;
        inside.most = inside.most.max(inside.now);
        Leave(self.clone())
    }

    fn most(&self) -> u32 {
        self.0.lock().expect("not poisoned").most
    }
}

struct Leave(Gauge);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.0.lock().expect("not poisoned").now -= 1;
    }
}

/// Remembers when the last call started.
#[derive(Clone, Debug, Default)]
struct Starts(Arc<Mutex<Option<Instant>>>);

impl Starts {
    fn note(&self) {
        let mut last = self.0.lock().expect("not poisoned");
        *last = (*last).max(Some(Instant::now()));
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().expect("not poisoned")
    }
}

/// Runs functions under limits, and shows that the limits hold
#[derive(Debug, Parser)]
#[command(name = "limits")]
struct Options {
    /// The store that records the calls
    #[arg(long, value_name = "URL", default_value = "sqlite://limits.db")]
    store: String,

    /// How many workers share the work
    #[arg(long, value_name = "N", default_value_t = 3)]
    workers: usize,

    /// How often each function is called
    #[arg(long, value_name = "N", default_value_t = 50)]
    calls: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("limits: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let stent = Stent::connect(&options.store).await?;
    let (gauge, starts) = (Gauge::default(), Starts::default());
    let mut workers = Vec::new();
    for _ in 0..options.workers {
        workers.push(stent.worker().state(gauge.clone()).state(starts.clone()).start().await?);
    }

    let began = Instant::now();
    stent.run(film(options.calls)).await?;
    println!("{} frames, at most {} at once", options.calls, gauge.most());
    let last = starts.last().unwrap_or(began) - began;
    println!("{} addresses, the last after {:.3} s", options.calls, last.as_secs_f64());

    for worker in workers {
        worker.drain().await?;
    }
    stent.close().await?;
    Ok(())
}
