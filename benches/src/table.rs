//! Markdown tables of recorded runs, alone or between the marks of a page.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::compare::{number, whole};
use crate::plan::{Backend, Bench, Durability};
use crate::record::Record;
use crate::report::{Better, Measurement};

/// Makes the Markdown of one table.
type Make = fn(&Record) -> String;

/// The tables, by the names in the marks of a page.
const TABLES: [(&str, Make); 7] = [
    ("machine", machine),
    ("ratios", ratios),
    ("jobs", |record| bulk(record, Bench::Jobs)),
    ("workflows", |record| bulk(record, Bench::Workflows)),
    ("latency", latency),
    ("growth", growth),
    ("others", others),
];

/// The loads that Stent and peers run.
const LOADS: [Bench; 3] = [Bench::Jobs, Bench::Workflows, Bench::Latency];

/// The benches that say how a cost grows, what their size is, and what their figure is.
pub(crate) const GROWING: [(Bench, &str, &str); 7] = [
    (Bench::Map, "items of one map", "items per second"),
    (Bench::Waiting, "executions that wait in another queue", "latency p50, ms"),
    (Bench::Finished, "executions that have ended", "latency p50, ms"),
    (Bench::Lanes, "lanes that were used once", "latency p50, ms"),
    (Bench::Workers, "worker processes", "jobs per second"),
    (Bench::Payload, "bytes of arguments and of result", "executions per second"),
    (Bench::History, "steps of one function", "steps per second"),
];

/// All tables, each under its name.
pub(crate) fn all(record: &Record) -> String {
    TABLES.map(|(name, table)| format!("## {name}\n\n{}", table(record))).join("\n")
}

/// Replaces the tables of a page.
pub(crate) fn renew(record: &Record, page: &Path) -> Result<()> {
    let shown = page.display();
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {shown}"))?;
    let renewed = between_marks(&text, record).with_context(|| format!("{shown} is no page with tables"))?;
    std::fs::write(page, renewed).with_context(|| format!("cannot write {shown}"))
}

/// The text with each table between `<!-- table NAME -->` and `<!-- end -->` made anew.
fn between_marks(text: &str, record: &Record) -> Result<String> {
    const BEGIN: &str = "<!-- table ";
    const END: &str = "<!-- end -->";
    let mut renewed = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").context("a mark does not end")?;
        let (_, after) = after.split_once(END).with_context(|| format!("the table {name} has no {END}"))?;
        let Some((_, table)) = TABLES.iter().find(|(known, _)| *known == name) else {
            bail!("there is no table {name:?}; there are {}", TABLES.map(|(name, _)| name).join(", "));
        };
        renewed.push_str(&format!("{before}{BEGIN}{name} -->\n\n{}\n{END}", table(record)));
        rest = after;
    }
    anyhow::ensure!(!renewed.is_empty(), "it has no mark like {BEGIN}jobs -->");
    renewed.push_str(rest);
    Ok(renewed)
}

fn machine(record: &Record) -> String {
    let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let rows = record.machines.iter().map(|machine| {
        vec![
            machine.date.clone(),
            or(&machine.commit),
            format!("{} × {}", machine.cores, or(&machine.processor)),
            machine.memory_gib.map_or_else(|| "unknown".to_owned(), |gib| format!("{gib} GiB")),
            or(&machine.kernel),
            machine.runs.to_string(),
        ]
    });
    table(&["Date", "Stent at", "Processor", "Memory", "Linux", "Runs"], rows)
}

/// Stent against the best peer of each load and store.
fn ratios(record: &Record) -> String {
    let mut rows = Vec::new();
    for bench in LOADS {
        for (backend, durability) in stores(record, bench) {
            let Some(stent) = find(record, bench, backend, durability, None) else { continue };
            let peers = record
                .measurements
                .iter()
                .filter(|it| it.name == bench && it.backend == backend && it.peer.is_some());
            let best = peers.max_by(|one, other| rank(one).total_cmp(&rank(other)));
            let Some(best) = best else { continue };
            rows.push(vec![
                format!("`{bench}`"),
                store(stent),
                shown(stent),
                format!("{}: {}", library(best), shown(best)),
                format!("{} ×", number(rank(stent) / rank(best))),
                with_dispatch_ratio(stent, best),
            ]);
        }
    }
    table(&["Load", "Store", "Stent", "Best peer", "Ratio", "Ratio with enqueuing"], rows)
}

/// A figure of which more is better.
fn rank(measurement: &Measurement) -> f64 {
    let figure = measurement.figure();
    match figure.better {
        Better::Higher => figure.value,
        Better::Lower => 1.0 / figure.value,
    }
}

fn with_dispatch_ratio(stent: &Measurement, peer: &Measurement) -> String {
    let both = stent.dispatch.zip(peer.dispatch);
    both.map_or_else(
        || "–".to_owned(),
        |(stent, peer)| format!("{} ×", number(stent.rate_with_dispatch / peer.rate_with_dispatch)),
    )
}

