//! `cargo xtask tidy`: checks the project's rules that no compiler knows.
//!
//! Each rule is a pure function from the checkout to findings, in a file of its own; this file reads the
//! checkout once, runs all rules and prints. Each finding has a remedy.

mod checkout;
mod contract;
mod core;
mod edges;
mod links;
mod pages;
mod rooms;
mod source;
mod suite;
mod text;

use std::fmt;
use std::path::Path;

use anyhow::Result;

use self::checkout::Checkout;
use crate::command::root;

/// Checks the project's rules: edges between crates, core's purity, docs, the contract, links
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<bool> {
    let findings = check(&root())?;
    for finding in &findings {
        println!("{finding}");
    }
    let sum = if findings.is_empty() { "ok".into() } else { format!("{} findings", findings.len()) };
    println!("tidy: {sum}");
    Ok(findings.is_empty())
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
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
        let line = self.line.map_or_else(String::new, |line| format!(":{line}"));
        write!(f, "{}{line}: {}: {}", self.path, self.what, self.remedy)
    }
}

fn check(root: &Path) -> Result<Vec<Finding>> {
    let Checkout { files, members, core_tree } = Checkout::read(root)?;
    let mut findings = [
        edges::check(&members, &files),
        core::check(&core_tree, &files),
        text::check(&files),
        rooms::check(&files),
        contract::check(&files, &suite::tests(&files, &members)),
        pages::check(&files),
        links::check(&files, |path| root.join(path).exists()),
    ]
    .concat();
    // A stable sort: findings at one place stay in the order of their rule.
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let findings = check(&root()).expect("the checkout is readable");
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    }

    #[test]
    fn a_finding_reads_path_what_remedy() {
        let finding = Finding::new("docs/a.md", "no such file: b.md", "mend the link").at(3);
        assert_eq!(finding.to_string(), "docs/a.md:3: no such file: b.md: mend the link");
    }
}
