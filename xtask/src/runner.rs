//! Reads what test runners print: the lines of libtest, which libtest-mimic prints too. Starts nothing.
//!
//! Lines, because libtest has no other output on a stable compiler, and the JSON of libtest-mimic has neither the kind of a
//! trial nor the reason why one was not run.

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// It could not run, which proves nothing.
    NotRun,
    /// It was only listed.
    Listed,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// What the runner tells apart its tests by; for a conformance case, its guarantee.
    pub(crate) kind: Option<String>,
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    pub(crate) message: Option<String>,
}

/// What one runner has said so far: a test program, or the doc tests of a crate.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    pub(crate) name: String,
    pub(crate) cases: Vec<Case>,
    /// What it counted itself, once it came to its end: passed, failed and ignored.
    pub(crate) counted: Option<[usize; 3]>,
    /// The case whose message is being read, by index: messages follow after all cases.
    reading: Option<usize>,
}

impl Runner {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Takes a line. Gives the case that it tells of, if it does.
    pub(crate) fn read(&mut self, line: &str) -> Option<&Case> {
        if let Some(title) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            self.reading = self.cases.iter().position(|case| case.name == title.trim());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.reading = None;
            // Doc tests come in two groups, each with its result.
            let counts = ["passed", "failed", "ignored"].map(|word| number(result, word));
            let before = self.counted.unwrap_or_default();
            self.counted = Some(std::array::from_fn(|at| before[at] + counts[at]));
        } else if line == "failures:" {
            self.reading = None;
        } else if let Some(case) = self.reading {
            let message = self.cases[case].message.get_or_insert_default();
            message.push_str(line);
            message.push('\n');
        } else {
            self.cases.push(outcome(line).or_else(|| listed(line))?);
            return self.cases.last();
        }
        None
    }

    pub(crate) fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(move |case| case.verdict == verdict)
    }
}

/// `test [G3]  fence::stale_epoch_changes_nothing ... ok`
fn outcome(line: &str) -> Option<Case> {
    let (title, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let verdict = match outcome {
        "ok" => Verdict::Passed,
        "FAILED" => Verdict::Failed,
        _ if outcome.starts_with("ignored") => Verdict::NotRun,
        _ => return None,
    };
    let reason = outcome.strip_prefix("ignored (").and_then(|rest| rest.strip_suffix(')')).map(str::to_owned);
    Some(case(title, verdict, reason))
}

/// `[G3] fence::stale_epoch_changes_nothing: test`
fn listed(line: &str) -> Option<Case> {
    Some(case(line.strip_suffix(": test")?, Verdict::Listed, None))
}

fn case(title: &str, verdict: Verdict, message: Option<String>) -> Case {
    let (kind, name) = title.trim().strip_prefix('[').and_then(|rest| rest.split_once(']')).unzip();
    let name = name.unwrap_or(title).trim().to_owned();
    Case { kind: kind.map(str::to_owned), name, verdict, message }
}

/// The number before `word` in `ok. 5 passed; 0 failed; …`.
fn number(result: &str, word: &str) -> usize {
    let number = |part: &str| part.trim().strip_suffix(word)?.rsplit(' ').nth(1)?.parse().ok();
    result.split(';').find_map(number).unwrap_or(0)
}
