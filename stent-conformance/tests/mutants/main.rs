//! Proves the suite with stores that are broken on purpose, each in one way. The case for that behaviour must catch each of
//! them.
//!
//! A suite that passes a broken store is worthless, and running it against correct stores does not reveal that. Therefore this
//! test has *mutants*: wrappers of `stent-memory` that do one thing wrong. A mutant passes as a trial if the case that it names
//! fails, and for the right reason: the report must contain the words that the mutant lists. The first trial is the control:
//! the wrapper without a fault passes every case.
//!
//! ```console
//! $ cargo test -p stent-conformance --test mutants            # each mutant against the areas of its case
//! $ cargo test -p stent-conformance --test mutants -- '[G3]'  # some of them
//! $ cargo xtask conformance --mutants                         # each against nearly every case
//! ```
//!
//! | File | Holds |
//! |---|---|
//! | `sins/` | the mutants: the faults of stores, by guarantee |
//! | `mutant.rs` | the definition of a mutant, with every hook in which it can do something wrong |
//! | `store.rs`, `past.rs` | the wrapper, and its history |
//! | `play.rs` | runs cases against a mutant |
//! | `table.rs` | the table that is printed at the end |
//!
//! A mutant that survives shows a gap in the suite, which needs a new case. The `model` cases are left out: they compare
//! everything with `stent-memory` and so catch nearly all mutants, which proves nothing about the named cases.

mod mutant;
mod past;
mod play;
mod sins;
mod store;
mod table;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use stent_conformance::{Case, Guarantee, Harness, cases};

use crate::mutant::{Mutant, mutant};
use crate::play::{Played, play};
use crate::store::Broken;
use crate::table::{Row, Table};

/// Cases that put thousands of tasks in front of one. They take seconds each, so they run only against the mutants that name
/// them, and against the control.
const CROWDED: [&str; 4] = [
    "claim::work_of_other_functions_hides_nothing",
    "claim::work_of_other_queues_hides_nothing",
    "claim::work_of_the_future_hides_nothing",
    "limit::what_is_held_back_holds_up_nothing_else",
];

/// The area whose cases are all as slow as those.
const CROWDED_AREA: &str = "size::";

/// A case that has not ended this long after the last case of a mutant began has hung. The suite itself waits for minutes, so
/// that it never calls a slow store broken; memory answers at once, and other cases catch a mutant with a hung case.
const HUNG: Duration = Duration::from_secs(15);

/// The same for the case that a mutant must fail with a certain report: on a busy machine, a crowded case is only slow.
const HUNG_NAMED: Duration = Duration::from_secs(120);

/// If set, each mutant runs every case except the crowded ones, as `cargo xtask conformance --mutants` does. That takes
/// minutes, and counts all cases that catch it.
const ALL: &str = "STENT_MUTANTS_ALL";

fn main() -> ExitCode {
    // Cases on broken stores panic thousands of times, also in spawned tasks. The reports have everything that matters.
    std::panic::set_hook(Box::new(|_| ()));
    let arguments = Arguments::from_args();
    let everything = std::env::var_os(ALL).is_some();
    let cases: Arc<[Case]> = cases().into_iter().filter(|case| !case.name().starts_with("model::")).collect();
    let table = Arc::new(Table::default());

    let mut trials = vec![control(&cases), coverage(&cases)];
    for (n, mutant) in sins::all().into_iter().enumerate() {
        let (cases, table) = (Arc::clone(&cases), Arc::clone(&table));
        let kind = guarantee(&mutant, &cases).map_or("?", Guarantee::id);
        let name = mutant.name.replace(' ', "_");
        let catch = move || catch(mutant, n, &cases, everything, &table).map_err(Failed::from);
        trials.push(Trial::test(name, catch).with_kind(kind));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    table.print();
    conclusion.exit_code()
}

/// The wrapper is as correct as the store in it: if a case fails with a mutant, the mutant's fault is the reason.
fn control(cases: &Arc<[Case]>) -> Trial {
    let cases = Arc::clone(cases);
    Trial::test("the_unbroken_wrapper_passes_every_case", move || {
        let failed: Vec<_> = against(mutant("nothing", "", &[]), cases.iter(), |_| Duration::MAX)
            .into_iter()
            .filter_map(|played| Some(format!("{}\n{}", played.case.name(), played.report?)))
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(Failed::from(failed.join("\n\n"))) }
    })
}

