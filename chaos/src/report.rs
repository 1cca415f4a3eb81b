//! The report of a run.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::conduct::{Outcome, Settings};
use crate::judge::{Verdict, Violation};

/// Violations that are shown; the file has all of them.
const SHOWN_MAX: usize = 30;

/// The announcement of a run, before it begins.
pub(crate) fn plan(settings: &Settings) -> String {
    format!(
        "chaos: {} for {:.0} s, lease {:.1} s, {} faults, seed {}",
        settings.backend,
        settings.takes.as_secs_f64(),
        settings.lease.as_secs_f64(),
        settings.faults.len(),
        settings.seed
    )
}

/// The faults of a run before it is played, one per line.
pub(crate) fn schedule(settings: &Settings) -> String {
    settings.faults.iter().fold(String::new(), |mut text, planned| {
        let _ = writeln!(text, "  {:>7.2} s  {}", planned.at.as_secs_f64(), planned.fault);
        text
    })
}

/// The result in one line.
pub(crate) fn summary(settings: &Settings, verdict: &Verdict) -> String {
    let tally = &verdict.tally;
    format!(
        "chaos: {}: {}; {} executions ({} acknowledged), {} tasks, {} runs, {} of them repeated with cause; {} calls \
         refused; served again after {:.1} s at the latest",
        settings.backend,
        match verdict.violations.len() {
            0 => "ok".to_owned(),
            count => format!("{count} VIOLATIONS"),
        },
        tally.executions,
        tally.acknowledged,
        tally.steps,
        tally.runs,
        tally.excused,
        tally.refusals,
        tally.silence.as_secs_f64(),
    )
}

/// The information that is needed to find the cause.
pub(crate) fn failure(settings: &Settings, outcome: &Outcome, verdict: &Verdict) -> String {
    let mut text = String::new();
    let began = outcome.began;
    let _ = writeln!(text, "violations (moments as in the files; the run began at {began}):");
    for violation in verdict.violations.iter().take(SHOWN_MAX) {
        let _ = writeln!(text, "  {}", line(violation));
    }
    if let more @ 1.. = verdict.violations.len().saturating_sub(SHOWN_MAX) {
        let _ = writeln!(text, "  and {more} more, in violations");
    }
    let _ = writeln!(text, "faults as they were played:");
    for spell in &outcome.evidence.spells {
        let life = spell.life.map_or_else(String::new, |life| format!(" (life {life})"));
        let _ = writeln!(
            text,
            "  {} to {} (after {:.2} s)  {}{life}",
            spell.from,
            spell.to,
            spell.from.since(began).as_secs_f64(),
            spell.fault
        );
    }
    let stalls =
        outcome.evidence.stalls.iter().filter(|stall| stall.to.since(stall.from) > Duration::from_secs(1));
    for stall in stalls {
        let _ = writeln!(text, "  {} to {}  life {} stood still", stall.from, stall.to, stall.life);
    }
    let _ = writeln!(text, "again: {}", again(settings));
    let _ = writeln!(
        text,
        "kept: {} (the store, the ledger, the journal, and in said/ what each process said)",
        settings.folder.display()
    );
    text
}

/// The command that plays the same run again.
fn again(settings: &Settings) -> String {
    let minutes = settings.takes.as_secs_f64() / 60.0;
    format!("cargo xtask chaos --backend {} --minutes {minutes} --seed {}", settings.backend, settings.seed)
}

fn line(violation: &Violation) -> String {
    format!("{}: {}: {}", violation.rule, violation.about, violation.what)
}

/// Writes everything to files beside the evidence.
pub(crate) fn write(folder: &Path, outcome: &Outcome, verdict: &Verdict) -> anyhow::Result<()> {
    let violations: String = verdict.violations.iter().map(|violation| line(violation) + "\n").collect();
    std::fs::write(folder.join("violations"), violations)?;
    let spells: Result<Vec<_>, _> = outcome.evidence.spells.iter().map(serde_json::to_string).collect();
    std::fs::write(folder.join("faults"), spells?.join("\n"))?;
    let lives: Result<Vec<_>, _> = outcome.evidence.lives.iter().map(serde_json::to_string).collect();
    std::fs::write(folder.join("lives"), lives?.join("\n"))?;
    Ok(())
}
