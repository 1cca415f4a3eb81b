//! The loads of `stent-bench`, on other libraries: one process for one measurement, started by `stent-bench --peers`.
//!
//! | Peer | Loads | Stores |
//! |---|---|---|
//! | `graphile_worker` | `jobs`, `latency` | Postgres |
//! | `apalis` | `jobs`, `workflows`, `latency` | SQLite, Postgres; without `workflows` Redis |
//! | `oxana` | `jobs`, `latency` | Redis |
//! | `duroxide` | `jobs`, `workflows`, `latency` | SQLite, Postgres |
//! | `underway` | `jobs`, `workflows`, `latency` | Postgres |
//!
//! Each peer is a feature. It has the settings with which it was fastest on the machine of docs/performance.md, as long as they wait for the same
//! commits. Settings are constants at the top of each file, with the reason.

#[cfg(feature = "apalis")]
mod apalis;
#[cfg(feature = "duroxide")]
mod duroxide;
#[cfg(feature = "graphile_worker")]
mod graphile;
mod load;
#[cfg(feature = "oxana")]
mod oxana;
#[cfg(feature = "underway")]
mod underway;

use std::process::ExitCode;

use anyhow::{Result, bail};

use load::{Bench, Load, Offer, Spec, Store};

/// Whether this build has a peer.
const fn is_built(peer: &str) -> bool {
    match peer.as_bytes() {
        b"graphile_worker" => cfg!(feature = "graphile_worker"),
        b"apalis" => cfg!(feature = "apalis"),
        b"oxana" => cfg!(feature = "oxana"),
        b"duroxide" => cfg!(feature = "duroxide"),
        b"underway" => cfg!(feature = "underway"),
        _ => false,
    }
}

/// What each peer of this build can run. `n_max` bounds the peers that would take minutes for as many as the others run in a second.
fn offers() -> Vec<Offer> {
    let mut offers = Vec::new();
    let mut offer = |peer, stores: &[Store], benches: &[(Bench, Option<u32>)]| {
        for store in stores {
            offers.extend(benches.iter().map(|(bench, n_max)| Offer {
                peer,
                bench: *bench,
                backend: *store,
                n_max: *n_max,
                // duroxide sets `synchronous` on SQLite itself.
                full: !(peer == "duroxide" && *store == Store::Sqlite),
            }));
        }
    };
    let sql = [Store::Sqlite, Store::Postgres];
    offer("graphile_worker", &[Store::Postgres], &[(Bench::Jobs, None), (Bench::Latency, None)]);
    offer("apalis", &sql, &[(Bench::Jobs, None), (Bench::Workflows, Some(1_000)), (Bench::Latency, None)]);
    offer("apalis", &[Store::Redis], &[(Bench::Jobs, None), (Bench::Latency, None)]);
    offer("oxana", &[Store::Redis], &[(Bench::Jobs, None), (Bench::Latency, None)]);
    let slow = [(Bench::Jobs, Some(1_000)), (Bench::Workflows, Some(300)), (Bench::Latency, Some(100))];
    offer("duroxide", &sql, &slow);
    offer("underway", &[Store::Postgres], &slow);
    offers.retain(|offer| is_built(offer.peer));
    offers
}

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stent-bench-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => println!("{}", serde_json::to_string(&offers())?),
        ["measure", spec] => {
            let spec: Spec = serde_json::from_str(spec)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let mut answer = runtime.block_on(measure(Load::of(&spec), &spec))?;
            answer.peak_rss_mb = load::peak_rss_mb();
            println!("{}", serde_json::to_string(&answer)?);
            // A peer's own tasks may still run, and none of them matters now.
            runtime.shutdown_background();
        }
        _ => bail!("usage: stent-bench-peers list | measure SPEC; `stent-bench --peers` starts it"),
    }
    Ok(())
}

async fn measure(load: Load, spec: &Spec) -> Result<load::Answer> {
    match spec.peer.as_str() {
        #[cfg(feature = "graphile_worker")]
        "graphile_worker" => graphile::measure(load, spec).await,
        #[cfg(feature = "apalis")]
        "apalis" => apalis::measure(load, spec).await,
        #[cfg(feature = "oxana")]
        "oxana" => oxana::measure(load, spec).await,
        #[cfg(feature = "duroxide")]
        "duroxide" => duroxide::measure(load, spec).await,
        #[cfg(feature = "underway")]
        "underway" => underway::measure(load, spec).await,
        other => bail!("there is no peer {other:?} in this build; each is a feature"),
    }
}
