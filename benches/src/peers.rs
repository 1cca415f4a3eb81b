//! Other libraries, measured by the program of `benches/peers`. It is a package of its own, so Stent's build knows none of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::gauge::Gauge;
use crate::machine;
use crate::namespace::Namespace;
use crate::plan::{Backend, Bench, Durability, Spec};
use crate::process::Running;
use crate::report::{Latency, Measurement};
use crate::schema::OwnDatabase;

/// The program, and what it can measure.
#[derive(Debug)]
pub(crate) struct Peers {
    program: PathBuf,
    offers: Vec<Offer>,
}

/// A load that a peer can run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Offer {
    peer: String,
    bench: Bench,
    backend: Backend,
    /// The most that it runs in reasonable time.
    n_max: Option<u32>,
    /// Whether it can wait for the disk.
    full: bool,
}

/// One measurement of a peer.
#[derive(Clone, Debug)]
pub(crate) struct PeerSpec {
    offer: Offer,
    /// What Stent runs beside it, with the size of the peer.
    spec: Spec,
}

/// The input of the program.
#[derive(Serialize)]
struct Asked<'a> {
    peer: &'a str,
    bench: Bench,
    backend: Backend,
    full: bool,
    n: u32,
    url: &'a str,
    namespace: &'a str,
}

/// Its output.
#[derive(Debug, Deserialize)]
struct Answer {
    seconds: f64,
    dispatch_seconds: Option<f64>,
    #[serde(default)]
    latencies: Vec<f64>,
    peak_rss_mb: Option<f64>,
}

impl Peers {
    pub(crate) fn of(program: &Path) -> Result<Self> {
        let shown = program.display();
        let output =
            Command::new(program).arg("list").output().with_context(|| format!("cannot start {shown}"))?;
        ensure!(output.status.success(), "{shown} list ended with {}", output.status);
        let offers = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{shown} is not benches/peers"))?;
        Ok(Self { program: program.to_owned(), offers })
    }

    /// The peers that run the load of a spec, on its store.
    pub(crate) fn beside(&self, spec: &Spec) -> Vec<PeerSpec> {
        let like = |offer: &&Offer| offer.bench == spec.bench && offer.backend == spec.backend;
        let with = |offer: &Offer| {
            let mut spec = spec.clone();
            spec.n = spec.n.min(offer.n_max.unwrap_or(u32::MAX));
            if !offer.full {
                spec.durability = Durability::Normal;
            }
            PeerSpec { offer: offer.clone(), spec }
        };
        self.offers.iter().filter(like).map(with).collect()
    }

    /// Runs one measurement on a fresh store.
    pub(crate) fn measure(
        &self,
        PeerSpec { offer, spec }: &PeerSpec,
        gauge: &mut Gauge,
    ) -> Result<Measurement> {
        let load = machine::load();
        let ground = Ground::of(spec)?;
        let (url, namespace) = ground.place()?;
        let asked = Asked {
            peer: &offer.peer,
            bench: spec.bench,
            backend: spec.backend,
            full: matches!(spec.durability, Durability::Full),
            n: spec.n,
            url: &url,
            namespace: &namespace,
        };
        let mut child = Running::start_program(&self.program, "measure", &asked)?;
        let (answer, readings): (Answer, _) = child
            .watched(gauge)
            // Not the URL, which has the password of the server.
            .with_context(|| format!("{} of {} on {}, n {}", spec.bench, offer.peer, spec.backend, spec.n))?;
        child.end()?;
        ground.clear()?;

        let mut measurement = answer.measurement(spec, &offer.peer);
        let count = measurement.count();
        measurement.usage = readings.and_then(|(before, after)| gauge.between(&before, &after, count));
        measurement.load = load;
        Ok(measurement)
    }
}

impl PeerSpec {
    pub(crate) const fn backend(&self) -> Backend {
        self.spec.backend
    }
}

