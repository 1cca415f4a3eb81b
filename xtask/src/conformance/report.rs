//! Reads what a conformance runner prints and keeps it as cases. Knows the runner's lines, starts nothing.

use serde_json::json;

use crate::backends::Backend;

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It could not run, which proves nothing.
    NotRun,
    /// It was only listed.
    Listed,
}

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not_run",
            Self::Listed => "listed",
        }
    }
}

/// One case of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) guarantee: String,
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) message: Option<String>,
}

impl Case {
    /// `[G3] fence::stale_epoch_changes_nothing`, with whatever padding.
    fn parse(title: &str, verdict: Verdict, message: Option<String>) -> Option<Self> {
        let (guarantee, name) = title.trim().strip_prefix('[')?.split_once(']')?;
        Some(Self { guarantee: guarantee.into(), name: name.trim().into(), verdict, message })
    }

    pub(super) fn json(&self, backend: Backend) -> String {
        let mut object = json!({
            "backend": backend.name(),
            "guarantee": self.guarantee,
            "case": self.name,
            "outcome": self.verdict.word(),
        });
        if let Some(message) = &self.message {
            object["message"] = json!(message);
        }
        object.to_string()
    }
}

/// What a runner has said so far.
#[derive(Debug)]
pub(super) struct Report {
    backend: Backend,
    cases: Vec<Case>,
    /// The case whose message is being read, by index: messages follow after all cases.
    reading: Option<usize>,
    /// Why the run cannot be trusted although no case of it failed.
    trouble: Option<String>,
    /// What the runner itself counted, once it came to its end.
    counted: Option<usize>,
}

impl Report {
    pub(super) const fn new(backend: Backend) -> Self {
        Self { backend, cases: Vec::new(), reading: None, trouble: None, counted: None }
    }

    pub(super) const fn backend(&self) -> Backend {
        self.backend
    }

    pub(super) fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Why the run cannot be trusted although no case of it failed.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Takes a line. Gives the case that it tells of, if it does.
    pub(super) fn read(&mut self, line: &str) -> Option<&Case> {
        if let Some(title) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            self.reading = self.cases.iter().position(|case| case.name == title.trim());
            return None;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            let counts = result.split(';').take(3);
            self.counted = Some(
                counts.filter_map(|part| part.split_whitespace().rev().nth(1)?.parse::<usize>().ok()).sum(),
            );
            return None;
        }
        if line == "failures:" {
            self.reading = None;
            return None;
        }
        if let Some(case) = self.reading {
            let message = self.cases[case].message.get_or_insert_default();
            message.push_str(line);
            message.push('\n');
            return None;
        }
        self.cases.push(outcome(line).or_else(|| listed(line))?);
        self.cases.last()
    }

    /// The runner has ended. Checks that what was read is all that there was to say.
    pub(super) fn end(&mut self, succeeded: bool, listing: bool) {
        for case in &mut self.cases {
            case.message = case.message.take().map(|message| message.trim().to_owned());
        }
        let failed = self.count(&Verdict::Failed);
        self.trouble = match self.counted {
            None if !listing => Some("the runner ended without a result".into()),
            Some(counted) if counted != self.cases.len() => {
                Some(format!("the runner counts {counted} cases, {} were read", self.cases.len()))
            }
            None | Some(_) if succeeded != (failed == 0) => Some(format!(
                "{failed} cases failed, but the runner says it {}",
                if succeeded { "passed" } else { "failed" }
            )),
            None | Some(_) => None,
        };
    }

    /// Whether every case ran and holds.
    pub(super) fn is_good(&self) -> bool {
        let bad = self.count(&Verdict::Failed) + self.count(&Verdict::NotRun);
        bad == 0 && self.trouble.is_none()
    }

    fn count(&self, verdict: &Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == *verdict).count()
    }
}

