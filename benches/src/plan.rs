//! The measurements, and their order.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Options;

/// A bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bench {
    Jobs,
    JobsStep,
    Workflows,
    Latency,
    Map,
    TwoWorkers,
    Start,
    Claim,
    Memory,
    Upkeep,
}

impl Bench {
    /// The default sizes.
    const fn sizes(self) -> &'static [u32] {
        match self {
            Self::Jobs | Self::JobsStep | Self::TwoWorkers => &[10_000],
            Self::Workflows => &[1_000],
            Self::Latency | Self::Start => &[200],
            Self::Map => &[1_000, 10_000, 100_000],
            Self::Claim => &[100, 100_000],
            Self::Memory | Self::Upkeep => &[20_000],
        }
    }

    /// Whether it makes sense on this store.
    const fn is_for(self, backend: Backend) -> bool {
        match self {
            // Only one process can see a store in its memory.
            Self::TwoWorkers | Self::Start => !matches!(backend, Backend::Memory),
            // Only Redis has a server that keeps everything in its memory.
            Self::Memory => matches!(backend, Backend::Redis),
            Self::Jobs | Self::JobsStep | Self::Workflows | Self::Latency | Self::Map | Self::Claim => true,
            // Memory has no size of its own.
            Self::Upkeep => !matches!(backend, Backend::Memory),
        }
    }
}

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
    Redis,
    Memory,
}

/// The event for which a commit waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Durability {
    /// For the disk.
    Full,
    /// For the operating system: a power cut may lose the last commits.
    Normal,
    /// For nothing.
    #[value(skip)]
    None,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) bench: Bench,
    pub(crate) backend: Backend,
    pub(crate) durability: Durability,
    pub(crate) n: u32,
    pub(crate) concurrency: Option<usize>,
    pub(crate) wait: bool,
    pub(crate) dir: PathBuf,
}

/// Every measurement that the options select.
pub(crate) fn specs(options: &Options, dir: &Path) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (backend, durability) in stores(options) {
        for bench in benches(options).iter().filter(|bench| bench.is_for(backend)) {
            let sizes = if options.n.is_empty() { bench.sizes() } else { &options.n };
            specs.extend(sizes.iter().map(|n| Spec {
                bench: *bench,
                backend,
                durability,
                n: *n,
                concurrency: options.concurrency,
                wait: options.wait,
                dir: dir.to_owned(),
            }));
        }
    }
    specs
}

fn stores(options: &Options) -> Vec<(Backend, Durability)> {
    let of = |backend: &Backend| match backend {
        backend @ (Backend::Sqlite | Backend::Postgres | Backend::Redis) => {
            options.durability.iter().map(|durability| (*backend, *durability)).collect()
        }
        Backend::Memory => vec![(Backend::Memory, Durability::None)],
    };
    options.backend.iter().flat_map(of).collect()
}

fn benches(options: &Options) -> &[Bench] {
    if options.only.is_empty() { Bench::value_variants() } else { &options.only }
}
