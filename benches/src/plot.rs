//! Charts of recorded runs: Stent against its peers for each load and store, and how each cost grows.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::plan::{Backend, Bench};
use crate::record::Record;
use crate::report::Measurement;
use crate::svg::{self, Bar, Series};
use crate::table::{GROWING, of_load, store_name};

/// The loads that Stent and peers run, and their figures.
const LOADS: [(Bench, &str); 3] = [
    (Bench::Jobs, "jobs per second, enqueuing excluded; more is better"),
    (Bench::Workflows, "workflows of three steps per second, enqueuing excluded; more is better"),
    (Bench::Latency, "from enqueuing to the end, p50 in ms; less is better"),
];

/// Writes a file for each chart that the record has figures for, and returns their names.
pub(crate) fn all(record: &Record, folder: &Path) -> Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let charts = against_peers(record).into_iter().chain(growth(record));
    let write = |(name, svg): (String, String)| {
        let file = folder.join(&name);
        std::fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(name)
    };
    charts.map(write).collect()
}

fn against_peers(record: &Record) -> Vec<(String, String)> {
    let mut charts = Vec::new();
    for (bench, unit) in LOADS {
        let found = of_load(record, bench);
        let backends: BTreeSet<Backend> =
            found.iter().filter(|it| it.peer.is_some()).map(|it| it.backend).collect();
        for backend in backends {
            let bars: Vec<_> = found.iter().filter(|it| it.backend == backend).map(|it| bar(it)).collect();
            let store = store_name(backend, crate::plan::Durability::Full);
            charts.push((
                format!("{bench}-{backend}.svg"),
                svg::bars(&format!("{bench} on {store}"), unit, &bars),
            ));
        }
    }
    charts
}

fn bar(measurement: &Measurement) -> Bar {
    let library = measurement.peer.as_deref().unwrap_or("Stent");
    let durability =
        if matches!(measurement.durability, crate::plan::Durability::Normal) { " (normal)" } else { "" };
    Bar {
        label: format!("{library}{durability}"),
        value: measurement.figure().value,
        range: measurement.spread.map(|spread| (spread.min, spread.max)),
        own: measurement.peer.is_none(),
    }
}

fn growth(record: &Record) -> Vec<(String, String)> {
    let mut charts = Vec::new();
    for (bench, size, figure) in GROWING {
        let own: Vec<_> =
            record.measurements.iter().filter(|it| it.name == bench && it.peer.is_none()).collect();
        let stores: BTreeSet<_> = own.iter().map(|it| (it.backend, it.durability)).collect();
        let of = |(backend, durability)| {
            let of_store = own.iter().filter(|it| (it.backend, it.durability) == (backend, durability));
            let mut points: Vec<_> = of_store.map(|it| (f64::from(it.n), it.figure().value)).collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            Series { label: store_name(backend, durability), points }
        };
        let series: Vec<_> = stores.into_iter().map(of).collect();
        if !series.is_empty() {
            charts
                .push((format!("growth-{bench}.svg"), svg::lines(&bench.to_string(), figure, size, &series)));
        }
    }
    charts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::measurement;

    #[test]
    fn each_load_with_a_peer_and_each_growing_bench_has_a_file() {
        let measurements = vec![
            measurement(None, "jobs", 10, 2.0),
            measurement(Some("other"), "jobs", 10, 1.0),
            measurement(None, "workflows", 10, 2.0),
            measurement(None, "map", 10, 2.0),
            measurement(None, "map", 100, 2.0),
        ];
        let folder = tempfile::tempdir().expect("a folder");

        let names =
            all(&Record { machines: Vec::new(), measurements }, folder.path()).expect("they are written");

        assert_eq!(names, ["jobs-sqlite.svg", "growth-map.svg"]);
        assert!(names.iter().all(|name| folder.path().join(name).exists()));
    }
}