impl Answer {
    fn measurement(self, spec: &Spec, peer: &str) -> Measurement {
        let mut measurement = Measurement::new(spec, self.seconds, u64::from(spec.n));
        if let Some(seconds) = self.dispatch_seconds {
            measurement = measurement.dispatched_in(seconds);
        }
        measurement.peer = Some(peer.to_owned());
        measurement.latency = (!self.latencies.is_empty()).then(|| Latency::of(self.latencies));
        measurement.peak_rss_mb = self.peak_rss_mb;
        measurement
    }
}

/// The place of a peer's data.
enum Ground {
    Folder(TempDir),
    Database(Runtime, OwnDatabase),
    Namespace(Namespace),
}

impl Ground {
    fn of(spec: &Spec) -> Result<Self> {
        Ok(match spec.backend {
            Backend::Sqlite | Backend::Memory => {
                Self::Folder(tempfile::Builder::new().prefix("stent-bench-peer-").tempdir_in(&spec.dir)?)
            }
            Backend::Postgres => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let database = runtime.block_on(OwnDatabase::create(spec.durability))?;
                Self::Database(runtime, database)
            }
            Backend::Redis => Self::Namespace(Namespace::name_one(spec.durability)?),
        })
    }

    /// The URL, and the namespace on it.
    fn place(&self) -> Result<(String, String)> {
        Ok(match self {
            Self::Folder(folder) => {
                let file = folder.path().canonicalize()?.join("bench.db");
                let file =
                    file.to_str().context("the path of the store is not UTF-8; choose another with --dir")?;
                (format!("sqlite://{file}"), String::new())
            }
            Self::Database(_, database) => (database.url(), String::new()),
            Self::Namespace(namespace) => {
                let (server, name) = namespace.for_a_peer();
                (server.to_owned(), name.to_owned())
            }
        })
    }

    fn clear(self) -> Result<()> {
        match self {
            Self::Folder(folder) => Ok(folder.close()?),
            Self::Database(runtime, database) => runtime.block_on(database.drop()),
            Self::Namespace(namespace) => namespace.drop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(backend: Backend, n: u32) -> Spec {
        Spec {
            bench: Bench::Jobs,
            backend,
            durability: Durability::Full,
            n,
            concurrency: None,
            wait: false,
            dir: "x".into(),
        }
    }

    fn peers() -> Peers {
        let offers = r#"[{"peer":"quick","bench":"jobs","backend":"postgres","n_max":null,"full":true},
            {"peer":"slow","bench":"jobs","backend":"sqlite","n_max":1000,"full":false},
            {"peer":"slow","bench":"latency","backend":"sqlite","n_max":10,"full":false}]"#;
        Peers { program: "x".into(), offers: serde_json::from_str(offers).expect("it is a list") }
    }

    #[test]
    fn a_peer_runs_beside_the_same_load_on_the_same_store_and_no_more_than_it_can() {
        let of = |backend| {
            let beside = peers().beside(&spec(backend, 20_000));
            beside.into_iter().map(|it| (it.offer.peer, it.spec.n, it.spec.durability)).collect::<Vec<_>>()
        };
        assert_eq!(of(Backend::Postgres), [("quick".to_owned(), 20_000, Durability::Full)]);
        assert_eq!(of(Backend::Sqlite), [("slow".to_owned(), 1_000, Durability::Normal)]);
        assert_eq!(of(Backend::Redis), []);
    }

    #[test]
    fn the_line_of_a_peer_has_the_same_shape() {
        let answer: Answer =
            serde_json::from_str(r#"{"seconds":2.0,"dispatch_seconds":3.0}"#).expect("an answer");
        let line = serde_json::to_value(answer.measurement(&spec(Backend::Postgres, 10), "quick"))
            .expect("plain data");
        assert_eq!((&line["peer"], &line["name"]), (&"quick".into(), &"jobs".into()));
        assert_eq!((&line["rate"], &line["rate_with_dispatch"]), (&5.0.into(), &2.0.into()));
    }
}