fn bulk(record: &Record, bench: Bench) -> String {
    let rows = of_load(record, bench).into_iter().map(|it| {
        let usage = it.usage.as_ref();
        let writes = usage.and_then(|usage| usage.writes);
        let or = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
        vec![
            store(it),
            library(it),
            whole(it.count()),
            shown(it),
            or(it.dispatch.map(|dispatch| dispatch.rate_with_dispatch)),
            or(usage.map(|usage| usage.client_cpu_us)),
            or(usage.and_then(|usage| usage.server_cpu_us)),
            or(writes.map(|writes| writes.commits)),
            or(writes.map(|writes| {
                writes.rows_inserted + writes.rows_updated + writes.rows_updated_hot + writes.rows_deleted
            })),
            or(writes.map(|writes| writes.index_entries)),
            or(writes.map(|writes| writes.wal_bytes)),
        ]
    });
    let head = [
        "Store",
        "Library",
        "n",
        "Per second",
        "with enqueuing",
        "Client CPU µs",
        "Server CPU µs",
        "Commits",
        "Rows",
        "Index entries",
        "WAL bytes",
    ];
    table(&head, rows)
}

fn latency(record: &Record) -> String {
    let rows = of_load(record, Bench::Latency).into_iter().map(|it| {
        let p99 = it.latency.map_or_else(|| "–".to_owned(), |latency| number(latency.p99_ms));
        vec![store(it), library(it), whole(it.count()), shown(it), p99]
    });
    table(&["Store", "Library", "n", "p50 ms", "p99 ms"], rows)
}

/// One table for each bench that grows: a row for each store, and a column for each size.
fn growth(record: &Record) -> String {
    let mut tables = Vec::new();
    for (bench, size, figure) in GROWING {
        let of_bench: Vec<_> =
            record.measurements.iter().filter(|it| it.name == bench && it.peer.is_none()).collect();
        let sizes: BTreeSet<_> = of_bench.iter().map(|it| it.n).collect();
        if sizes.is_empty() {
            continue;
        }
        let rows = stores(record, bench).into_iter().map(|(backend, durability)| {
            let cell = |n: &u32| {
                let it =
                    of_bench.iter().find(|it| (it.backend, it.durability, it.n) == (backend, durability, *n));
                it.map_or_else(|| "–".to_owned(), |it| shown(it) + &beside(it))
            };
            [store_name(backend, durability)].into_iter().chain(sizes.iter().map(cell)).collect()
        });
        let head: Vec<_> =
            [size.to_owned()].into_iter().chain(sizes.iter().map(|n| whole(f64::from(*n)))).collect();
        let head: Vec<_> = head.iter().map(String::as_str).collect();
        tables.push(format!("**`{bench}`: {figure}**\n\n{}", table(&head, rows)));
    }
    tables.join("\n")
}

/// What is measured of Stent alone, and at one size.
fn others(record: &Record) -> String {
    let tabled =
        |bench: Bench| LOADS.contains(&bench) || GROWING.iter().any(|(growing, ..)| *growing == bench);
    let own = record.measurements.iter().filter(|it| it.peer.is_none() && !tabled(it.name));
    let rows = own.map(|it| {
        let idle = it.parked.and_then(|parked| parked.idle_queries_per_second);
        let idle = idle.map(|queries| format!("{} queries per second while idle", number(queries)));
        let lease = it.lease_seconds.map(|lease| format!("under a lease of {lease} s"));
        vec![
            format!("`{}`", it.name),
            store(it),
            whole(f64::from(it.n)),
            format!("{} {}", it.figure().name, shown(it)),
            idle.or(lease).unwrap_or_default(),
        ]
    });
    table(&["Bench", "Store", "n", "Figure", ""], rows)
}

/// How often the latency of the same store was lower, before it was filled.
fn beside(measurement: &Measurement) -> String {
    let before = measurement.beside.map(|beside| beside.p50_ms_before);
    before.map_or_else(String::new, |before| {
        format!(", {} × before", number(measurement.figure().value / before))
    })
}

/// The median with its spread, and a word if it is not one to quote.
fn shown(measurement: &Measurement) -> String {
    let value = number(measurement.figure().value);
    match measurement.spread {
        Some(spread) => {
            let noisy = if spread.noisy { ", noisy" } else { "" };
            format!("{value} ({}–{}{noisy})", number(spread.min), number(spread.max))
        }
        None => format!("{value} (one run)"),
    }
}

/// Stent first, and then the peers, in the order of the stores.
pub(crate) fn of_load(record: &Record, bench: Bench) -> Vec<&Measurement> {
    let mut found: Vec<_> = record.measurements.iter().filter(|it| it.name == bench).collect();
    found.sort_by(|one, other| {
        let key = |it: &Measurement| (it.backend, it.peer.clone(), it.durability, it.n);
        key(one).cmp(&key(other))
    });
    found
}

