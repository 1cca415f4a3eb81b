//! The program as it is called: benches at their smallest, and what is made of their lines. Asserts no figure.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Benches that are quick at this size, on the store that needs no server.
const QUICK: &str = "jobs,jobs-step,workflows,latency,map,history,claim,lanes,finished,waiting";
const N: &str = "60";

fn bench(folder: &Path, args: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_stent-bench"))
        .args(args)
        .current_dir(folder)
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{args:?} ended with {}: {err}", output.status);
    (out, err)
}

#[test]
fn each_bench_prints_a_line_that_is_compared_drawn_and_put_into_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let measure = ["--only", QUICK, "--n", N, "--durability", "normal", "--dir", "."];

    let (before, _) = bench(folder, &[&measure[..], &["--runs", "2"]].concat());
    std::fs::write(folder.join("before.jsonl"), &before).expect("it is written");

    let lines: Vec<Value> =
        before.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let (machine, measured) = lines.split_first().expect("there are lines");
    assert!(machine["machine"]["cores"].as_u64() > Some(0), "{machine}");
    let names: Vec<_> = measured.iter().filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(names.join(","), QUICK);
    for line in measured {
        assert!(line["rate"].as_f64() > Some(0.0) && line["runs"] == 2, "{line}");
        assert!(line["min"].as_f64() <= line["max"].as_f64(), "{line}");
    }
    if cfg!(target_os = "linux") {
        assert!(measured[0]["client_cpu_us"].as_f64() > Some(0.0), "{}", measured[0]);
    }

    let (_, compared) = bench(
        folder,
        &["--only", "jobs", "--n", N, "--durability", "normal", "--dir", ".", "--compare", "before.jsonl"],
    );
    assert!(compared.contains("jobs of stent on sqlite, normal, n 60: rate"), "{compared}");

    let (tables, _) = bench(folder, &["table", "before.jsonl"]);
    assert!(tables.contains("**`lanes`: latency p50, ms**"), "{tables}");
    let (plots, _) = bench(folder, &["plot", "before.jsonl", "--out", "plots"]);
    assert!(plots.lines().any(|line| line.ends_with("growth-lanes.svg")), "{plots}");
}

#[test]
fn a_file_that_is_no_output_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("x.jsonl"), "hello\n").expect("it is written");
    let output = Command::new(env!("CARGO_BIN_EXE_stent-bench"))
        .args(["table", "x.jsonl"])
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("x.jsonl is no output of stent-bench: line 1"),
        "{error}"
    );
}
