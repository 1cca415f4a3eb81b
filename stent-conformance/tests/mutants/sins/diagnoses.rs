//! Findings of a store about itself: any checks, but complete, readable, and without an effect (G1).

use super::words::*;
use crate::store::at_once;

/// A finding in which all is well.
fn well(check: &str) -> Finding {
    Finding::ok(check, "all is well")
}

pub(super) fn mutants() -> Vec<Mutant> {
    const FRESH: &str = "diagnosis::a_fresh_store_has_no_problem";
    const NAMED: &str = "diagnosis::a_finding_names_its_check_and_what_was_observed";
    const REMEDY: &str = "diagnosis::a_finding_has_a_remedy_if_something_is_wrong_and_only_then";
    const SAME: &str = "diagnosis::the_checks_are_the_same_whatever_is_in_the_store";
    const NOTHING: &str = "diagnosis::an_examination_changes_nothing";
    const BESIDE: &str = "diagnosis::work_goes_on_beside_an_examination";
    vec![
        mutant("takes an empty store for a broken one", FRESH, &["problems of a fresh store", "no tasks"])
            .examines(|findings, _, past| {
                let check = if past.sent.is_empty() {
                    Finding::problem("tasks", "there are no tasks", "dispatch some")
                } else {
                    well("tasks")
                };
                findings.push(check);
            }),
        mutant("gives two checks one name", NAMED, &["names that differ", "actual: 1"])
            .examines(|findings, _, _| findings.extend(["files", "files"].map(well))),
        mutant("gives a check no name", NAMED, &["a check without a name"])
            .examines(|findings, _, _| findings.push(well(" "))),
        mutant("finds something and does not say what", NAMED, &["a check that says nothing"])
            .examines(|findings, _, _| findings.push(Finding::warning("files", "", "buy a disk"))),
        mutant("tells what it found in a paragraph", NAMED, &["more than one line"])
            .examines(|findings, _, _| findings.push(Finding::ok("files", "one\ntwo"))),
        mutant("finds something wrong and offers no remedy", REMEDY, &["no remedy"])
            .examines(|findings, _, _| findings.push(Finding::warning("files", "there are many", ""))),
        mutant("offers a remedy for what is well", REMEDY, &["a remedy for what is well"]).examines(
            |findings, _, _| {
                let mut finding = well("files");
                "buy a disk".clone_into(&mut finding.remedy);
                findings.push(finding);
            },
        ),
        mutant("tells only the checks that find something", SAME, &["with many tasks", "tasks"]).examines(
            |findings, _, past| {
                if past.sent.len() > 100 {
                    findings.push(Finding::warning("tasks", "there are many", "run more workers"));
                }
            },
        ),
        mutant("examines each execution", SAME, &["with many tasks", "execution 1"]).examines(
            |findings, _, past| {
                findings.extend((0..past.executions().count()).map(|n| well(&format!("execution {n}"))));
            },
        ),
        mutant("cleans up while it examines", NOTHING, &["an examination changed something"]).examines(
            |_, sound, _| {
                let what = Purge::DeadLetters;
                let request = PurgeRequest { what, before: NEVER, now: Timestamp::EPOCH, max: 9 };
                sound.purge(&request).expect("memory purges");
            },
        ),
        mutant("forgets the workers that it finds", NOTHING, &["workers", "actual: []"]).examines(
            |_, sound, _| {
                let request = PurgeRequest { what: Purge::Workers, before: NEVER, now: NEVER, max: 9 };
                sound.purge(&request).expect("memory purges");
            },
        ),
        mutant("closes what it examines", BESIDE, &["kind: Closed"])
            .examines(|_, sound, _| at_once(sound.0.close()).expect("memory closes")),
    ]
}
