//! The lines of earlier runs, read back.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::report::Measurement;

/// A line of the output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Machine { machine: Machine },
    Measurement(Box<Measurement>),
}

/// The lines of some files.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) machines: Vec<Machine>,
    pub(crate) measurements: Vec<Measurement>,
}

impl Record {
    pub(crate) fn read<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Result<Self> {
        let mut record = Self::default();
        for file in files {
            let file = file.as_ref();
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            record.add(&text).with_context(|| format!("{} is no output of stent-bench", file.display()))?;
        }
        Ok(record)
    }

    /// A measurement replaces an earlier one of the same: the files are named in the order of their age.
    fn add(&mut self, text: &str) -> Result<()> {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str(line).with_context(|| format!("line {}", at + 1))? {
                Line::Machine { machine } if self.machines.contains(&machine) => {}
                Line::Machine { machine } => self.machines.push(machine),
                Line::Measurement(measurement) => {
                    self.measurements.retain(|earlier| !earlier.is_like(&measurement));
                    self.measurements.push(*measurement);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A measurement on SQLite, as it would be printed.
    pub(crate) fn measurement(peer: Option<&str>, bench: &str, n: u32, rate: f64) -> Measurement {
        let mut line = json!({
            "name": bench, "backend": "sqlite", "durability": "full", "n": n, "seconds": f64::from(n) / rate, "rate": rate,
            "steps": n,
        });
        if let Some(peer) = peer {
            line["peer"] = peer.into();
        }
        serde_json::from_value(line).expect("it has every field that must be there")
    }

    #[test]
    fn a_later_line_replaces_an_earlier_one_of_the_same() {
        let lines: Vec<_> = [(None, 10, 1.0), (Some("other"), 10, 2.0), (None, 20, 3.0), (None, 10, 4.0)]
            .map(|(peer, n, rate)| {
                serde_json::to_string(&measurement(peer, "jobs", n, rate)).expect("plain data")
            })
            .into();
        let mut record = Record::default();

        record.add(&lines.join("\n\n")).expect("all are lines");

        let rates: Vec<_> = record.measurements.iter().map(|measurement| measurement.rate).collect();
        assert_eq!(rates, [2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_line_of_something_else_is_named() {
        let error = Record::default().add("\n{\"x\":1}").expect_err("it is no measurement");
        assert_eq!(error.to_string(), "line 2");
    }
}