/// `test [G3] fence::stale_epoch_changes_nothing ... ok`
fn outcome(line: &str) -> Option<Case> {
    let (title, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let verdict = match outcome {
        "ok" => Verdict::Passed,
        "FAILED" => Verdict::Failed,
        _ if outcome.starts_with("ignored") => Verdict::NotRun,
        _ => return None,
    };
    let reason = outcome.strip_prefix("ignored (").and_then(|rest| rest.strip_suffix(')')).map(str::to_owned);
    Case::parse(title, verdict, reason)
}

/// `[G3] fence::stale_epoch_changes_nothing: test`
fn listed(line: &str) -> Option<Case> {
    Case::parse(line.strip_suffix(": test")?, Verdict::Listed, None)
}

/// The closing lines: one for each backend, then `N passed, 0 failed` over all.
pub(super) fn summary(reports: &[Report]) -> Vec<String> {
    let all = |report: &Report| report.cases.clone();
    let cases: Vec<Case> = reports.iter().flat_map(all).collect();
    let mut lines: Vec<String> = reports.iter().flat_map(lines_of).collect();
    if cases.is_empty() {
        lines.push("no case was chosen".into());
    }
    let troubled = reports.iter().filter(|report| report.trouble.is_some()).count();
    let troubled = if troubled > 0 { format!(", {troubled} runners in trouble") } else { String::new() };
    lines.push(format!("{}{troubled}", totals(&cases)));
    lines
}

fn lines_of(report: &Report) -> Vec<String> {
    let backend = report.backend;
    let bad = report.cases.iter().filter(|case| matches!(case.verdict, Verdict::Failed | Verdict::NotRun));
    let bad =
        bad.map(|case| format!("{backend}: {}: [{}] {}", case.verdict.word(), case.guarantee, case.name));
    let trouble = report.trouble.iter().map(|trouble| format!("{backend}: {trouble}"));
    bad.chain(trouble).chain([format!("{backend}: {}", totals(&report.cases))]).collect()
}

fn totals(cases: &[Case]) -> String {
    let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    let (listed, not_run) = (count(Verdict::Listed), count(Verdict::NotRun));
    if listed > 0 {
        return format!("{listed} cases");
    }
    let ran = format!("{} passed, {} failed", count(Verdict::Passed), count(Verdict::Failed));
    if not_run > 0 { format!("{ran}, {not_run} not run") } else { ran }
}

/// The same for machines.
pub(super) fn json_summary(reports: &[Report]) -> String {
    let count = |verdict| reports.iter().map(|report| report.count(&verdict)).sum::<usize>();
    let backends = reports.iter().map(|report| {
        let counts = json!({
            "cases": report.cases.len(),
            "passed": report.count(&Verdict::Passed),
            "failed": report.count(&Verdict::Failed),
            "not_run": report.count(&Verdict::NotRun),
            "trouble": report.trouble,
        });
        (report.backend.name().to_owned(), counts)
    });
    json!({
        "summary": {
            "backends": backends.collect::<serde_json::Map<_, _>>(),
            "cases": reports.iter().map(|report| report.cases.len()).sum::<usize>(),
            "passed": count(Verdict::Passed),
            "failed": count(Verdict::Failed),
            "not_run": count(Verdict::NotRun),
        }
    })
    .to_string()
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
G14: payloads come back byte-identical

expected 3 bytes, got 2


failures:
    payload::comes_back

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s
";

    #[test]
    fn every_case_is_read_with_its_guarantee_outcome_and_message() {
        let report = report(RED, false);

        let read: Vec<_> =
            report.cases().iter().map(|case| (case.guarantee.as_str(), case.verdict.word())).collect();
        assert_eq!(read, [("G3", "passed"), ("G14", "failed"), ("G5", "not_run")]);
        let message = "G14: payloads come back byte-identical\n\nexpected 3 bytes, got 2";
        assert_eq!(report.cases()[1].message.as_deref(), Some(message));
        assert_eq!(report.cases()[2].message.as_deref(), Some("no server"));
    }

    #[test]
    fn the_closing_lines_name_what_is_wrong_and_end_with_the_sum() {
        let lines = summary(&[report(RED, false)]);
        assert_eq!(
            lines,
            [
                "memory: failed: [G14] payload::comes_back",
                "memory: not_run: [G5] park::no_lost_wake_up",
                "memory: 1 passed, 1 failed, 1 not run",
                "1 passed, 1 failed, 1 not run",
            ]
        );
    }

    const GREEN: &str = "
running 1 test
test [G3] fence::stale_epoch_changes_nothing ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.02s
";

    #[test]
    fn the_sum_is_over_all_backends() {
        let reports = [report(GREEN, true), report(GREEN, true)];
        assert!(reports.iter().all(Report::is_good));
        assert_eq!(summary(&reports).last().map(String::as_str), Some("2 passed, 0 failed"));
    }

    #[test]
    fn a_case_that_did_not_run_is_not_good() {
        let output =
            GREEN.replace("... ok", "... ignored").replace("1 passed; 0 failed; 0", "0 passed; 0 failed; 1");
        assert!(!report(&output, true).is_good());
    }

    #[test]
    fn a_runner_that_dies_is_not_good() {
        let cut = GREEN.split("test result").next().expect("split gives one part at least");
        let report = report(cut, false);
        assert!(!report.is_good());
        let expected = [
            "memory: the runner ended without a result",
            "memory: 1 passed, 0 failed",
            "1 passed, 0 failed, 1 runners in trouble",
        ];
        assert_eq!(summary(&[report]), expected);
    }

    #[test]
    fn a_case_that_was_not_understood_is_not_good() {
        let output = GREEN.replace("test [G3] fence", "test fence");
        assert!(!report(&output, true).is_good());
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
    fn json_carries_the_same() {
        let report = report(RED, false);
        let failed = report.cases()[1].json(Backend::Memory);
        let failed: serde_json::Value = serde_json::from_str(&failed).expect("it is JSON");
        assert_eq!(failed["guarantee"], "G14");
        assert_eq!(failed["outcome"], "failed");
        let summary: serde_json::Value = serde_json::from_str(&json_summary(&[report])).expect("it is JSON");
        assert_eq!(summary["summary"]["not_run"], 1);
        assert_eq!(summary["summary"]["backends"]["memory"]["failed"], 1);
    }
}
