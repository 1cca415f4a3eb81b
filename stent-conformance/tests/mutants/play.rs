//! Runs cases against a mutant, with less patience than a correct store gets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use stent_conformance::{Case, Harness, check};

/// A case that takes longer continues beside the next ones: it may have hung, as cases do when a hint is lost.
const SLOW: Duration = Duration::from_millis(100);

/// The result of a case.
pub(crate) struct Played {
    pub(crate) case: Case,
    /// Why it failed; `None` if it passed.
    pub(crate) report: Option<String>,
}

/// Runs cases one after another. Cases that are still running when no other case has ended for as long as `patience` allows for
/// them have hung; they are left behind until the process ends.
pub(crate) fn play<'a>(
    harness: &Arc<dyn Harness>,
    cases: impl Iterator<Item = &'a Case>,
    patience: impl Fn(&[&Case]) -> Duration,
) -> Vec<Played> {
    let mut played = Vec::new();
    let mut open = BTreeSet::new();
    let (ended, ends) = mpsc::channel();
    for (n, case) in cases.enumerate() {
        let (ended, harness, this) = (ended.clone(), Arc::clone(harness), case.clone());
        thread::spawn(move || {
            // If the case has hung, nobody receives this any more.
            ended.send((n, check(&harness, &this).err())).ok();
        });
        played.push(Played { case: case.clone(), report: Some("the case has hung".to_owned()) });
        open.insert(n);
        if let Ok((n, report)) = ends.recv_timeout(SLOW) {
            played[n].report = report;
            open.remove(&n);
        }
    }
    while !open.is_empty() {
        let still: Vec<&Case> = open.iter().map(|n| &played[*n].case).collect();
        let Ok((n, report)) = ends.recv_timeout(patience(&still)) else { break };
        played[n].report = report;
        open.remove(&n);
    }
    played
}
