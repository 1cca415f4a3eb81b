//! Processes that measure: this program, started again by itself, or that of the peers. And the memory usage of this one.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::gauge::{Gauge, Reading};
use crate::machine;
use crate::plan::Spec;
use crate::report::Measurement;

/// The lines with which a measuring process says that the measured part begins, and that it has ended.
const BEGIN: &str = "begin";
const END: &str = "end";

/// Runs one measurement in a separate process.
pub(crate) fn measure(spec: &Spec, gauge: &mut Gauge) -> Result<Measurement> {
    let load = machine::load();
    let mut child = Running::start("measure", spec)?;
    let (mut measurement, readings): (Measurement, _) =
        child.watched(gauge).with_context(|| format!("{spec:?}"))?;
    child.end()?;
    let count = measurement.count();
    measurement.usage = readings.and_then(|(before, after)| gauge.between(&before, &after, count));
    measurement.load = load;
    Ok(measurement)
}

/// Says that the measured part begins, and waits until the counters are read.
pub(crate) fn begin() -> Result<()> {
    mark(BEGIN)
}

/// Says that the measured part has ended, and waits until the counters are read.
pub(crate) fn end() -> Result<()> {
    mark(END)
}

fn mark(mark: &str) -> Result<()> {
    println!("{mark}");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer)?;
    ensure!(read > 0, "nobody answered to {mark}; measurements are started by stent-bench itself");
    Ok(())
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
        Self::start_program(&program, role, spec)
    }

    /// Any program that takes a role and a spec.
    pub(crate) fn start_program(program: &Path, role: &str, spec: &impl Serialize) -> Result<Self> {
        let mut child = Command::new(program)
            .args([role, &serde_json::to_string(spec)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
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

    /// The output of a measuring process, and the counters at the beginning and the end of its measured part, if it has one.
    pub(crate) fn watched<T: DeserializeOwned>(
        &mut self,
        gauge: &mut Gauge,
    ) -> Result<(T, Option<(Reading, Reading)>)> {
        let (mut before, mut after) = (None, None);
        loop {
            let line = self.hear()?;
            let reading = match line.as_str() {
                BEGIN => &mut before,
                END => &mut after,
                json => {
                    let heard = serde_json::from_str(json);
                    let heard = heard.with_context(|| format!("unexpected output of a child: {json:?}"))?;
                    return Ok((heard, before.zip(after)));
                }
            };
            *reading = Some(gauge.read(self.child.id())?);
            self.say("go")?;
        }
    }

    /// Ends it as a crash would: it learns nothing of it.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill a child")?;
        self.child.wait().context("cannot wait for a child")?;
        Ok(())
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

/// The resident memory of this process now, in bytes, if the system reports it.
pub(crate) fn rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}
