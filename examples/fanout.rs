//! Nested fan-out: a map over sites, and for each site all of its pages concurrently. One page is gone; it is noted, and the
//! others are there, in order.
//!
//! ```sh
//! cargo run --example fanout
//! ```
//!
//! ```text
//! crawl(sites) ── site::map(sites) ─┬─ site(name) ─┬─ index(name)
//!                                   │              └─ join_all: page(name, path), …
//!                                   └─ …
//! ```
//!
//! Every call in this tree is a separate task, which any worker may take. No function holds a worker's slot while it waits for
//! the tasks below it, so the depth of the tree does not depend on the number of slots: it also runs with one slot.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use stent::prelude::*;

/// The sites to crawl.
const SITES: [&str; 3] = ["alpha.example", "beta.example", "gamma.example"];

/// The web: site, path and text of each page. One page is linked but gone.
const WEB: &[(&str, &str, Option<&str>)] = &[
    ("alpha.example", "/", Some("welcome to alpha")),
    ("alpha.example", "/news", Some("nothing is new here today")),
    ("alpha.example", "/about", Some("we are alpha and proud of it")),
    ("beta.example", "/", Some("this is beta, come in")),
    ("beta.example", "/gone", None),
    ("beta.example", "/contact", Some("write")),
    ("gamma.example", "/", Some("gamma")),
];

/// The result of a site: each of its pages with its number of words, or why it has none.
#[derive(Debug, Serialize, Deserialize)]
struct Site {
    name: String,
    pages: Vec<(String, Result<usize, String>)>,
}

/// Why a page could not be fetched.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{path} is gone")]
struct Gone {
    path: String,
}

/// Crawls the whole web: every site, in the order of the sites.
#[durable]
async fn crawl(sites: Vec<String>) -> Result<Vec<Site>, stent::Error> {
    site::map(sites).await
}

/// Crawls one site: all of its pages concurrently. A failed page is part of the outcome; it fails neither the site nor the map.
#[durable]
async fn site(name: String) -> Result<Site, stent::Error> {
    let paths = index(name.clone()).await?;
    // The calls are built in the order of the paths, and `join_all` returns their outcomes in the same order.
    let outcomes = join_all(paths.iter().map(|path| page(name.clone(), path.clone()))).await;
    let mut pages = Vec::new();
    for (path, outcome) in paths.into_iter().zip(outcomes) {
        match outcome {
            Ok(words) => pages.push((path, Ok(words))),
            Err(stent::Error::Failed(failure)) => pages.push((path, Err(failure.message))),
            Err(other) => return Err(other),
        }
    }
    Ok(Site { name, pages })
}

/// The paths of a site's pages.
#[durable]
async fn index(site: String) -> Vec<String> {
    WEB.iter().filter(|(own, ..)| *own == site).map(|(_, path, _)| (*path).to_owned()).collect()
}

/// Counts the words of one page; retried, because the web is unreliable.
#[durable(retry(max_attempts = 3, initial_delay = "50ms"))]
async fn page(site: String, path: String) -> Result<usize, Gone> {
    // Later pages answer sooner: the order of the results does not depend on who answers first.
    tokio::time::sleep(Duration::from_millis(40 / path.len() as u64)).await;
    let text = WEB.iter().find(|(own, at, _)| *own == site && *at == path).and_then(|(.., text)| *text);
    text.map(|text| text.split_whitespace().count()).ok_or(Gone { path })
}

/// Counts the words of three small sites
#[derive(Debug, Parser)]
#[command(name = "fanout")]
struct Options {
    /// The store that records the crawl
    #[arg(long, value_name = "URL", default_value = "sqlite://fanout.db")]
    store: String,

    /// How many functions may run at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    slots: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanout: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let stent = Stent::connect(&options.store).await?;
    let worker = stent.worker().concurrency(options.slots).start().await?;

    let sites = SITES.map(str::to_owned).into();
    let sites = stent.dispatch(crawl(sites)).await?.result().timeout("1m").await?;
    for Site { name, pages } in sites {
        println!("{name}");
        for (path, outcome) in pages {
            match outcome {
                Ok(words) => println!("  {path}: {words} words"),
                Err(problem) => println!("  {path}: {problem}"),
            }
        }
    }

    worker.drain().await?;
    stent.close().await?;
    Ok(())
}
