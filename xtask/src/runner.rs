//! Parses the output of test runners: the lines of libtest, which libtest-mimic also prints. Starts nothing.
//!
//! It parses lines, because libtest has no other output on a stable compiler.

/// The output of runners so far: of test programs, and of the doc tests of crates.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    runners: Vec<Runner>,
}

#[derive(Debug, Default)]
struct Runner {
    name: String,
    /// The failed tests, by the runner's names.
    failed: Vec<String>,
    /// The runner's own counts, once it has ended: passed, failed and ignored.
    counted: Option<[usize; 3]>,
}

impl Tally {
    /// The following lines are from the runner with this name.
    pub(crate) fn begin(&mut self, name: impl Into<String>) {
        self.runners.push(Runner { name: name.into(), ..Runner::default() });
    }

    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) = announced(line) {
            return self.begin(name);
        }
        let Some(runner) = self.runners.last_mut() else { return };
        if let Some(result) = line.strip_prefix("test result: ") {
            // Doc tests come in two groups, each with its result.
            let counts = ["passed", "failed", "ignored"].map(|word| number(result, word));
            let before = runner.counted.unwrap_or_default();
            runner.counted = Some(std::array::from_fn(|at| before[at] + counts[at]));
        } else if let Some(title) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix("... FAILED"))
        {
            runner.failed.push(title.split_whitespace().collect::<Vec<_>>().join(" "));
        } else if let Some((_, flags)) = line.split_once(", to rerun pass `") {
            // More precise than the announcement, which names the file but not its crate.
            flags.trim_end_matches('`').clone_into(&mut runner.name);
        }
    }

    /// The reasons why this run failed, one per line.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.runners.iter().flat_map(problems).collect()
    }

    /// How many tests passed, failed, and were ignored.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let counted = self.runners.iter().filter_map(|runner| runner.counted);
        counted.fold([0; 3], |sum, counts| std::array::from_fn(|at| sum[at] + counts[at]))
    }

    pub(crate) const fn runners(&self) -> usize {
        self.runners.len()
    }
}

fn problems(runner: &Runner) -> Vec<String> {
    let name = &runner.name;
    let mut problems: Vec<_> = runner.failed.iter().map(|test| format!("failed: {name}: {test}")).collect();
    match runner.counted {
        None => problems.push(format!("ended without a result: {name}")),
        // A conformance case that could not run proves nothing, so it must not count as passed. (Ignored doc tests
        // are snippets that are not meant to run.)
        Some([.., ignored]) if ignored > 0 && name.contains("conformance") => {
            problems.push(format!("{ignored} cases were not run: {name}"));
        }
        Some(_) => {}
    }
    problems
}

/// The runner that cargo announces: `     Running tests/crash.rs (target/debug/deps/crash-0123)`, `   Doc-tests stent`.
fn announced(line: &str) -> Option<String> {
    if let Some(name) = line.strip_prefix("   Doc-tests ") {
        return Some(format!("doc tests of {name}"));
    }
    let (source, program) = line.strip_prefix("     Running ")?.strip_suffix(')')?.split_once(" (")?;
    let program = program.rsplit(['/', '\\']).next().unwrap_or(program);
    let program = program.rsplit_once('-').map_or(program, |(name, _hash)| name);
    Some(format!("{program}, {}", source.trim_start_matches("unittests ")))
}

/// The number before `word` in `ok. 5 passed; 0 failed; …`.
fn number(result: &str, word: &str) -> usize {
    let number = |part: &str| part.trim().strip_suffix(word)?.rsplit(' ').nth(1)?.parse().ok();
    result.split(';').find_map(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn results_of_all_runners_are_summed_up() {
        let tally = tally(
            "     Running unittests src/lib.rs (target/debug/deps/stent_core-27e0)
running 2 tests
test model::status::words_survive ... ok
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests stent_core
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.51s
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        );
        assert_eq!(tally.problems(), [""; 0]);
        assert_eq!((tally.counts(), tally.runners()), ([5, 0, 1], 2));
    }

    #[test]
    fn a_failed_test_is_named_with_its_runner() {
        let tally = tally(
            "     Running tests/conformance.rs (target/debug/deps/conformance-9)
test [G3]  fence::stale_epoch_changes_nothing   ... FAILED
test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

error: test failed, to rerun pass `-p stent-memory --test conformance`",
        );
        let problem = "failed: -p stent-memory --test conformance: [G3] fence::stale_epoch_changes_nothing";
        assert_eq!(tally.problems(), [problem]);
    }

    #[test]
    fn a_runner_that_dies_is_a_failure() {
        let tally = tally("     Running tests/crash.rs (target/debug/deps/crash-9)\nrunning 1 test");
        assert_eq!(tally.problems(), ["ended without a result: crash, tests/crash.rs"]);
    }

    #[test]
    fn a_conformance_case_that_did_not_run_is_a_failure() {
        let tally = tally(
            "     Running tests/conformance.rs (target/debug/deps/conformance-9)
test result: ok. 4 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(tally.problems(), ["2 cases were not run: conformance, tests/conformance.rs"]);
    }
}
