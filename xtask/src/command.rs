//! Commands, which are printed first and run in the root of the checkout, with their environment. Does not
//! interpret their results.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use anyhow::{Context, Result};
use cargo_metadata::{Artifact, Message};

/// The environment variables with which cargo tells a program about its package.
const PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    // Cargo names the folder at run time too; the name from compile time is stale once a checkout has moved.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).parent().expect("xtask lies in the root of the checkout").to_owned()
}

/// A command that has not run yet.
#[derive(Debug)]
pub(crate) struct Command {
    program: OsString,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
}

impl Command {
    /// The cargo that runs this task.
    pub(crate) fn cargo<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(args)
    }

    /// Any program.
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), args: Vec::new(), environment: Vec::new(), folder: root() }
    }

    pub(crate) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn envs(self, environment: &[(String, String)]) -> Self {
        environment.iter().fold(self, |command, (name, value)| command.env(name, value))
    }

    pub(crate) fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Runs it with this process's own streams. Returns whether it succeeded.
    pub(crate) fn run(&self) -> Result<bool> {
        let status = self.process().status().with_context(|| format!("cannot start `{self}`"))?;
        Ok(status.success())
    }

    /// Prints it, and runs it.
    pub(crate) fn shown(&self) -> Result<bool> {
        println!("$ {self}");
        self.run()
    }

    /// Runs it and returns its standard output as text; an error if it fails.
    pub(crate) fn output(&self) -> Result<String> {
        let output = self
            .process()
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `{self}`"))?;
        anyhow::ensure!(output.status.success(), "`{self}` failed with {}", output.status);
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` printed what is no text"))
    }

    /// Runs it as a build of cargo, prints that, and returns the artifacts with a program, built now or earlier.
    pub(crate) fn programs(self) -> Result<Vec<(Artifact, PathBuf)>> {
        eprintln!("$ {self}");
        let output = self.args(["--message-format", "json-render-diagnostics"]).output()?;
        let mut programs = Vec::new();
        for message in Message::parse_stream(output.as_bytes()) {
            if let Message::CompilerArtifact(artifact) = message?
                && let Some(program) = artifact.executable.clone()
            {
                programs.push((artifact, program.into()));
            }
        }
        Ok(programs)
    }

    /// Runs it and passes each line of its output to `line` as it is printed: both streams, in the order of the writes.
    /// Returns whether it succeeded.
    pub(crate) fn stream(&self, mut line: impl FnMut(&str)) -> Result<bool> {
        let (reader, writer) = std::io::pipe()?;
        let mut process = self.process();
        process.stdout(writer.try_clone()?).stderr(writer);
        let mut child = process.spawn().with_context(|| format!("cannot start `{self}`"))?;
        drop(process); // Our copies of the writing end: while one is open, the reader never sees the end.
        // As bytes: a test may print text that is not UTF-8.
        for bytes in BufReader::new(reader).split(b'\n') {
            let bytes = bytes.with_context(|| format!("cannot read from `{self}`"))?;
            line(String::from_utf8_lossy(&bytes).trim_end_matches('\r'));
        }
        Ok(child.wait()?.success())
    }

    fn process(&self) -> Process {
        let mut process = Process::new(&self.program);
        if self.is_cargo() {
            // Cargo has set these for xtask. Build scripts that watch them would run again after each `cargo xtask`.
            let inherited = std::env::vars_os().map(|(name, _)| name);
            let of_package = |name: &OsString| {
                name.to_str().is_some_and(|name| PACKAGE.iter().any(|prefix| name.starts_with(prefix)))
            };
            inherited.filter(of_package).for_each(|name| {
                process.env_remove(name);
            });
        }
        process.args(&self.args).envs(self.environment.iter().cloned()).current_dir(&self.folder);
        process
    }

    fn is_cargo(&self) -> bool {
        Path::new(&self.program).file_stem().is_some_and(|stem| stem == "cargo")
    }
}

/// The command as it would be typed in the root of the checkout.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        let program = Path::new(&self.program);
        let shown = if self.is_cargo() {
            Path::new("cargo")
        } else {
            program.strip_prefix(root()).unwrap_or(program)
        };
        write!(f, "{}", shown.display())?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_types_it() {
        let command = Command::cargo(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(command.to_string(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn both_streams_arrive_line_by_line_and_in_order() {
        let command = Command::new("sh").args(["-c", "echo one; echo two >&2; printf three; exit 3"]);
        let mut lines = Vec::new();

        let succeeded = command.stream(|line| lines.push(line.to_owned())).expect("sh is everywhere");

        assert_eq!(lines, ["one", "two", "three"]);
        assert!(!succeeded);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Command::new("no-such-program").run().expect_err("nobody has it");
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
