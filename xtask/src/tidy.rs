//! `cargo xtask tidy`: the rules of the house that no compiler knows, checked as facts.
//!
//! Each rule is a pure function from what was read to what was found, in a file of its own; this one reads the
//! checkout once, runs all of them and prints. A finding names the way out. What is a matter of taste is reported, and
//! fails nothing.

mod attributes;
mod bans;
mod checkout;
mod clippy;
mod contract;
mod edges;
mod guarantees;
mod links;
mod manifests;
mod opening;
mod purity;
mod rooms;
mod source;
mod suite;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use self::checkout::{Checkout, File};
use self::contract::Open;
use crate::command::root;

/// Checks the rules of the house: edges between crates, core's purity, docs, guarantees, links
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// One JSON object per finding, and a last one that sums up
    #[arg(long)]
    json: bool,

    /// Rows of the contract that wait for their test are findings too
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let open = if args.strict { Open::Refused } else { Open::Allowed };
    let Report { findings, longest, waiting } = check(&root(), open)?;
    if args.json {
        for finding in &findings {
            println!("{}", serde_json::to_string(finding)?);
        }
        println!(
            "{}",
            json!({ "summary": { "findings": findings.len(), "longest": longest, "waiting": waiting } })
        );
        return Ok(findings.is_empty());
    }
    println!("longest files, for the reader's eye only:");
    for (path, lines) in longest {
        println!("  {lines:>5}  {path}");
    }
    println!("rows of the contract that wait for their test: {waiting}");
    for finding in &findings {
        println!("{finding}");
    }
    println!(
        "tidy: {}",
        if findings.is_empty() { "ok".into() } else { format!("{} findings", findings.len()) }
    );
    Ok(findings.is_empty())
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    what: String,
    remedy: String,
}

impl Finding {
    fn new(path: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), line: None, what: what.into(), remedy: remedy.into() }
    }

    fn at(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}", self.what, self.remedy)
    }
}

/// What a look at a checkout gave.
struct Report {
    /// In the order of places.
    findings: Vec<Finding>,
    /// The longest source files and their lines.
    longest: Vec<(String, usize)>,
    /// How many rows of the contract wait for their test.
    waiting: usize,
}

fn check(root: &Path, open: Open) -> Result<Report> {
    let checkout = Checkout::read(root)?;
    let files = &checkout.files;
    let mut findings = [
        edges::check(&checkout.members),
        purity::check(&checkout.core_tree),
        bans::check(files),
        clippy::check(files),
        opening::check(files),
        rooms::check(files),
        unreadable(files),
        guarantees::check(files),
        contract::check(files, &suite::tests(files, &checkout.members), open),
        attributes::check(files),
        words::check(files),
        manifests::check(&checkout.members, files),
        links::check(files, |path| root.join(path).exists()),
    ]
    .concat();
    // Stable: within a place, findings stay in the order in which their rule tells them.
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(Report { longest: longest(files), waiting: contract::open(files), findings })
}

/// Sources that are no Rust, which no other rule can read.
fn unreadable(files: &[File]) -> Vec<Finding> {
    let sources = files.iter().filter(|file| file.is_rust());
    let broken = sources.filter_map(|file| {
        let error = file.code().err()?;
        let finding = Finding::new(&file.path, format!("it is no Rust: {error}"), "mend it");
        Some(finding.at(error.span().start().line))
    });
    broken.collect()
}

/// How many of the longest files are reported.
const LONGEST: usize = 10;

fn longest(files: &[File]) -> Vec<(String, usize)> {
    let sources = files.iter().filter(|file| file.is_rust());
    let mut lengths: Vec<_> = sources.map(|file| (file.path.clone(), file.text.lines().count())).collect();
    lengths.sort_by_key(|(path, lines)| (std::cmp::Reverse(*lines), path.clone()));
    lengths.truncate(LONGEST);
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let Report { findings, .. } = check(&root(), Open::Allowed).expect("the checkout is readable");
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    }

    #[test]
    fn a_finding_reads_path_what_remedy() {
        let finding = Finding::new("docs/a.md", "no such file: b.md", "mend the link").at(3);
        assert_eq!(finding.to_string(), "docs/a.md:3: no such file: b.md: mend the link");
    }

    #[test]
    fn the_longest_files_come_first_and_are_ten() {
        let files: Vec<_> =
            (1..=12).map(|n| File::new(format!("a/src/f{n:02}.rs"), "x\n".repeat(n))).collect();
        let longest = longest(&files);
        assert_eq!(longest.len(), LONGEST);
        assert_eq!(longest[0], ("a/src/f12.rs".to_owned(), 12));
    }
}
