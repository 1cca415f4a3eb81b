//! The judge is proved: workers and dispatchers that do one thing wrong each, without any fault, and the rule that catches it.
//! And one run in which nothing is wrong.

use std::process::{Command, Output};

/// Plays a few seconds, and gives what was said.
fn play(mutant: Option<&str>, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stent-chaos"));
    command.args(["--backend", "sqlite", "--faults", "none", "--minutes", "0.15", "--seed", "20"]);
    command.args(more);
    if let Some(mutant) = mutant {
        command.args(["--mutant", mutant]);
    }
    // What a mutant leaves behind is of no use to anybody.
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let Output { status, stdout, stderr } = command.env("TMPDIR", folder.path()).output().expect("it starts");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    println!("{said}");
    (status.success(), said)
}

/// As long as a busy machine may take.
const REST: &[&str] = &["--rest", "60"];

#[track_caller]
fn is_caught(mutant: &str, rule: &str) {
    is_caught_with(mutant, rule, REST);
}

#[track_caller]
fn is_caught_with(mutant: &str, rule: &str, more: &[&str]) {
    let (passed, said) = play(Some(mutant), more);
    assert!(!passed, "{mutant} was not caught");
    let is_told = said.lines().any(|line| line.trim_start().starts_with(&format!("{rule}: ")));
    assert!(is_told, "{mutant} was not caught by `{rule}`");
    assert!(said.contains("--seed 20"), "the seed is told");
}

#[test]
fn nothing_wrong_is_nothing_found() {
    let (passed, said) = play(None, REST);
    assert!(passed, "{said}");
    assert!(said.contains("sqlite: ok; "), "{said}");
}

#[test]
fn an_effect_that_happens_twice_is_caught() {
    is_caught("twice", "doubled");
}

#[test]
fn a_recorded_step_that_runs_again_is_caught() {
    is_caught("echo", "repeated-record");
}

#[test]
fn a_wrong_result_is_caught() {
    is_caught("wrong", "wrong-end");
}

#[test]
fn a_limit_that_is_not_kept_is_caught() {
    is_caught("crowd", "crowded");
}

#[test]
fn a_rate_that_is_not_kept_is_caught() {
    is_caught("rush", "rushed");
}

#[test]
fn calls_under_one_key_that_run_each_are_caught() {
    is_caught("each", "two-results");
}

#[test]
fn rows_that_are_not_those_of_the_record_are_caught() {
    is_caught("loose", "rows");
}

#[test]
fn an_execution_that_was_acknowledged_and_is_not_there_is_caught() {
    is_caught("forget", "lost");
}

#[test]
fn a_signal_that_was_acknowledged_and_did_not_arrive_is_caught() {
    is_caught_with("mute", "stuck", &["--rest", "8"]);
}

#[test]
fn a_cancellation_that_was_acknowledged_and_did_nothing_is_caught() {
    is_caught("deaf", "wrong-end");
}
