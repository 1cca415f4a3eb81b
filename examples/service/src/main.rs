//! A shop as a web service: it takes orders over HTTP, and fulfils them with a worker in the same process.
//!
//! ```sh
//! cargo run -p service                                                     # on SQLite, in ./shop.db
//! curl -i localhost:8080/orders --json '{"number": "A-17", "items": ["bell", "saddle"]}'
//! curl -N localhost:8080/orders/A-17/events                                # in another terminal
//! curl -i localhost:8080/webhooks/payment --json '{"order": "A-17", "accepted": true}'
//! ```
//!
//! | File | Has |
//! |---|---|
//! | `shop.rs` | the durable functions |
//! | `orders.rs` | the shop's own table, and the transaction that writes an order and starts its execution |
//! | `api.rs` | the routes |
//! | `events.rs` | progress as server-sent events |

mod api;
mod events;
mod orders;
mod shop;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use stent::Stent;
use stent::metrics::{Facade, SECONDS_BUCKETS, SIZE_BUCKETS};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::api::App;
use crate::orders::Orders;
use crate::shop::Bench;

/// Takes orders over HTTP and fulfils them
#[derive(Debug, Parser)]
#[command(name = "service")]
struct Options {
    /// The database of the shop, which is also Stent's store
    #[arg(
        long,
        env = "SHOP_STORE",
        value_name = "URL",
        default_value = "sqlite://shop.db",
        hide_env_values = true
    )]
    store: String,

    /// The address to listen on
    #[arg(long, env = "SHOP_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// How long a shutdown waits for running steps; at least 10 s less than the platform waits before it kills
    #[arg(long, env = "SHOP_GRACE", value_name = "DURATION", default_value = "30s")]
    grace: String,

    /// The secret that the payment provider sends in the header `x-webhook-secret`; without it, anybody may call the webhook
    #[arg(long, env = "SHOP_WEBHOOK_SECRET", value_name = "TEXT", hide_env_values = true)]
    webhook_secret: Option<String>,

    /// How long it takes to pack an item
    #[arg(long, env = "SHOP_PACK_MS", value_name = "MILLISECONDS", default_value_t = 500)]
    pack_ms: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    stent::install_panic_hook();
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the service failed");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    // Before anything else, because a signal that arrives earlier would end the process without a drain.
    let mut terminate = signal(SignalKind::terminate())?;
    let exporter = exporter()?;
    let stent = Stent::builder().metrics(Facade::new()).sample_lanes("15s").connect(&options.store).await?;
    let orders = Orders::open(&options.store).await?;
    let bench = Bench { pack_ms: options.pack_ms };
    let worker = stent.worker().state(bench).grace(options.grace.as_str()).start().await?;

    // An exporter whose handle is scraped by hand has to be tidied by hand, or histograms grow while nobody scrapes.
    let upkeep = exporter.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });

    let (closes, closing) = watch::channel(false);
    let app = App {
        stent: stent.clone(),
        orders: orders.clone(),
        webhook_secret: options.webhook_secret.map(Into::into),
        closing: closing.clone(),
    };
    let router = api::router(app)
        .merge(stent::http::router(&stent))
        .merge(stent::http::metrics(move || exporter.render()));
    let listener = TcpListener::bind(options.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let closed = async move {
        // An error means that the sender is gone, which is a shutdown, too.
        let _ = closing.clone().wait_for(|closes| *closes).await;
    };
    let server = tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(closed).await;
        served.map_err(|error| error.to_string())
    });

    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    // `/readyz` fails from here on, so load balancers send no new requests. The service still answers requests that arrive: another
    // worker fulfils their orders.
    worker.drain().await?;
    // Event streams end, and their readers continue on another instance.
    closes.send_replace(true);
    server.await??;
    orders.close().await?;
    stent.close().await?;
    Ok(())
}

/// Installs the exporter. Before the first use of Stent, so that it gets the descriptions of Stent's metrics.
fn exporter() -> Result<PrometheusHandle, Box<dyn Error>> {
    let exporter = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), &SIZE_BUCKETS)?
        .install_recorder()?;
    Ok(exporter)
}
