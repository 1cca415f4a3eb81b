//! Proves the judge: workers and dispatchers with one mistake each, without any fault, and the rule that catches it. Plus one
//! run without mistakes.

use std::process::{Command, Output};

/// Plays for a few seconds, and returns whether it passed and its output.
fn play(mutant: Option<&str>, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stent-chaos"));
    command.args(["--backend", "sqlite", "--faults", "none", "--minutes", "0.15", "--seed", "20"]);
    command.args(more);
    if let Some(mutant) = mutant {
        command.args(["--mutant", mutant]);
    }
    // Nobody needs the files of a mutant.
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let Output { status, stdout, stderr } = command.env("TMPDIR", folder.path()).output().expect("it starts");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    println!("{said}");
    (status.success(), said)
}

/// Enough for a busy machine.
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

/// However the run ends, none of its processes remains.
#[cfg(target_os = "linux")]
mod ends {
    use std::fs;
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process};

    /// Processes of a run: their environment contains its folder.
    fn processes(folder: &Path) -> Vec<i32> {
        let folder = folder.display().to_string();
        let entries = fs::read_dir("/proc").expect("this is Linux").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let told = |pid: &i32| {
            // Processes start and end while they are listed.
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            environment.contains("STENT_CHAOS_ROLE=") && environment.contains(&folder)
        };
        pids.filter(told).collect()
    }

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn by(signal: Signal) {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut run = Command::new(env!("CARGO_BIN_EXE_stent-chaos"))
            .args(["--backend", "sqlite", "--faults", "none", "--minutes", "10", "--keep"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        until("three workers and a dispatcher start", || processes(folder.path()).len() == 4);
        // A stopped process ends, too.
        let paused =
            processes(folder.path()).into_iter().filter_map(Pid::from_raw).next().expect("there are four");
        kill_process(paused, Signal::STOP).expect("it is ours");

        kill_process(Pid::from_child(&run), signal).expect("it is ours");
        let status = run.wait().expect("it is ours");

        assert!(!status.success());
        assert_eq!(status.signal().is_some(), signal == Signal::KILL, "{status}");
        until("they end with it", || processes(folder.path()).is_empty());
    }

    #[test]
    fn by_ctrl_c() {
        by(Signal::INT);
    }

    #[test]
    fn by_a_signal_that_asks_it_to_end() {
        by(Signal::TERM);
    }

    #[test]
    fn by_a_signal_that_nobody_can_handle() {
        by(Signal::KILL);
    }
}
