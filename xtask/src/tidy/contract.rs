//! Checks the contract: every row of `docs/contract.md` names existing proofs.
//!
//! A row begins with the ids that ask for a behaviour and ends with its proofs, in backticks: tests by the names that
//! `suite.rs` gives them, `page docs/semantics.md#retries` for documentation, `check clippy` for a step of ci, `bench map` for
//! a measurement. The page counts its rows by the first part of their ids, so that no row is dropped silently.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::checkout::File;

const PAGE: &str = "docs/contract.md";

/// The heading above rows that this workspace does not have yet, which say when they will be added.
const ELSEWHERE: &str = "What comes elsewhere";

/// The pages that give the other proofs their names.
const CI: &str = "xtask/src/ci.rs";
const BENCHES: &str = "benches/src/plan.rs";

pub(super) fn check(files: &[File], tests: &BTreeSet<String>) -> Vec<Finding> {
    let page = files.iter().find(|file| file.path == PAGE).map_or("", |file| file.text.as_str());
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = totals(page).keys().map(|section| (*section, 0)).collect();
    let mut findings = Vec::new();
    let mut is_elsewhere = false;
    for (line, number) in page.lines().zip(1..) {
        if line.starts_with('#') {
            is_elsewhere = line.trim_start_matches('#').trim() == ELSEWHERE;
        }
        let Some((ids, last)) = row(line) else { continue };
        let mut found = |what, remedy: &str| findings.push(Finding::new(PAGE, what, remedy).at(number));
        for id in &ids {
            *counts.entry(section(id)).or_default() += 1;
            if let Some(before) = lines.insert(id, number) {
                found(
                    format!("{id} stands in line {before} too"),
                    "keep the one that says more, with the tests of both",
                );
            }
        }
        let ids = ids.join(", ");
        if last.is_empty() {
            found(format!("{ids} has no proof"), "name its test, or say when it comes");
        }
        for part in last.split(", ").filter(|part| !is_elsewhere && !part.is_empty()) {
            match part.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
                None => found(
                    format!("{ids} has {part:?} for a proof"),
                    "write proofs in backticks, with commas between them",
                ),
                Some(proof) => {
                    if let Some(what) = missing(proof, files, tests) {
                        let remedy = "name what is there; names are told in xtask/src/tidy/suite.rs";
                        found(format!("{ids}: {what}: {proof}"), remedy);
                    }
                }
            }
        }
    }
    let wrong = counts.into_iter().filter_map(|(section, count)| {
        let total = totals(page).get(section).copied().unwrap_or_default();
        let what = || format!("{count} rows of {section} are there, and {total} are asked for");
        (count != total)
            .then(|| Finding::new(PAGE, what(), "add the row that is missing, or mend the page's count"))
    });
    findings.extend(wrong);
    if totals(page).is_empty() {
        let remedy = "write a row for each behaviour that is asked for, and the table of totals: `| **W** | weaknesses | 46 |`";
        findings.push(Finding::new(PAGE, "the rows are not counted", remedy));
    }
    findings
}

/// The ids of a row, and its last cell: its proofs, or when it will be added. `None` if the line is a heading, a rule or
/// a total.
fn row(line: &str) -> Option<(Vec<&str>, &str)> {
    let cells = cells(line)?;
    let [first, .., last] = &cells[..] else { return None };
    let ids = first.split(", ").map(|id| is_id(id).then_some(id)).collect::<Option<_>>()?;
    Some((ids, last))
}

/// The cells of a table's line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// Whether this is an id: `W3`, `S1-G2`.
fn is_id(cell: &str) -> bool {
    !cell.contains(' ')
        && cell.starts_with(|c: char| c.is_ascii_uppercase())
        && (cell.contains('-') || cell[1..].starts_with(|c: char| c.is_ascii_digit()))
        && cell.len() > section(cell).len()
}

/// The section in which an id counts: `S0` for `S0-1.1a`, `F` for `F-RT1`, `W` for `W45`.
fn section(id: &str) -> &str {
    id.split_once('-').map_or_else(|| &id[..1], |(section, _)| section)
}

/// The number of rows of each section according to the page: a table's line whose first cell is `S0` in bold.
fn totals(page: &str) -> BTreeMap<&str, usize> {
    let total = |line| {
        let cells = cells(line)?;
        let section = cells.first()?.strip_prefix("**")?.strip_suffix("**")?;
        Some((section, cells.last()?.parse().ok()?))
    };
    page.lines().filter_map(total).collect()
}

