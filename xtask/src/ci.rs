//! `cargo xtask ci`: the checks that a change must pass. Every check runs, even if earlier ones failed, so that one
//! run shows all faults.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::command::Command;
use crate::{chaos, quickstart, test, tidy};

/// The minutes of faults on each store: two minutes in all, however many stores there are. Each run draws other faults.
const CHAOS_MINUTES: &str = "0.67";

/// Runs every check that a change must pass: format, lints, tidy, docs, quickstart, chaos, tests
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<bool> {
    // The tests come last, so that their result is at the end of the log.
    let checks: [(&str, &dyn Fn() -> Result<bool>); 8] = [
        ("fmt", &fmt),
        ("clippy", &clippy),
        ("features", &features),
        ("tidy", &|| {
            println!("$ cargo xtask tidy");
            tidy::run(&tidy::Args {})
        }),
        ("doc", &|| {
            Command::cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").shown()
        }),
        ("quickstart", &|| {
            println!("$ cargo xtask quickstart");
            quickstart::run(&quickstart::Args {})
        }),
        ("chaos", &|| {
            println!("$ cargo xtask chaos --minutes {CHAOS_MINUTES}");
            chaos::run(&chaos::Args::of(&["--minutes", CHAOS_MINUTES]))
        }),
        ("test", &|| test::run(&test::Args::default())),
    ];

    let mut results = Vec::with_capacity(checks.len());
    for (name, check) in checks {
        println!("\n== {name}");
        let start = Instant::now();
        let passed = check().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        results.push((name, passed, start.elapsed()));
    }

    println!("\n{}", summary(&results));
    Ok(results.iter().all(|(_, passed, _)| *passed))
}

/// Also the package that is outside of the workspace, whose build would take longer than all the other checks.
fn fmt() -> Result<bool> {
    let workspace = Command::cargo(["fmt", "--all", "--check"]).shown()?;
    let peers = Command::cargo(["fmt", "--manifest-path", "benches/peers/Cargo.toml", "--check"]).shown()?;
    Ok(workspace && peers)
}

/// Lints everything at once, with all features. The part of xtask that talks to Docker is otherwise built only if a container
/// is needed, so no other check would notice that it does not compile.
fn clippy() -> Result<bool> {
    let features = format!("{},xtask/docker", test::FEATURES);
    let options = ["clippy", "--workspace", "--all-targets", "--features", &features, "--", "-D", "warnings"];
    Command::cargo(options).shown()
}

/// Builds `stent` without features, with each store alone, and with what is no store: code for one store must not need
/// another one, nor a feature of a dependency that only another one turns on. Likewise the command line, with SQLite alone.
fn features() -> Result<bool> {
    let mut passed = true;
    for features in ["", "postgres", "redis", "macros,anyhow,otel,metrics,http"] {
        let check = ["check", "--package", "stent", "--no-default-features", "--features", features];
        passed &= Command::cargo(check).shown()?;
    }
    let check = ["check", "--package", "stent-cli", "--no-default-features", "--features", "sqlite"];
    passed &= Command::cargo(check).shown()?;
    // As README's first command builds them.
    passed &= Command::cargo(["check", "--package", "stent-examples", "--all-targets"]).shown()?;
    Ok(passed)
}

/// The results of the checks, by name, with their durations.
fn summary(results: &[(&str, bool, Duration)]) -> String {
    let line = |(name, passed, took): &(&str, bool, Duration)| {
        let verdict = if *passed { "ok" } else { "FAILED" };
        format!("\n  {name:<12}{verdict:<8}{:>6.1} s", took.as_secs_f64())
    };
    format!("ci:{}", results.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_shows_what_failed() {
        let results =
            [("fmt", true, Duration::from_millis(1_500)), ("clippy", false, Duration::from_secs(70))];
        assert_eq!(summary(&results), "ci:\n  fmt         ok         1.5 s\n  clippy      FAILED    70.0 s");
    }
}
