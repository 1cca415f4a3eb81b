//! This program, started again by itself; and its own memory usage.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::plan::Spec;
use crate::report::Measurement;

/// Runs one measurement in a separate process.
pub(crate) fn measure(spec: &Spec) -> Result<Measurement> {
    let mut child = Running::start("measure", spec)?;
    let mut measurement: Measurement = child.hear_json().with_context(|| format!("{spec:?}"))?;
    child.end()?;
    measurement.peak_rss_mb = measurement.peak_rss_mb.or_else(peak_rss_mb);
    Ok(measurement)
}

/// A process of this program, in some role. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// `None` once its input is closed.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(role: &str, spec: &impl Serialize) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let mut child = Command::new(program)
            .args([role, &serde_json::to_string(spec)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start this program again")?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("the pipe from a child")?);
        Ok(Self { child, stdin, stdout })
    }

    /// Sends a line to it.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the input of the child is already closed")?;
        writeln!(stdin, "{line}").context("cannot write to a child")
    }

    /// Closes its input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// The next line of its output.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        let heard = self.stdout.read_line(&mut line).context("cannot read from a child")?;
        ensure!(heard > 0, "a child ended without output");
        Ok(line.trim_end().to_owned())
    }

    pub(crate) fn hear_json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.hear()?;
        serde_json::from_str(&line).with_context(|| format!("unexpected output of a child: {line:?}"))
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Result<()> {
        self.hang_up();
        let status = self.child.wait().context("cannot wait for a child")?;
        ensure!(status.success(), "a child ended with {status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Has no effect on a process that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The peak resident memory of this process, if the system reports it.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}