/// Every guarantee has a mutant, and no two mutants have the same name.
fn coverage(cases: &Arc<[Case]>) -> Trial {
    let cases = Arc::clone(cases);
    Trial::test("every_guarantee_has_a_mutant", move || {
        let mutants = sins::all();
        let covered: BTreeSet<_> = mutants.iter().filter_map(|mutant| guarantee(mutant, &cases)).collect();
        if let Some(open) = Guarantee::ALL.iter().find(|guarantee| !covered.contains(guarantee)) {
            return Err(Failed::from(format!("no mutant breaks {open}: add one to tests/mutants/sins/")));
        }
        let names: BTreeSet<_> = mutants.iter().map(|mutant| mutant.name).collect();
        if names.len() < mutants.len() {
            return Err(Failed::from("two mutants have the same name"));
        }
        Ok(())
    })
}

fn is_crowded(case: &Case) -> bool {
    CROWDED.contains(&case.name()) || case.name().starts_with(CROWDED_AREA)
}

/// The guarantee that a mutant breaks: the guarantee of its case.
fn guarantee(mutant: &Mutant, cases: &[Case]) -> Option<Guarantee> {
    cases.iter().find(|case| case.name() == mutant.case).map(Case::guarantee)
}

/// Runs cases against a mutant. Returns an error if the mutant survives, or is caught only by chance.
fn catch(mutant: Mutant, n: usize, cases: &[Case], everything: bool, table: &Table) -> Result<(), String> {
    let Mutant { name, case: named, over, .. } = mutant;
    let Some(breaks) = guarantee(&mutant, cases) else {
        return Err(format!("there is no case {named:?}"));
    };
    let area = named.split_inclusive("::").next().unwrap_or(named);

    let near = cases.iter().filter(|case| {
        let near = everything || case.name().starts_with(area);
        case.name() == named || (near && !is_crowded(case))
    });
    let patience =
        |open: &[&Case]| match open.iter().any(|case| case.name() == named) && !over.contains(&"hung") {
            true => HUNG_NAMED,
            false => HUNG,
        };
    let played = against(mutant, near, patience);

    let failed = failed(&played);
    let report = played.iter().find(|played| played.case.name() == named);
    let verdict = match report.and_then(|played| played.report.as_deref()) {
        Some(report) if over.iter().all(|part| says(report, part)) => Ok(()),
        Some(report) => Err(format!("{named} fails, but not over {over:?}:\n\n{report}")),
        None => Err(format!("{named} passes; what fails: {failed:?}")),
    };
    let (failed, played) = (failed.len(), played.len());
    table.add(n, Row { name, breaks, case: named, caught: verdict.is_ok(), failed, played });
    verdict
}

/// Whether a report's explanation contains this text; the trace and file names do not count.
fn says(report: &str, part: &str) -> bool {
    let of_the_failure = report.lines().take_while(|line| *line != "the last calls:");
    let place = |line: &str| line.starts_with("panicked at") || line.contains("in the case src/cases/");
    of_the_failure.filter(|line| !place(line)).any(|line| line.contains(part))
}

fn failed(played: &[Played]) -> Vec<&str> {
    played.iter().filter(|played| played.report.is_some()).map(|played| played.case.name()).collect()
}

fn against<'a>(
    mutant: Mutant,
    cases: impl Iterator<Item = &'a Case>,
    patience: impl Fn(&[&Case]) -> Duration,
) -> Vec<Played> {
    let harness: Arc<dyn Harness> = Arc::new(Broken(Arc::new(mutant)));
    play(&harness, cases, patience)
}
