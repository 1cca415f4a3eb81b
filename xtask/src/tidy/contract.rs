//! The contract is kept: every row of `docs/contract.md` names what proves it, and that is there.
//!
//! A row begins with the ids that ask for a behaviour and ends with its proofs, in backticks: tests by the names that
//! `suite.rs` gives them, `page docs/semantics.md#retries` for what is to be written down, `check clippy` for what a step of
//! ci sees, `bench map` for what is measured. `TODO` stands where the test is still to be written. The page counts its
//! rows by the first part of their ids, so that none is dropped in silence.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::checkout::File;

const PAGE: &str = "docs/contract.md";

/// The heading above rows that are not this workspace's yet, which say when they come.
const ELSEWHERE: &str = "What comes elsewhere";

/// Stands where a test is still to be written.
const TODO: &str = "TODO";

/// The pages that give the other proofs their names.
const CI: &str = "xtask/src/ci.rs";
const BENCHES: &str = "benches/src/plan.rs";

/// Whether a row may wait for its test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    Allowed,
    Refused,
}

pub(super) fn check(files: &[File], tests: &BTreeSet<String>, open: Open) -> Vec<Finding> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        let remedy = "write it: one row for each behaviour that is asked for, with its test";
        return vec![Finding::new(PAGE, "the contract is not written down", remedy)];
    };
    let rows = rows(&page.text);
    let mut findings = counted(&rows, &totals(&page.text));
    findings.extend(named_once(&rows));
    for row in &rows {
        findings.extend(proven(row, files, tests, open));
    }
    findings
}

/// How many rows wait for a test.
pub(super) fn open(files: &[File]) -> usize {
    let page = files.iter().find(|file| file.path == PAGE);
    let rows = page.map_or_else(Vec::new, |page| rows(&page.text));
    rows.iter().filter(|row| row.is_open()).map(|row| row.ids.len()).sum()
}

/// A line of a table that begins with ids.
#[derive(Debug)]
struct Row<'a> {
    line: usize,
    ids: Vec<&'a str>,
    /// The last cell: its proofs, or when it comes.
    last: &'a str,
    is_elsewhere: bool,
}

impl Row<'_> {
    fn is_open(&self) -> bool {
        !self.is_elsewhere && self.parts().any(|part| part == TODO)
    }

    /// What stands in its last cell, with commas between.
    fn parts(&self) -> impl Iterator<Item = &str> {
        self.last.split(", ").map(str::trim).filter(|part| !part.is_empty())
    }

    fn finding(&self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(PAGE, what, remedy).at(self.line)
    }
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let mut is_elsewhere = false;
    let mut rows = Vec::new();
    for (number, line) in page.lines().enumerate() {
        if line.starts_with('#') {
            is_elsewhere = line.trim_start_matches('#').trim() == ELSEWHERE;
        }
        if let Some([first, .., last]) = cells(line).as_deref()
            && let Some(ids) = ids(first)
        {
            rows.push(Row { line: number + 1, ids, last, is_elsewhere });
        }
    }
    rows
}

/// The cells of a table's line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// The ids of a row's first cell: `W3, S1-G2`. None when the line is no row but a heading, a rule or a total.
fn ids(cell: &str) -> Option<Vec<&str>> {
    cell.split(", ").map(|id| is_id(id).then_some(id)).collect()
}

fn is_id(cell: &str) -> bool {
    !cell.contains(' ')
        && cell.starts_with(|c: char| c.is_ascii_uppercase())
        && (cell.contains('-') || cell[1..].starts_with(|c: char| c.is_ascii_digit()))
        && cell.len() > section(cell).len()
}

/// What an id is counted under: `S0` of `S0-1.1a`, `F` of `F-RT1`, `W` of `W45`.
fn section(id: &str) -> &str {
    id.split_once('-').map_or_else(|| &id[..1], |(section, _)| section)
}

/// How many rows each section has, as the page says: a table's line whose first cell is `S0` in bold.
fn totals(page: &str) -> BTreeMap<&str, usize> {
    let total = |line| {
        let cells = cells(line)?;
        let section = cells.first()?.strip_prefix("**")?.strip_suffix("**")?;
        Some((section, cells.last()?.parse().ok()?))
    };
    page.lines().filter_map(total).collect()
}

