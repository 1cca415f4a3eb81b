//! Outcomes as JUnit XML, which CI systems show. Knows the cases, starts nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::report::{Case, Report, Verdict};

/// Writes one suite for each backend.
pub(super) fn write(file: &Path, reports: &[Report]) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(file, document(reports)?))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn document(reports: &[Report]) -> std::io::Result<String> {
    let mut document = Document::new("conformance");
    document.add_test_suites(reports.iter().map(suite));
    document.to_string().map_err(std::io::Error::other)
}

fn suite(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new(report.backend().name());
    suite.add_test_cases(report.cases().iter().map(case));
    if let Some(trouble) = report.trouble() {
        // No case failed, and yet the run proves nothing: a reader of this file has to see it as red.
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(trouble);
        suite.add_test_case(TestCase::new("the runner", status));
    }
    suite
}

fn case(case: &Case) -> TestCase {
    let status = match case.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed => told(TestCaseStatus::non_success(NonSuccessKind::Failure), case),
        Verdict::NotRun | Verdict::Listed => told(TestCaseStatus::skipped(), case),
    };
    let mut test = TestCase::new(&case.name, status);
    test.set_classname(&case.guarantee);
    test
}

/// The first line is what lists show, the whole is what one reads.
fn told(mut status: TestCaseStatus, case: &Case) -> TestCaseStatus {
    if let Some(message) = &case.message {
        status.set_message(message.lines().next().unwrap_or_default());
        status.set_description(message);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Backend;

    fn report(lines: &[&str], succeeded: bool) -> Report {
        let mut report = Report::new(Backend::Sqlite);
        lines.iter().for_each(|line| drop(report.read(line).cloned()));
        report.end(succeeded, false);
        report
    }

    #[test]
    fn a_failed_case_is_written_with_its_message() {
        let report = report(
            &[
                "test [G3]  fence::stale_epoch_changes_nothing ... ok",
                "test [G14] payload::comes_back                ... FAILED",
                "test [G5]  park::no_lost_wake_up              ... ignored (no server)",
                "failures:",
                "---- payload::comes_back ----",
                "G14: payloads come back <byte-identical>",
                "expected 3 bytes, got 2",
                "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out",
            ],
            false,
        );

        let xml = document(&[report]).expect("it can be written");

        let suite = r#"<testsuite name="sqlite" tests="3" skipped="1" errors="0" failures="1">"#;
        assert!(xml.contains(suite), "{xml}");
        assert!(xml.contains(r#"<testcase name="payload::comes_back" classname="G14">"#), "{xml}");
        assert!(
            xml.contains(r#"<failure message="G14: payloads come back &lt;byte-identical&gt;">"#),
            "{xml}"
        );
        assert!(xml.contains("expected 3 bytes, got 2"), "{xml}");
        assert!(xml.contains(r#"<skipped message="no server">"#), "{xml}");
    }

    #[test]
    fn a_runner_that_dies_is_an_error() {
        let xml = document(&[report(&["test [G3] fence::a ... ok"], false)]).expect("it can be written");
        assert!(xml.contains(r#"<error message="the runner ended without a result""#), "{xml}");
    }
}
