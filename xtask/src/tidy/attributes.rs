//! Exceptions come with a reason, tests are not switched off, and the suite waits for signals rather than for time.

use super::Finding;
use super::checkout::File;
use super::source;

/// Crates that are test code from end to end, and so never sleep.
const SUITES: &[&str] = &["stent-conformance/"];

const SLEEPS: &[&str] =
    &["std::thread::sleep", "thread::sleep", "tokio::time::sleep", "tokio::time::sleep_until", "time::sleep"];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    files.iter().filter(|file| file.is_rust()).flat_map(in_file).collect()
}

fn in_file(file: &File) -> Vec<Finding> {
    let code = source::without_quotes(&source::code(&file.text));
    let mut findings = Vec::new();
    for attribute in source::attributes(&code) {
        let found = if is_named(attribute.body, "ignore") {
            Some((
                "a test is switched off",
                "mend it or take it out: a test that does not run proves nothing",
            ))
        } else if silences(attribute.body) && !attribute.body.contains("reason") {
            Some(("a lint is silenced without a reason", "write `#[expect(…, reason = \"…\")]`"))
        } else {
            None
        };
        findings
            .extend(found.map(|(what, remedy)| Finding::new(&file.path, what, remedy).at(attribute.line)));
    }
    if SUITES.iter().any(|suite| file.path.starts_with(suite)) {
        let remedy = "wait for a signal, or move the manual clock";
        findings.extend(
            sleeps(&code)
                .into_iter()
                .map(|line| Finding::new(&file.path, "the suite sleeps", remedy).at(line)),
        );
    }
    findings
}

/// Whether an attribute is `name`, `name = …` or `name(…)`, also behind a `cfg_attr`.
fn is_named(body: &str, name: &str) -> bool {
    let begins = |body: &str| {
        let rest = body.trim_start().strip_prefix(name).map(str::trim_start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', '(', ',', ')']))
    };
    let conditional = body.strip_prefix("cfg_attr").is_some_and(|rest| rest.split(',').skip(1).any(begins));
    begins(body) || conditional
}

fn silences(body: &str) -> bool {
    is_named(body, "allow") || is_named(body, "expect")
}

fn sleeps(code: &str) -> Vec<usize> {
    let called = SLEEPS.iter().flat_map(|sleep| source::uses(code, sleep));
    let imports = source::imports(code).into_iter();
    let imported = imports.filter(|(_, path)| SLEEPS.contains(&path.as_str())).map(|(line, _)| line);
    let mut lines: Vec<_> = called.chain(imported).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        check(&[File::new(path, text)])
            .into_iter()
            .map(|finding| (finding.line.unwrap_or(0), finding.what))
            .collect()
    }

    #[test]
    fn a_test_that_is_switched_off_is_found() {
        for attribute in ["#[ignore]", "#[ignore = \"slow\"]", "#[cfg_attr(windows, ignore)]"] {
            assert_eq!(
                found("stent/tests/a.rs", attribute),
                [(1, "a test is switched off".into())],
                "{attribute}"
            );
        }
        assert_eq!(found("stent/src/a.rs", "#[ignored_by(x)] // #[ignore]"), []);
    }

    #[test]
    fn a_silenced_lint_needs_a_reason() {
        let silenced = |line| (line, "a lint is silenced without a reason".to_owned());
        assert_eq!(found("stent/src/a.rs", "#![allow(dead_code)]"), [silenced(1)]);
        assert_eq!(found("stent/src/a.rs", "\n#[expect(\n    dead_code\n)]"), [silenced(2)]);
        assert_eq!(found("stent/src/a.rs", "#[cfg_attr(test, allow(dead_code))]"), [silenced(1)]);
        assert_eq!(found("stent/src/a.rs", "#[allow(dead_code, reason = \"later\")]"), []);
        assert_eq!(found("stent-macros/src/expand.rs", "quote! { #[allow(dead_code)] #item }"), []);
    }

    #[test]
    fn a_suite_that_sleeps_is_found() {
        let path = "stent-conformance/src/cases/park.rs";
        let slept = |line| (line, "the suite sleeps".to_owned());
        assert_eq!(found(path, "x;\ntokio::time::sleep(d).await;"), [slept(2)]);
        assert_eq!(found(path, "use std::{fmt, thread::sleep};"), [slept(1)]);
        assert_eq!(found(path, "use tokio::time;\ntime::sleep(d)"), [slept(2)]);
        assert_eq!(found(path, "tokio::time::timeout(d, f)"), []);
        assert_eq!(found("stent/src/worker.rs", "tokio::time::sleep(d)"), []);
    }
}
