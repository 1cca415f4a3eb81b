//! Exceptions come with a reason, tests are not switched off, and the suite waits for signals rather than for time.

use quote::ToTokens;

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
    let Ok(code) = file.code() else { return Vec::new() };
    let code = code.to_token_stream();
    let mut findings = Vec::new();
    for (line, meta) in source::attributes(code.clone()) {
        let has_reason =
            || source::arguments(&meta).iter().any(|argument| argument.path().is_ident("reason"));
        let is_named = |name: &str| meta.path().is_ident(name);
        if is_named("ignore") {
            let remedy = "mend it or take it out: a test that does not run proves nothing";
            findings.push(Finding::new(&file.path, "a test is switched off", remedy).at(line));
        } else if (is_named("allow") || is_named("expect")) && !has_reason() {
            let remedy = "write `#[expect(…, reason = \"…\")]`";
            findings.push(Finding::new(&file.path, "a lint is silenced without a reason", remedy).at(line));
        }
    }
    if SUITES.iter().any(|suite| file.path.starts_with(suite)) {
        let sleeps = source::paths(code).into_iter().filter(|path| SLEEPS.contains(&path.text().as_str()));
        let remedy = "wait for a signal, or move the manual clock";
        findings
            .extend(sleeps.map(|path| Finding::new(&file.path, "the suite sleeps", remedy).at(path.line)));
    }
    findings
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
                found("stent/tests/a.rs", &format!("{attribute} fn a() {{}}")),
                [(1, "a test is switched off".into())],
                "{attribute}"
            );
        }
        assert_eq!(found("stent/src/a.rs", "#[ignored_by(x)] fn a() {} // #[ignore]"), []);
    }

    #[test]
    fn a_silenced_lint_needs_a_reason() {
        let silenced = |line| (line, "a lint is silenced without a reason".to_owned());
        assert_eq!(found("stent/src/a.rs", "#![allow(dead_code)]"), [silenced(1)]);
        assert_eq!(found("stent/src/a.rs", "\n#[expect(\n    dead_code\n)] fn a() {}"), [silenced(2)]);
        assert_eq!(found("stent/src/a.rs", "#[cfg_attr(test, allow(dead_code))] fn a() {}"), [silenced(1)]);
        assert_eq!(found("stent/src/a.rs", "#[allow(dead_code, reason = \"later\")] fn a() {}"), []);
        assert_eq!(found("stent-macros/src/expand.rs", "quote! { #[allow(dead_code)] #item }"), []);
    }

    #[test]
    fn a_suite_that_sleeps_is_found() {
        let path = "stent-conformance/src/cases/park.rs";
        let slept = |line| (line, "the suite sleeps".to_owned());
        assert_eq!(found(path, "fn a() {\ntokio::time::sleep(d).await; }"), [slept(2)]);
        assert_eq!(found(path, "use std::{fmt, thread::sleep};"), [slept(1)]);
        assert_eq!(found(path, "use tokio::time;\nfn a() { time::sleep(d) }"), [slept(2)]);
        assert_eq!(found(path, "fn a() { tokio::time::timeout(d, f) }"), []);
        assert_eq!(found("stent/src/worker.rs", "fn a() { tokio::time::sleep(d) }"), []);
    }
}
