//! Every guarantee is written down and has a conformance case.

use std::collections::BTreeSet;

use super::Finding;
use super::checkout::File;
use super::suite::{CASES, cases};

/// How many there are: G1 to G17.
const GUARANTEES: u32 = 17;

const SEMANTICS: &str = "docs/semantics.md";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let written = files.iter().find(|file| file.path == SEMANTICS);
    let mut findings = written_down(written.map_or("", |file| file.text.as_str()));
    let proven: BTreeSet<u32> = cases(files).iter().map(|case| case.guarantee).collect();
    if proven.is_empty() {
        let remedy = "put the suite's cases there, or name their new place in xtask/src/tidy/guarantees.rs";
        findings.push(Finding::new(CASES, "there are no cases", remedy));
    } else {
        findings.extend(unproven(&proven));
    }
    findings
}

fn written_down(page: &str) -> Vec<Finding> {
    let headings: Vec<u32> = page.lines().filter_map(heading).collect();
    let missing = (1..=GUARANTEES).filter(|guarantee| !headings.contains(guarantee)).map(|guarantee| {
        Finding::new(
            SEMANTICS,
            format!("G{guarantee} is not written down"),
            format!("add `## G{guarantee} …`"),
        )
    });
    let unknown =
        headings.iter().filter(|guarantee| !(1..=GUARANTEES).contains(*guarantee)).map(|guarantee| {
            let remedy =
                "raise the number of guarantees in xtask/src/tidy/guarantees.rs, or mend the heading";
            Finding::new(SEMANTICS, format!("G{guarantee} is none of the guarantees"), remedy)
        });
    missing.chain(unknown).collect()
}

/// The number in `## G3 A stale epoch …`.
fn heading(line: &str) -> Option<u32> {
    number(line.strip_prefix("## G")?)
}

/// The number that a text begins with.
fn number(rest: &str) -> Option<u32> {
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn unproven(proven: &BTreeSet<u32>) -> Vec<Finding> {
    let missing = (1..=GUARANTEES).filter(|guarantee| !proven.contains(guarantee)).map(|guarantee| {
        let remedy = format!("list a case of it: `G{guarantee} what_it_claims,`");
        Finding::new(CASES, format!("no case checks G{guarantee}"), remedy)
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(guarantees: impl Iterator<Item = u32>) -> String {
        guarantees.map(|guarantee| format!("## G{guarantee} A promise\n\ntext\n")).collect()
    }

    fn whats(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.what).collect()
    }

    fn suite(guarantees: impl Iterator<Item = u32>, more: &str) -> File {
        let case = |guarantee| format!("    G{guarantee} what_it_claims,\n");
        File::new(
            format!("{CASES}/all.rs"),
            format!("list! {{ all:\n{}{more} }}", guarantees.map(case).collect::<String>()),
        )
    }

    #[test]
    fn a_whole_page_and_a_case_for_each_pass() {
        let files = [File::new(SEMANTICS, page(1..=17)), suite(1..=17, "")];
        assert_eq!(check(&files), []);
    }

    #[test]
    fn a_guarantee_that_is_not_written_down_is_found() {
        assert_eq!(whats(written_down(&page((1..=17).filter(|n| *n != 7)))), ["G7 is not written down"]);
        assert_eq!(whats(written_down(&page(1..=18))), ["G18 is none of the guarantees"]);
        assert_eq!(written_down("").len(), 17);
    }

    #[test]
    fn a_guarantee_without_a_case_is_found_and_a_comment_is_no_case() {
        let suite = suite((1..=17).filter(|guarantee| *guarantee != 1), "// G1 what_it_claims,\n");
        assert_eq!(whats(check(&[File::new(SEMANTICS, page(1..=17)), suite])), ["no case checks G1"]);
    }

    #[test]
    fn a_suite_that_is_not_where_it_should_be_is_found() {
        assert_eq!(whats(check(&[File::new(SEMANTICS, page(1..=17))])), ["there are no cases"]);
    }
}