fn counted(rows: &[Row<'_>], totals: &BTreeMap<&str, usize>) -> Vec<Finding> {
    let mut counts: BTreeMap<&str, usize> = totals.keys().map(|section| (*section, 0)).collect();
    for id in rows.iter().flat_map(|row| &row.ids) {
        *counts.entry(section(id)).or_default() += 1;
    }
    let wrong = counts.into_iter().filter_map(|(section, count)| {
        let total = totals.get(section).copied().unwrap_or_default();
        (count != total).then(|| {
            let what = format!("{count} rows of {section} are there, and {total} are asked for");
            Finding::new(PAGE, what, "add the row that is missing, or mend the page's count")
        })
    });
    let empty = totals.is_empty().then(|| {
        Finding::new(
            PAGE,
            "the rows are not counted",
            "add the table of totals: `| **W** | weaknesses | 46 |`",
        )
    });
    wrong.chain(empty).collect()
}

fn named_once(rows: &[Row<'_>]) -> Vec<Finding> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut findings = Vec::new();
    for row in rows {
        for id in &row.ids {
            if let Some(before) = seen.insert(id, row.line) {
                let what = format!("{id} stands in line {before} too");
                findings.push(row.finding(what, "keep the one that says more, with the tests of both"));
            }
        }
    }
    findings
}

fn proven(row: &Row<'_>, files: &[File], tests: &BTreeSet<String>, open: Open) -> Vec<Finding> {
    let ids = row.ids.join(", ");
    if row.last.is_empty() {
        let remedy = if row.is_elsewhere { "say when it comes" } else { "name its test, or write TODO" };
        return vec![row.finding(format!("{ids} has no proof"), remedy)];
    }
    if row.is_elsewhere {
        return Vec::new();
    }
    let judge = |part: &str| {
        if part == TODO {
            let what = format!("{ids} waits for its test");
            return (open == Open::Refused).then(|| row.finding(what, "write it, and name it here"));
        }
        let Some(proof) = part.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else {
            let remedy = "write proofs in backticks, with commas between them";
            return Some(row.finding(format!("{ids} has {part:?} for a proof"), remedy));
        };
        let remedy = "name what is there; names are told in xtask/src/tidy/suite.rs";
        Some(row.finding(format!("{ids}: {}", missing(proof, files, tests)?), remedy))
    };
    row.parts().filter_map(judge).collect()
}

/// What is wrong with a proof, if anything.
fn missing(proof: &str, files: &[File], tests: &BTreeSet<String>) -> Option<String> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let (is_there, what) = match proof.split_once(' ') {
        Some(("page", link)) => {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let is_there =
                text(path).is_some_and(|page| anchor.is_empty() || anchors(page).any(|own| own == anchor));
            (is_there, "no such page, or no such heading")
        }
        Some(("check", step)) => {
            (text(CI).is_some_and(|ci| ci.contains(&format!("(\"{step}\","))), "no such step of ci")
        }
        Some(("bench", bench)) => {
            let variant = format!("    {},\n", camel(bench));
            (text(BENCHES).is_some_and(|benches| benches.contains(&variant)), "no such bench")
        }
        _ => (tests.contains(proof), "no such test"),
    };
    (!is_there).then(|| format!("{what}: {proof}"))
}

/// The anchors of a page's headings, as its readers make them.
fn anchors(page: &str) -> impl Iterator<Item = String> + '_ {
    let headings =
        page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(|heading| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    })
}

/// `two-workers` as `TwoWorkers`.
fn camel(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTALS: &str = "| **W** | weaknesses | 2 |\n| **S0** | the first plan | 1 |\n";

    fn found(rows: &str, open: Open) -> Vec<String> {
        let files = [
            File::new(PAGE, format!("{TOTALS}{rows}")),
            File::new("docs/semantics.md", "# The page\n## Time and clocks\n"),
            File::new(CI, "(\"clippy\", &|| 1)"),
            File::new(BENCHES, "enum Bench {\n    TwoWorkers,\n}"),
        ];
        let tests = ["conformance fence::a_claim".to_owned(), "stent a::b".to_owned()].into();
        check(&files, &tests, open).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_page_whose_rows_are_all_proven_passes() {
        let rows = "| Asked by | Holds | Proved by |\n|---|---|---|\n\
                    | W1, S0-1.1a | it holds | `conformance fence::a_claim`, `stent a::b` |\n\
                    | W2 | so does this | `page docs/semantics.md#time-and-clocks`, `check clippy`, `bench two-workers` |\n";
        assert_eq!(found(rows, Open::Refused), [""; 0]);
    }

    #[test]
    fn a_proof_that_is_not_there_is_found() {
        for (proof, what) in [
            ("conformance fence::another", "no such test"),
            ("page docs/semantics.md#chance", "no such page, or no such heading"),
            ("page docs/nowhere.md", "no such page, or no such heading"),
            ("check spelling", "no such step of ci"),
            ("bench three-workers", "no such bench"),
        ] {
            let rows =
                format!("| W1, W2 | it holds | `stent a::b`, `{proof}` |\n| S0-G1 | so | `stent a::b` |\n");
            assert_eq!(found(&rows, Open::Allowed), [format!("W1, W2: {what}: {proof}")]);
        }
    }

    #[test]
    fn a_row_without_a_proof_is_found() {
        let rows =
            "| W1 | it holds | |\n| W2 | it holds | a test |\n# What comes elsewhere\n| S0-G1 | later | |\n";
        assert_eq!(
            found(rows, Open::Allowed),
            ["W1 has no proof", "W2 has \"a test\" for a proof", "S0-G1 has no proof"]
        );
    }

    #[test]
    fn a_row_that_waits_is_found_when_asked_for() {
        let rows =
            "| W1, W2 | it holds | `stent a::b`, TODO |\n## What comes elsewhere\n| S0-G1 | later | TODO |\n";
        assert_eq!(found(rows, Open::Allowed), [""; 0]);
        assert_eq!(found(rows, Open::Refused), ["W1, W2 waits for its test"]);
        assert_eq!(open(&[File::new(PAGE, rows)]), 2);
    }

    #[test]
    fn a_row_that_was_dropped_or_stands_twice_is_found() {
        let rows = "| W1 | it holds | TODO |\n| S0-G1 | so | TODO |\n| X7 | unasked | TODO |\n";
        assert_eq!(
            found(rows, Open::Allowed),
            ["1 rows of W are there, and 2 are asked for", "1 rows of X are there, and 0 are asked for"]
        );
        let rows = "| W1 | it holds | TODO |\n| W1 | it holds | TODO |\n| S0-G1 | so | TODO |\n";
        assert_eq!(found(rows, Open::Allowed), ["W1 stands in line 3 too"]);
    }

    #[test]
    fn a_contract_that_is_not_written_down_is_found() {
        let whats = |files: &[File]| -> Vec<_> {
            check(files, &BTreeSet::new(), Open::Allowed).into_iter().map(|finding| finding.what).collect()
        };
        assert_eq!(whats(&[]), ["the contract is not written down"]);
        assert_eq!(whats(&[File::new(PAGE, "")]), ["the rows are not counted"]);
    }
}