fn find<'a>(
    record: &'a Record,
    bench: Bench,
    backend: Backend,
    durability: Durability,
    peer: Option<&str>,
) -> Option<&'a Measurement> {
    let is = |it: &&Measurement| {
        (it.name, it.backend, it.durability, it.peer.as_deref()) == (bench, backend, durability, peer)
    };
    // The largest: the peers get as many.
    record.measurements.iter().filter(is).max_by_key(|it| it.n)
}

/// The stores on which Stent ran a bench.
fn stores(record: &Record, bench: Bench) -> Vec<(Backend, Durability)> {
    let own = record.measurements.iter().filter(|it| it.name == bench && it.peer.is_none());
    own.map(|it| (it.backend, it.durability)).collect::<BTreeSet<_>>().into_iter().collect()
}

fn store(measurement: &Measurement) -> String {
    store_name(measurement.backend, measurement.durability)
}

pub(crate) fn store_name(backend: Backend, durability: Durability) -> String {
    let name = match backend {
        Backend::Sqlite => "SQLite",
        Backend::Postgres => "Postgres",
        Backend::Redis => "Redis",
        Backend::Memory => "memory",
    };
    let durability = if matches!(durability, Durability::Normal) { ", normal" } else { "" };
    format!("{name}{durability}")
}

pub(crate) fn library(measurement: &Measurement) -> String {
    match measurement.peer.as_deref() {
        None => "**Stent**".to_owned(),
        Some(peer) => peer.to_owned(),
    }
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head_cells: Vec<_> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let rows: String = rows.into_iter().map(|row| line(&row)).collect();
    if rows.is_empty() { NOTHING.to_owned() } else { line(&head_cells) + &rule + &rows }
}

/// Stands where a table would have no row.
const NOTHING: &str = "*Not measured in this run.*\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::measurement;
    use crate::report::Latency;
    use crate::spread::median;

    fn record() -> Record {
        let stent = median([90.0, 100.0, 110.0].map(|rate| measurement(None, "jobs", 1_000, rate)).into());
        let peer = measurement(Some("other"), "jobs", 1_000, 50.0);
        let lanes = [(10, 2.0), (100, 3.0)].map(|(n, p50_ms)| {
            let mut lanes = measurement(None, "lanes", n, 1.0);
            lanes.latency = Some(Latency { p50_ms, p99_ms: 9.0 });
            lanes
        });
        Record { machines: Vec::new(), measurements: [vec![peer, stent], lanes.into()].concat() }
    }

    #[test]
    fn stent_comes_first_and_shows_its_spread() {
        let shown = bulk(&record(), Bench::Jobs);
        let rows: Vec<_> = shown.lines().skip(2).collect();
        assert_eq!(rows[0], "| SQLite | **Stent** | 1,000 | 100 (90.0–110) | – | – | – | – | – | – | – |");
        assert_eq!(rows[1], "| SQLite | other | 1,000 | 50.0 (one run) | – | – | – | – | – | – | – |");
    }

    #[test]
    fn a_ratio_is_against_the_best_peer() {
        let mut record = record();
        record.measurements.push(measurement(Some("slow"), "jobs", 1_000, 10.0));
        let shown = ratios(&record);
        assert_eq!(
            shown.lines().nth(2),
            Some("| `jobs` | SQLite | 100 (90.0–110) | other: 50.0 (one run) | 2.00 × | – |")
        );
    }

    #[test]
    fn growth_has_a_column_for_each_size() {
        let shown = growth(&record());
        assert!(shown.contains("| lanes that were used once | 10 | 100 |\n"), "{shown}");
        assert!(shown.contains("| SQLite | 2.00 (one run) | 3.00 (one run) |\n"), "{shown}");
        assert!(!shown.contains("`map`"), "{shown}");
    }

    #[test]
    fn what_has_no_table_of_its_own_is_with_the_others() {
        let mut record = record();
        let mut recovery = measurement(None, "recovery", 10, 1.0);
        recovery.latency = Some(Latency { p50_ms: 4_900.0, p99_ms: 5_000.0 });
        recovery.lease_seconds = Some(5.0);
        record.measurements.push(recovery);
        let shown = others(&record);
        let rows: Vec<_> = shown.lines().skip(2).collect();
        assert_eq!(rows, ["| `recovery` | SQLite | 10 | p50_ms 4,900 (one run) | under a lease of 5 s |"]);
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = "a\n<!-- table latency -->\nold\n<!-- end -->\nb\n";
        let renewed = between_marks(page, &Record::default()).expect("the page has a mark");
        assert_eq!(renewed, "a\n<!-- table latency -->\n\n*Not measured in this run.*\n\n<!-- end -->\nb\n");
        assert_eq!(between_marks(&renewed, &Record::default()).expect("again"), renewed);
    }

    #[test]
    fn a_mark_of_no_table_is_named() {
        let of = |page| between_marks(page, &Record::default()).expect_err("no such table").to_string();
        assert!(of("<!-- table x -->\n<!-- end -->").contains("\"x\""));
        assert!(of("<!-- table jobs -->\n").contains("the table jobs has no"));
        assert!(of("no marks").contains("it has no mark"));
    }
}