/// The fault of a proof, if it has one.
fn missing(proof: &str, files: &[File], tests: &BTreeSet<String>) -> Option<&'static str> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let (is_there, what) = match proof.split_once(' ') {
        Some(("page", link)) => {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let has = |page| anchor.is_empty() || anchors(page).any(|own| own == anchor);
            (text(path).is_some_and(has), "no such page, or no such heading")
        }
        Some(("check", step)) => {
            (text(CI).is_some_and(|ci| ci.contains(&format!("(\"{step}\","))), "no such step of ci")
        }
        Some(("bench", bench)) => {
            // `two-workers` is the variant `TwoWorkers`.
            let is_it = |line: &str| {
                let variant = line.strip_prefix("    ").and_then(|line| line.strip_suffix(','));
                variant.is_some_and(|variant| variant.to_lowercase() == bench.replace('-', ""))
            };
            (text(BENCHES).is_some_and(|benches| benches.lines().any(is_it)), "no such bench")
        }
        _ => (tests.contains(proof), "no such test"),
    };
    (!is_there).then_some(what)
}

/// The anchors of a page's headings, as renderers derive them.
fn anchors(page: &str) -> impl Iterator<Item = String> + '_ {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|heading| {
        let heading = heading.trim_start_matches('#').trim();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTALS: &str = "| **W** | weaknesses | 2 |\n| **S0** | the first plan | 1 |\n";

    fn found(rows: &str) -> Vec<String> {
        let files = [
            File::new(PAGE, format!("{TOTALS}{rows}")),
            File::new("docs/semantics.md", "# The page\n## Time and clocks\n"),
            File::new(CI, "(\"clippy\", &|| 1)"),
            File::new(BENCHES, "enum Bench {\n    TwoWorkers,\n}"),
        ];
        let tests = ["conformance fence::a_claim".to_owned(), "stent a::b".to_owned()].into();
        check(&files, &tests).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_page_whose_rows_are_all_proven_passes() {
        let rows = "| Asked by | Holds | Proved by |\n|---|---|---|\n\
                    | W1 | it holds | `conformance fence::a_claim`, `stent a::b` |\n\
                    | W2 | so does this | `page docs/semantics.md#time-and-clocks`, `check clippy`, `bench two-workers` |\n\
                    ## What comes elsewhere\n| S0-1.1a | so does this | later |\n";
        assert_eq!(found(rows), [""; 0]);
    }

    #[test]
    fn a_proof_that_is_not_there_is_found() {
        for (proof, what) in [
            ("`conformance fence::another`", "W1, W2: no such test: conformance fence::another"),
            (
                "`page docs/semantics.md#chance`",
                "W1, W2: no such page, or no such heading: page docs/semantics.md#chance",
            ),
            ("`page docs/nowhere.md`", "W1, W2: no such page, or no such heading: page docs/nowhere.md"),
            ("`check spelling`", "W1, W2: no such step of ci: check spelling"),
            ("`bench three-workers`", "W1, W2: no such bench: bench three-workers"),
            ("TODO", "W1, W2 has \"TODO\" for a proof"),
        ] {
            let rows =
                format!("| W1, W2 | it holds | `stent a::b`, {proof} |\n| S0-G1 | so | `stent a::b` |\n");
            assert_eq!(found(&rows), [what]);
        }
        let rows = "| W1, W2 | it holds | |\n# What comes elsewhere\n| S0-G1 | later | |\n";
        assert_eq!(found(rows), ["W1, W2 has no proof", "S0-G1 has no proof"]);
    }

    #[test]
    fn a_row_that_was_dropped_or_stands_twice_is_found() {
        let rows = "| W1 | it holds | `stent a::b` |\n| S0-G1 | so | `stent a::b` |\n| X7 | unasked | `stent a::b` |\n";
        let expected =
            ["1 rows of W are there, and 2 are asked for", "1 rows of X are there, and 0 are asked for"];
        assert_eq!(found(rows), expected);
        let rows = "| W1 | it holds | `stent a::b` |\n| W1 | it holds | `stent a::b` |\n| S0-G1 | so | `stent a::b` |\n";
        assert_eq!(found(rows), ["W1 stands in line 3 too"]);
    }

    #[test]
    fn a_contract_that_is_not_written_down_is_found() {
        let whats = check(&[], &BTreeSet::new()).into_iter().map(|finding| finding.what);
        assert_eq!(whats.collect::<Vec<_>>(), ["the rows are not counted"]);
    }
}
