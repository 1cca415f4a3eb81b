//! `cargo xtask ci`: what a change has to pass. Every check runs, whatever became of the ones before it, so that one
//! run tells all there is to mend.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::command::Command;
use crate::{chaos, test, tidy};

/// Runs everything that a change has to pass: format, lints, tidy, docs, chaos, tests
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<bool> {
    // The tests come last: their closing lines are what one looks for at the end of a log.
    let checks: [(&str, &dyn Fn() -> Result<bool>); 8] = [
        ("fmt", &|| shown(&Command::cargo(["fmt", "--all", "--check"]))),
        ("clippy", &|| {
            shown(&Command::cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        }),
        ("otel", &|| {
            let options =
                ["--workspace", "--all-targets", "--features", test::FEATURES, "--", "-D", "warnings"];
            shown(&Command::cargo(["clippy"]).args(options))
        }),
        ("docker", &|| {
            // Built only where a container is wanted, so nothing else here would see it break.
            let options = ["--package", "xtask", "--features", "docker", "--", "-D", "warnings"];
            shown(&Command::cargo(["clippy"]).args(options))
        }),
        ("tidy", &|| {
            println!("$ cargo xtask tidy");
            tidy::run(&tidy::Args::default())
        }),
        ("doc", &|| {
            shown(&Command::cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
        }),
        ("chaos", &|| {
            println!("$ cargo xtask chaos");
            chaos::run(&chaos::Args::default())
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
        results.push(Checked { name, passed, took: start.elapsed() });
    }

    println!("\n{}", summary(&results));
    Ok(results.iter().all(|result| result.passed))
}

fn shown(command: &Command) -> Result<bool> {
    println!("$ {command}");
    command.run()
}

struct Checked {
    name: &'static str,
    passed: bool,
    took: Duration,
}

fn summary(results: &[Checked]) -> String {
    let line = |result: &Checked| {
        let verdict = if result.passed { "ok" } else { "FAILED" };
        format!("  {:<8}{verdict:<8}{:>6.1} s", result.name, result.took.as_secs_f64())
    };
    let lines: Vec<_> = results.iter().map(line).collect();
    format!("ci:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_shows_what_failed() {
        let results = [
            Checked { name: "fmt", passed: true, took: Duration::from_millis(1_500) },
            Checked { name: "clippy", passed: false, took: Duration::from_secs(70) },
        ];
        assert_eq!(summary(&results), "ci:\n  fmt     ok         1.5 s\n  clippy  FAILED    70.0 s");
    }
}
