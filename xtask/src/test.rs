//! `cargo xtask test`: every test there is, in one build. Runs them, shows their output as it comes, and counts.

use std::time::Instant;

use anyhow::Result;

use crate::backends::Backend;
use crate::command::Command;
use crate::runner::{Case, Runner, Verdict};
use crate::servers::{Fsync, Servers, ServersArgs, programs_for_tests};

/// What is off by default and has tests. Without it Stent is checked by the lints and the docs of `cargo xtask ci`.
pub(crate) const FEATURES: &str = "stent/otel,stent/postgres,stent-examples/postgres";

/// What the runners of the conformance suite read how many seeds of its model to play from.
const SEEDS_VARIABLE: &str = "STENT_SEEDS";

/// Seeds that are played here of each backend, where the environment names no other number: a quick look, since every change
/// waits for it. `cargo xtask conformance` plays the suite's own number.
const SEEDS: &str = "12";

/// Runs every test: unit, snapshots, conformance, crashes, doc tests, examples, tidy
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "The model of the conformance suite plays 12 seeds of each backend, or as many as STENT_SEEDS says.\n\nExamples:\n  cargo xtask test\n  cargo xtask test -- stale_epoch"
)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: ServersArgs,

    /// Handed to every test runner: a part of the names to run, or the runner's options
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let start = Instant::now();
    let servers = Servers::start(Backend::ALL, &args.servers.choice, Fsync::Off)?;
    programs_for_tests();

    // Built apart, so that what does not compile is said once, and in colour. The same flags as below: nothing is
    // built twice.
    let build = Command::cargo(["test", "--workspace", "--features", FEATURES, "--no-run"]);
    println!("$ {build}");
    if !build.run()? {
        println!("\ntest: the build failed");
        return Ok(false);
    }

    let mut tests = Command::cargo(["test", "--color", "never", "--workspace", "--features", FEATURES])
        .args(["--no-fail-fast"])
        .envs(servers.environment());
    if std::env::var_os(SEEDS_VARIABLE).is_none() {
        tests = tests.env(SEEDS_VARIABLE, SEEDS);
    }
    if !args.filter.is_empty() {
        tests = tests.args(["--"]).args(&args.filter);
    }
    println!("$ {tests}");
    let mut tally = Tally::default();
    let succeeded = tests.stream_all(|line| {
        println!("{line}");
        tally.read(line);
    })?;

    println!("\n{}", tally.summary(start.elapsed().as_secs_f64()));
    Ok(succeeded && tally.problems().is_empty())
}

/// What the runners of `cargo test` said, read line by line.
#[derive(Debug, Default)]
struct Tally {
    runners: Vec<Runner>,
}

impl Tally {
    fn read(&mut self, line: &str) {
        if let Some(name) = announced(line) {
            self.runners.push(Runner::new(name));
        } else if let Some(runner) = self.runners.last_mut() {
            let flags = line.split_once(", to rerun pass `").and_then(|(_, rest)| rest.strip_suffix('`'));
            match flags {
                // Says more than the announcement, which tells the file but not its crate.
                Some(flags) => flags.clone_into(&mut runner.name),
                None => drop(runner.read(line)),
            }
        }
    }

    /// What makes this run a failure, each in a line.
    fn problems(&self) -> Vec<String> {
        self.runners.iter().flat_map(problems).collect()
    }

    fn summary(&self, seconds: f64) -> String {
        let counted = self.runners.iter().filter_map(|runner| runner.counted);
        let [passed, failed, ignored] =
            counted.fold([0; 3], |sum, counts| std::array::from_fn(|at| sum[at] + counts[at]));
        let runners = self.runners.len();
        let total = format!(
            "test: {passed} passed, {failed} failed, {ignored} ignored by {runners} runners in {seconds:.1} s"
        );
        self.problems().into_iter().chain([total]).collect::<Vec<_>>().join("\n")
    }
}

fn problems(runner: &Runner) -> Vec<String> {
    let name = &runner.name;
    let title = |case: &Case| {
        case.kind.as_ref().map_or_else(|| case.name.clone(), |kind| format!("[{kind}] {}", case.name))
    };
    let failed = runner.of(Verdict::Failed).map(|case| format!("failed: {name}: {}", title(case)));
    let mut problems: Vec<_> = failed.collect();
    match runner.counted {
        None => problems.push(format!("ended without a result: {name}")),
        // A conformance case that could not run proves nothing, so it must not look like one that passed. (Ignored
        // doc tests are another matter: they are snippets that are not meant to run.)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally
    }

    const GREEN: &str = "     Running unittests src/lib.rs (target/debug/deps/stent_core-27e0)

running 2 tests
test model::status::words_survive ... ok
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests stent_core
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.51s
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    #[test]
    fn results_of_all_runners_are_summed_up() {
        let tally = tally(GREEN);
        assert_eq!(tally.problems(), [""; 0]);
        assert_eq!(tally.summary(1.0), "test: 5 passed, 0 failed, 1 ignored by 2 runners in 1.0 s");
    }

    #[test]
    fn a_failed_test_is_named_with_its_runner() {
        let tally = tally(
            "     Running tests/conformance.rs (target/debug/deps/conformance-9)
test [G3] fence::stale_epoch_changes_nothing ... FAILED
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
