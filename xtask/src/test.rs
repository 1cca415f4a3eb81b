//! `cargo xtask test`: builds all tests at once, runs them, prints their output, and counts.

use std::time::Instant;

use anyhow::Result;

use crate::backends::Backend;
use crate::command::Command;
use crate::runner::Tally;
use crate::servers::{Fsync, Servers, ServersArgs, programs};

/// Features that are off by default and have tests. The lints and the docs of `cargo xtask ci` check Stent without
/// them.
pub(crate) const FEATURES: &str = "stent/otel,stent/postgres,stent/redis,stent/metrics,stent/http,stent-examples/postgres,stent-examples/redis";

/// The environment variable with the number of the model's seeds for the runners of the conformance suite.
const SEEDS_VARIABLE: &str = "STENT_SEEDS";

/// The environment variable with the number of tests that a runner runs at once.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Tests that run at once, for each core: most of them wait for leases, polls and servers, and not for a core.
const TESTS_PER_CORE: usize = 2;

/// The default number of seeds for each backend: few, because every change waits for them. `cargo xtask conformance` plays
/// the suite's own number.
const SEEDS: &str = "12";

/// Runs every test: unit, snapshots, conformance, crashes, doc tests, examples, tidy
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "The model of the conformance suite plays 12 seeds of each backend, or as many as STENT_SEEDS says. A runner\nruns two tests at once for each core, or as many as RUST_TEST_THREADS says.\n\nExamples:\n  cargo xtask test\n  cargo xtask test -- stale_epoch"
)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: ServersArgs,

    /// Passed to every test runner: a part of the names to run, or the runner's options
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let start = Instant::now();
    let servers = Servers::start(Backend::ALL, &args.servers.choice, Fsync::Off)?;
    programs::for_tests();

    // Built separately, so that compile errors are printed once, and in colour. The flags are the same as below,
    // so nothing is built twice.
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
    if std::env::var_os(THREADS_VARIABLE).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        tests = tests.env(THREADS_VARIABLE, (TESTS_PER_CORE * cores).to_string());
    }
    if !args.filter.is_empty() {
        tests = tests.args(["--"]).args(&args.filter);
    }
    println!("$ {tests}");
    let mut tally = Tally::default();
    let succeeded = tests.stream(|line| {
        println!("{line}");
        tally.read(line);
    })?;

    let problems = tally.problems();
    let [passed, failed, ignored] = tally.counts();
    let (runners, seconds) = (tally.runners(), start.elapsed().as_secs_f64());
    println!("\n{}", problems.join("\n"));
    println!(
        "test: {passed} passed, {failed} failed, {ignored} ignored by {runners} runners in {seconds:.1} s"
    );
    Ok(succeeded && problems.is_empty())
}
