//! The outcomes of conformance runs, for people, for machines, and as JUnit XML. Starts nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use crate::backends::Backend;
use crate::runner::{Case, Runner, Verdict};

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::NotRun => "not_run",
        Verdict::Listed => "listed",
    }
}

/// The cases of one backend.
#[derive(Debug)]
pub(super) struct Report {
    backend: Backend,
    runner: Runner,
    /// Why the run cannot be trusted although no case of it failed.
    trouble: Option<String>,
}

impl Report {
    pub(super) fn new(backend: Backend) -> Self {
        Self { backend, runner: Runner::new(backend.name()), trouble: None }
    }

    pub(super) fn cases(&self) -> &[Case] {
        &self.runner.cases
    }

    /// Takes a line. Gives the case that it tells of, if it does.
    pub(super) fn read(&mut self, line: &str) -> Option<&Case> {
        self.runner.read(line)
    }

    /// The runner has ended. Checks that what was read is all that there was to say.
    pub(super) fn end(&mut self, succeeded: bool, listing: bool) {
        self.runner.cases.retain(|case| case.kind.is_some());
        for case in &mut self.runner.cases {
            case.message = case.message.take().map(|message| message.trim().to_owned());
        }
        let (read, failed) = (self.cases().len(), self.count(Verdict::Failed));
        let counted = self.runner.counted.map(|counts| counts.iter().sum::<usize>());
        self.trouble = match counted {
            None if !listing => Some("the runner ended without a result".into()),
            Some(counted) if counted != read => {
                Some(format!("the runner counts {counted} cases, {read} were read"))
            }
            _ if succeeded != (failed == 0) => Some(format!(
                "{failed} cases failed, but the runner says it {}",
                if succeeded { "passed" } else { "failed" }
            )),
            _ => None,
        };
    }

    /// Whether every case ran and holds.
    pub(super) fn is_good(&self) -> bool {
        self.count(Verdict::Failed) + self.count(Verdict::NotRun) == 0 && self.trouble.is_none()
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.runner.of(verdict).count()
    }

    /// A case, for machines.
    pub(super) fn json(&self, case: &Case) -> String {
        let mut object = json!({
            "backend": self.backend.name(),
            "guarantee": case.kind,
            "case": case.name,
            "outcome": word(case.verdict),
        });
        if let Some(message) = &case.message {
            object["message"] = json!(message);
        }
        object.to_string()
    }

    fn suite(&self) -> TestSuite {
        let mut suite = TestSuite::new(self.backend.name());
        suite.add_test_cases(self.cases().iter().map(junit));
        if let Some(trouble) = &self.trouble {
            // No case failed, and yet the run proves nothing: a reader of this file has to see it as red.
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(trouble);
            suite.add_test_case(TestCase::new("the runner", status));
        }
        suite
    }
}

fn junit(case: &Case) -> TestCase {
    let mut status = match case.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::NotRun | Verdict::Listed => TestCaseStatus::skipped(),
    };
    if let Some(message) = &case.message {
        // The first line is what lists show, the whole is what one reads.
        status.set_message(message.lines().next().unwrap_or_default());
        status.set_description(message);
    }
    let mut test = TestCase::new(&case.name, status);
    test.set_classname(case.kind.clone().unwrap_or_default());
    test
}

/// Writes JUnit XML with one suite for each backend.
pub(super) fn write_junit(file: &Path, reports: &[Report]) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(file, document(reports)?))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn document(reports: &[Report]) -> std::io::Result<String> {
    let mut document = quick_junit::Report::new("conformance");
    document.add_test_suites(reports.iter().map(Report::suite));
    document.to_string().map_err(std::io::Error::other)
}

/// The closing lines: one for each backend, then `N passed, 0 failed` over all.
pub(super) fn summary(reports: &[Report]) -> Vec<String> {
    let mut lines = Vec::new();
    for report in reports {
        let backend = report.backend;
        let bad = report.runner.of(Verdict::Failed).chain(report.runner.of(Verdict::NotRun));
        lines.extend(bad.map(|case| {
            let guarantee = case.kind.as_deref().unwrap_or_default();
            format!("{backend}: {}: [{guarantee}] {}", word(case.verdict), case.name)
        }));
        lines.extend(report.trouble.iter().map(|trouble| format!("{backend}: {trouble}")));
        lines.push(format!("{backend}: {}", totals(std::slice::from_ref(report))));
    }
    if reports.iter().all(|report| report.cases().is_empty()) {
        lines.push("no case was chosen".into());
    }
    let troubled = reports.iter().filter(|report| report.trouble.is_some()).count();
    let troubled = if troubled > 0 { format!(", {troubled} runners in trouble") } else { String::new() };
    lines.push(format!("{}{troubled}", totals(reports)));
    lines
}

fn sum(reports: &[Report], verdict: Verdict) -> usize {
    reports.iter().map(|report| report.count(verdict)).sum()
}

fn totals(reports: &[Report]) -> String {
    let [passed, failed, not_run, listed] =
        [Verdict::Passed, Verdict::Failed, Verdict::NotRun, Verdict::Listed].map(|it| sum(reports, it));
    match (listed, not_run) {
        (0, 0) => format!("{passed} passed, {failed} failed"),
        (0, _) => format!("{passed} passed, {failed} failed, {not_run} not run"),
        _ => format!("{listed} cases"),
    }
}

