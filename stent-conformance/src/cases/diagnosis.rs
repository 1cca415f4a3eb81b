//! Findings of a store about itself. A store chooses its checks, and may have none; these cases state what holds for any checks.

use std::collections::BTreeSet;

use stent_core::backend::{Finding, Verdict};
use stent_core::model::WorkerRecord;

use super::words::*;

list! { diagnosis:
    G1 a_fresh_store_has_no_problem,
    G1 a_finding_names_its_check_and_what_was_observed,
    G1 a_finding_has_a_remedy_if_something_is_wrong_and_only_then,
    G1 the_checks_are_the_same_whatever_is_in_the_store,
    G1 an_examination_changes_nothing,
    G1 work_goes_on_beside_an_examination,
}

async fn diagnose(world: &World) -> Vec<Finding> {
    let findings = world.store().diagnose().await.expect("the store is examined");
    let told = findings.iter().map(|finding| format!("{} {}", finding.check, finding.verdict));
    world.note(format_args!("diagnose -> {:?}", told.collect::<Vec<_>>()));
    findings
}

fn checks(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.check.as_str()).collect()
}

/// Executions that wait, run, are parked, have ended and have failed for good.
async fn busy(world: &World) -> Claimed {
    world.apply(world.running("charge").await.fail(declined())).await;
    world.apply(world.running("charge").await.complete("receipt")).await;
    let parked = world.running("checkout").await;
    let wait = Wait::for_next(0).until(Some(t(9)));
    world.apply(parked.park_for(wait).with(world.sleep(t(9)))).await;
    let running = world.running("checkout").await;
    world.dispatch(world.call("ship").due(t(9))).await;
    running
}

async fn a_fresh_store_has_no_problem(world: World) {
    let findings = diagnose(&world).await;

    let problems: Vec<_> = findings.iter().filter(|finding| finding.verdict == Verdict::Problem).collect();
    assert!(problems.is_empty(), "problems of a fresh store: {problems:?}");
}

/// Monitors look for checks by name, and people read the rest as lines of a table.
async fn a_finding_names_its_check_and_what_was_observed(world: World) {
    let findings = diagnose(&world).await;

    let names: BTreeSet<_> = checks(&findings).into_iter().collect();
    same("names that differ", names.len(), findings.len());
    for finding in &findings {
        assert!(!finding.check.trim().is_empty(), "a check without a name: {finding:?}");
        assert!(!finding.what.trim().is_empty(), "a check that says nothing: {finding:?}");
        let lines = [&finding.check, &finding.what, &finding.remedy];
        assert!(lines.iter().all(|text| !text.contains('\n')), "more than one line: {finding:?}");
    }
}

async fn a_finding_has_a_remedy_if_something_is_wrong_and_only_then(world: World) {
    let _running = busy(&world).await;

    for finding in diagnose(&world).await {
        match finding.verdict {
            Verdict::Ok => assert!(finding.remedy.is_empty(), "a remedy for what is well: {finding:?}"),
            Verdict::Warning | Verdict::Problem => {
                assert!(!finding.remedy.trim().is_empty(), "no remedy: {finding:?}");
            }
        }
    }
}

/// Each check is in the result, with or without a problem, and their number does not grow with the store.
async fn the_checks_are_the_same_whatever_is_in_the_store(world: World) {
    let fresh = diagnose(&world).await;
    let _running = busy(&world).await;
    world.dispatch_many(300, || world.call("charge")).await;

    let full = diagnose(&world).await;
    same("with many tasks", checks(&full), checks(&fresh));
    let world = world.crash().await;
    let reopened = diagnose(&world).await;
    same("after a crash", checks(&reopened), checks(&fresh));
}

async fn an_examination_changes_nothing(world: World) {
    let running = busy(&world).await;
    let worker = WorkerRecord::new(world.worker, "mailer".to_owned(), t(0));
    world.store().report(&worker).await.expect("report");
    let before = world.snapshot().await;

    for _ in 0..3 {
        diagnose(&world).await;
    }

    world.snapshot().await.expect_same("an examination changed something", &before);
    same("workers", world.store().workers(None, 9).await.expect("workers"), [worker]);
    world.apply(running.complete("summary")).await;
    same("what is due later", world.claim(9).at(t(9)).await.len(), 2);
}

async fn work_goes_on_beside_an_examination(world: World) {
    let stands = at_once(&world, 4, |peer, n| async move {
        let mut stands = 0;
        for _ in 0..10 {
            if n % 2 == 0 {
                diagnose(&peer).await;
            }
            let id = peer.dispatch(peer.call("charge")).await;
            stands += usize::from(peer.find(id).await.is_some());
        }
        stands
    })
    .await;

    same("dispatched", stands, [10; 4]);
    same("claimed", world.claim(99).await.len(), 40);
}
