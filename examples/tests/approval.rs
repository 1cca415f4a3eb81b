//! The example `approval`, run as processes on SQLite.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// A request that is waiting for its answer.
struct Request {
    process: Child,
    stdout: BufReader<ChildStdout>,
    id: String,
}

impl Request {
    /// Makes a request, and returns once its question was asked.
    fn make(folder: &Path, patience: &str) -> Self {
        let mut process = approval(folder, &["request", "a bike", "--patience", patience])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
        let id = line(&mut stdout);
        assert_eq!(line(&mut stdout), "who approves a bike?");
        Self { process, stdout, id }
    }

    /// The rest of what it prints.
    fn end(mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("UTF-8");
        assert!(self.process.wait().expect("its end").success());
        rest
    }
}

fn approval(folder: &Path, args: &[&str]) -> Command {
    let mut command = support::example("approval", folder);
    command.args(args);
    command
}

fn line(stdout: &mut impl BufRead) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("UTF-8");
    line.trim_end().to_owned()
}

fn answer(folder: &Path, id: &str, args: &[&str]) -> Output {
    let mut command = approval(folder, &["answer", id, "--by", "kim"]);
    command.args(args).output().expect("a process")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn an_approval_is_paid() {
    let folder = folder();
    let request = Request::make(folder.path(), "1h");

    let answer = answer(folder.path(), &request.id, &[]);

    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(request.end(), "paid: a bike\napproved by kim\n");
}

#[test]
fn a_refusal_is_not_paid() {
    let folder = folder();
    let request = Request::make(folder.path(), "0s");

    let answer = answer(folder.path(), &request.id, &["--no"]);

    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(request.end(), "refused by kim\n");
}

#[test]
fn silence_is_an_outcome() {
    let folder = folder();
    let request = Request::make(folder.path(), "200ms");
    let id = request.id.clone();

    assert_eq!(request.end(), "nobody answered in time\n");

    // The execution has ended, so nobody can take an answer.
    let late = answer(folder.path(), &id, &[]);
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    assert!(String::from_utf8_lossy(&late.stderr).contains(&id), "{late:?}");
}

#[test]
fn an_answer_is_kept_while_nothing_runs() {
    let folder = folder();
    let mut request = Request::make(folder.path(), "1h");
    request.process.kill().expect("killed");
    request.process.wait().expect("its end");

    let answer = answer(folder.path(), &request.id, &[]);
    assert!(answer.status.success(), "{answer:?}");
    let output = approval(folder.path(), &["wait", &request.id]).output().expect("a process");

    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout.ends_with("paid: a bike\napproved by kim\n"), "{stdout}");
}

#[test]
fn an_answer_to_nobody_is_an_error() {
    let output = answer(folder().path(), "0192f3c8-0000-7000-8000-000000000000", &[]);

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("0192f3c8"), "{output:?}");
}
