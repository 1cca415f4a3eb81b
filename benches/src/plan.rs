//! The measurements, and their order.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Options;

/// A bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bench {
    Jobs,
    JobsStep,
    Workflows,
    Latency,
    Map,
    History,
    Payload,
    TwoWorkers,
    Workers,
    Start,
    Claim,
    Lanes,
    Finished,
    Waiting,
    Parked,
    Recovery,
    Memory,
    Upkeep,
}

impl Bench {
    /// The default sizes. Four of them where a bench says how a cost grows.
    const fn sizes(self) -> &'static [u32] {
        match self {
            Self::Jobs | Self::JobsStep | Self::TwoWorkers | Self::Parked => &[10_000],
            Self::Workflows => &[1_000],
            Self::Latency | Self::Start => &[200],
            Self::Map => &[1_000, 10_000, 100_000, 300_000],
            Self::History => &[10, 100, 1_000, 10_000],
            Self::Payload => &[16, 1_024, 16_384, 262_144],
            Self::Workers => &[1, 2, 4, 8],
            Self::Claim => &[100, 100_000],
            Self::Lanes => &[10, 100, 1_000, 10_000],
            Self::Finished | Self::Waiting => &[1_000, 10_000, 100_000, 300_000],
            Self::Recovery => &[10],
            Self::Memory | Self::Upkeep => &[20_000],
        }
    }

    /// Whether it makes sense on this store.
    const fn is_for(self, backend: Backend) -> bool {
        match self {
            // Only one process can see a store in its memory.
            Self::TwoWorkers | Self::Workers | Self::Start | Self::Recovery => {
                !matches!(backend, Backend::Memory)
            }
            // Only Redis has a server that keeps everything in its memory.
            Self::Memory => matches!(backend, Backend::Redis),
            Self::Jobs
            | Self::JobsStep
            | Self::Workflows
            | Self::Latency
            | Self::Map
            | Self::History
            | Self::Payload
            | Self::Claim
            | Self::Lanes
            | Self::Finished
            | Self::Waiting
            | Self::Parked => true,
            // Memory has no size of its own.
            Self::Upkeep => !matches!(backend, Backend::Memory),
        }
    }
}

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
    Redis,
    Memory,
}

/// The event for which a commit waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
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

/// Shown as on the command line and in the lines.
macro_rules! shown_by_name {
    ($($of:ty),*) => {$(
        impl fmt::Display for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value = self.to_possible_value();
                f.pad(value.as_ref().map_or("none", |value| value.get_name()))
            }
        }
    )*};
}

shown_by_name!(Bench, Backend, Durability);

/// One measurement of Stent.
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

/// Every measurement that the options select, in groups: the stores of a group run one load of one size, so their runs alternate.
pub(crate) fn groups(options: &Options, dir: &Path) -> Vec<Vec<Spec>> {
    let mut groups = Vec::new();
    for durability in durabilities(options) {
        for bench in benches(options) {
            let sizes = if options.n.is_empty() { bench.sizes() } else { &options.n };
            for n in sizes {
                let stores = options.backend.iter().filter(|backend| durability.is_of(**backend));
                let group = stores.filter(|backend| bench.is_for(**backend)).map(|backend| Spec {
                    bench: *bench,
                    backend: *backend,
                    durability,
                    n: *n,
                    concurrency: options.concurrency,
                    wait: options.wait,
                    dir: dir.to_owned(),
                });
                groups.push(group.collect::<Vec<_>>());
            }
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

impl Durability {
    /// Whether a store has it: commits of a store in memory wait for nothing.
    const fn is_of(self, backend: Backend) -> bool {
        matches!(self, Self::None) == matches!(backend, Backend::Memory)
    }
}

fn durabilities(options: &Options) -> Vec<Durability> {
    let memory = options.backend.contains(&Backend::Memory).then_some(Durability::None);
    options.durability.iter().copied().chain(memory).collect()
}

fn benches(options: &Options) -> &[Bench] {
    if options.only.is_empty() { Bench::value_variants() } else { &options.only }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;

    #[test]
    fn stores_alternate_within_a_load_of_one_size() {
        let cli = Cli::parse_from([
            "stent-bench",
            "--only",
            "jobs,memory",
            "--n",
            "5,6",
            "--backend",
            "sqlite,memory",
            "--durability",
            "full",
        ]);

        let groups = groups(&cli.options, Path::new("x"));

        let shown: Vec<Vec<_>> = groups
            .iter()
            .map(|group| {
                group.iter().map(|spec| format!("{} {} {}", spec.bench, spec.backend, spec.n)).collect()
            })
            .collect();
        assert_eq!(shown, [["jobs sqlite 5"], ["jobs sqlite 6"], ["jobs memory 5"], ["jobs memory 6"]]);
    }

    #[test]
    fn benches_that_say_how_a_cost_grows_have_four_sizes() {
        let growing = [
            Bench::Map,
            Bench::History,
            Bench::Payload,
            Bench::Workers,
            Bench::Lanes,
            Bench::Finished,
            Bench::Waiting,
        ];
        assert!(growing.iter().all(|bench| bench.sizes().len() == 4));
    }
}