/// The same for machines.
pub(super) fn json_summary(reports: &[Report]) -> String {
    let counts = |reports: &[Report]| {
        let cases: usize = reports.iter().map(|report| report.cases().len()).sum();
        let [passed, failed, not_run] =
            [Verdict::Passed, Verdict::Failed, Verdict::NotRun].map(|it| sum(reports, it));
        json!({ "cases": cases, "passed": passed, "failed": failed, "not_run": not_run })
    };
    let of_backend = |report: &Report| {
        let mut object = counts(std::slice::from_ref(report));
        object["trouble"] = json!(report.trouble);
        (report.backend.name().to_owned(), object)
    };
    let mut summary = counts(reports);
    summary["backends"] = Value::Object(reports.iter().map(of_backend).collect());
    json!({ "summary": summary }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(output: &str, succeeded: bool) -> Report {
        let mut report = Report::new(Backend::Memory);
        output.lines().for_each(|line| drop(report.read(line).cloned()));
        report.end(succeeded, false);
        report
    }

    const RED: &str = "
running 3 tests
test [G3]  fence::stale_epoch_changes_nothing ... ok
test [G14] payload::comes_back                ... FAILED
test [G5]  park::no_lost_wake_up              ... ignored (no server)

failures:

---- payload::comes_back ----
G14: payloads come back <byte-identical>

expected 3 bytes, got 2


failures:
    payload::comes_back

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s
";

    const GREEN: &str = "
running 1 test
test [G3] fence::stale_epoch_changes_nothing ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.02s
";

    #[test]
    fn every_case_is_read_with_its_guarantee_outcome_and_message() {
        let report = report(RED, false);

        let read: Vec<_> =
            report.cases().iter().map(|case| (case.kind.as_deref(), word(case.verdict))).collect();
        assert_eq!(read, [(Some("G3"), "passed"), (Some("G14"), "failed"), (Some("G5"), "not_run")]);
        let message = "G14: payloads come back <byte-identical>\n\nexpected 3 bytes, got 2";
        assert_eq!(report.cases()[1].message.as_deref(), Some(message));
        assert_eq!(report.cases()[2].message.as_deref(), Some("no server"));
    }

    #[test]
    fn the_closing_lines_name_what_is_wrong_and_end_with_the_sum() {
        let expected = [
            "memory: failed: [G14] payload::comes_back",
            "memory: not_run: [G5] park::no_lost_wake_up",
            "memory: 1 passed, 1 failed, 1 not run",
            "1 passed, 1 failed, 1 not run",
        ];
        assert_eq!(summary(&[report(RED, false)]), expected);
        let reports = [report(GREEN, true), report(GREEN, true)];
        assert!(reports.iter().all(Report::is_good));
        assert_eq!(summary(&reports).last().map(String::as_str), Some("2 passed, 0 failed"));
    }

    #[test]
    fn a_case_that_did_not_run_is_not_good() {
        let ignored =
            GREEN.replace("... ok", "... ignored").replace("1 passed; 0 failed; 0", "0 passed; 0 failed; 1");
        assert!(!report(&ignored, true).is_good());
        assert!(!report(&GREEN.replace("test [G3] fence", "test fence"), true).is_good());
        assert!(!report(&GREEN.replace("... ok", "... so so"), true).is_good());
    }

    #[test]
    fn a_runner_that_dies_is_not_good() {
        let cut = GREEN.split("test result").next().expect("split gives one part at least");
        let reports = [report(cut, false)];
        assert!(!reports[0].is_good());
        let expected = [
            "memory: the runner ended without a result",
            "memory: 1 passed, 0 failed",
            "1 passed, 0 failed, 1 runners in trouble",
        ];
        assert_eq!(summary(&reports), expected);
        let xml = document(&reports).expect("it can be written");
        assert!(xml.contains(r#"<error message="the runner ended without a result""#), "{xml}");
    }

    #[test]
    fn a_list_is_read_as_cases() {
        let mut report = Report::new(Backend::Sqlite);
        report.read("[G3] fence::stale_epoch_changes_nothing: test");
        report.end(true, true);
        assert!(report.is_good());
        assert_eq!(summary(&[report]), ["sqlite: 1 cases", "1 cases"]);
    }

    #[test]
    fn json_and_xml_carry_the_same() {
        let report = report(RED, false);
        let failed: Value = serde_json::from_str(&report.json(&report.cases()[1])).expect("it is JSON");
        assert_eq!((&failed["guarantee"], &failed["outcome"]), (&json!("G14"), &json!("failed")));
        let xml = document(std::slice::from_ref(&report)).expect("it can be written");
        for part in [
            r#"<testsuite name="memory" tests="3" skipped="1" errors="0" failures="1">"#,
            r#"<testcase name="payload::comes_back" classname="G14">"#,
            r#"<failure message="G14: payloads come back &lt;byte-identical&gt;">"#,
            "expected 3 bytes, got 2",
            r#"<skipped message="no server">"#,
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
        let summary: Value = serde_json::from_str(&json_summary(&[report])).expect("it is JSON");
        assert_eq!(summary["summary"]["not_run"], 1);
        assert_eq!(summary["summary"]["backends"]["memory"]["failed"], 1);
    }
}
