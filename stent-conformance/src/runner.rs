//! Runs cases as the trials of a test program, and writes reports of failures that explain them.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Once};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

use crate::case::{Body, Case, cases};
use crate::harness::Harness;
use crate::model;
use crate::tell;
use crate::world::{Trace, World};

/// After this time a case counts as hung. It is no measurement: every case takes far less.
const DEADLINE: Duration = Duration::from_secs(180);

/// Threads of each case: enough for calls on several handles to overlap.
const THREADS: usize = 4;

/// Runs every case that the command line selects against the harness's backend: the `main` of a test program.
///
/// The program takes the arguments of `cargo test` programs: names or parts of them, `--list`, `--exact`, `--skip`,
/// `--test-threads`, `--format`.
///
/// Returns a failure if any case failed. A case also fails if the harness cannot create a place for it or open a handle: no
/// case is skipped.
pub fn run(harness: impl Harness) -> ExitCode {
    let harness: Arc<dyn Harness> = Arc::new(harness);
    let trials = cases().into_iter().map(|case| {
        let harness = Arc::clone(&harness);
        let (name, guarantee) = (case.name().to_owned(), case.guarantee().id());
        Trial::test(name, move || check(&harness, &case).map_err(Failed::from)).with_kind(guarantee)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// Runs one case against the harness's backend, on its own runtime.
///
/// # Errors
/// If the case does not hold or cannot run: the report, ready to be printed.
pub fn check(harness: &Arc<dyn Harness>, case: &Case) -> Result<(), String> {
    let trace = Trace::default();
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let failure = quietly(|| play(&runtime, harness, case, &trace));
    // Futures that the case dropped may still have work running; the runner does not wait for it.
    runtime.shutdown_background();
    failure.map_err(|failure| report(case, &failure, &trace))
}

fn play(runtime: &Runtime, harness: &Arc<dyn Harness>, case: &Case, trace: &Trace) -> Result<(), String> {
    let whole = async {
        match case.body() {
            Body::Script(script) => {
                script(World::new(Arc::clone(harness), trace.clone()).await).await;
                Ok(())
            }
            Body::Model { seed } => model::check(harness, seed, trace).await,
        }
    };
    runtime.block_on(async {
        let hung = || Err(format!("the case did not end within {DEADLINE:?}"));
        tokio::time::timeout(DEADLINE, whole).await.unwrap_or_else(|_| hung())
    })
}

fn report(case: &Case, failure: &str, trace: &Trace) -> String {
    let guarantee = case.guarantee();
    let mut report = format!(
        "{guarantee} promises: {}\nthis case claims: {}\n\n{}\n",
        guarantee.promise(),
        case.claim(),
        tell::short(failure)
    );
    let lines = trace.tail();
    if !lines.is_empty() {
        report.push_str(
            "\nthe last calls (#3 is the third id that the case drew, t+5s five seconds after it began):\n",
        );
        lines.iter().for_each(|line| report.extend(["  ", line, "\n"]));
    }
    report + &format!("\nrun it again: {}\n", again(case))
}

/// The command that runs this case alone.
fn again(case: &Case) -> String {
    let program = env::args().next().unwrap_or_default();
    // `conformance` of `target/debug/deps/conformance-0d3c…`.
    let target = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let target = target.rsplit_once('-').map_or(target, |(target, _)| target);
    let program = match env::var("CARGO_PKG_NAME") {
        Ok(package) => format!("cargo test -p {package} --test {target} --"),
        Err(_) => program,
    };
    // A seed exists only if the suite plays at least that many seeds.
    let seeds = match case.body() {
        Body::Model { seed } => format!("STENT_SEEDS={} ", seed + 1),
        Body::Script(_) => String::new(),
    };
    format!("{seeds}{program} --exact {}", case.name())
}

thread_local! {
    /// The location and the message of this thread's panic; set while the thread plays a case.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static PLAYING: RefCell<bool> = const { RefCell::new(false) };
}

/// Turns a panic into a failure of the case, and prints nothing: the panic belongs in the report.
fn quietly(play: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if PLAYING.with_borrow(|playing| *playing) {
                let case = place().map_or_else(String::new, |place| format!("\n  in the case {place}"));
                PANIC.set(Some(format!("{info}{case}")));
            } else {
                others(info);
            }
        }));
    });
    PLAYING.set(true);
    let ended = panic::catch_unwind(AssertUnwindSafe(play));
    PLAYING.set(false);
    ended.unwrap_or_else(|panic| Err(message_of(panic.as_ref())))
}

/// The line of the case on which this thread panics, if the program has debug lines. It reads the backtrace, because helpers
/// panic on behalf of their callers, and an async function does not know its caller.
fn place() -> Option<String> {
    let frames = Backtrace::force_capture().to_string();
    let place =
        frames.lines().find_map(|line| line.split_once("src/cases/").map(|(_, place)| place.to_owned()));
    place.map(|place| format!("src/cases/{place}"))
}

/// The message of a panic; for a panic of this thread also its place.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    if let Some(said) = PANIC.take() {
        return said;
    }
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use stent_core::backend::Store;

    use super::*;
    use crate::harness::{BoxError, Fixture};

    /// A server that does not exist.
    #[derive(Debug)]
    struct Nowhere;

    #[async_trait]
    impl Harness for Nowhere {
        async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
            Err("connection refused".into())
        }
    }

    /// A server that disappears before it is opened.
    #[derive(Debug)]
    struct Gone;

    #[async_trait]
    impl Harness for Gone {
        async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
            Ok(Box::new(Self))
        }
    }

    #[async_trait]
    impl Fixture for Gone {
        async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
            Err("connection refused".into())
        }
    }

    fn case(name: &str) -> Case {
        cases().into_iter().find(|case| case.name() == name).expect("it is there")
    }

    #[test]
    fn a_harness_that_cannot_open_fails_its_cases() {
        let harnesses: [Arc<dyn Harness>; 2] = [Arc::new(Nowhere), Arc::new(Gone)];
        for harness in &harnesses {
            for name in ["fence::a_stale_epoch_changes_nothing", "migrate::migrating_again_changes_nothing"] {
                assert!(check(harness, &case(name)).is_err(), "{name} passed on {harness:?}");
            }
            let report =
                check(harness, &case("model::agrees_with_memory_seed_3")).expect_err("nothing is there");
            assert!(report.contains("seed 3:") && report.contains("connection refused"), "{report}");
        }
    }

    #[test]
    fn a_report_says_what_is_promised_claimed_and_done() {
        let harness: Arc<dyn Harness> = Arc::new(Nowhere);
        let report =
            check(&harness, &case("fence::a_stale_epoch_changes_nothing")).expect_err("nothing is there");

        for part in [
            "G3 promises: A stale epoch",
            "this case claims: fence: a stale epoch changes nothing",
            "connection refused",
            "run it again: ",
            " --exact fence::a_stale_epoch_changes_nothing",
        ] {
            assert!(report.contains(part), "{part:?} is not in\n{report}");
        }
    }
}
