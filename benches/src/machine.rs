//! The machine of a run, which is the first line of its output.

use serde::{Deserialize, Serialize};

/// What a reader needs to know to compare figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The day of the run.
    pub(crate) date: String,
    /// The commit of the checkout, as `cargo xtask bench` names it.
    pub(crate) commit: Option<String>,
    pub(crate) cores: usize,
    pub(crate) processor: Option<String>,
    pub(crate) memory_gib: Option<f64>,
    pub(crate) kernel: Option<String>,
    /// Runs of each measurement.
    pub(crate) runs: u32,
}

impl Machine {
    pub(crate) fn this(runs: u32) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            date: date(std::time::SystemTime::now()),
            commit: std::env::var("STENT_BENCH_COMMIT").ok(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: after(&cpu, "model name").map(|name| name.trim_start_matches([':', ' ']).to_owned()),
            memory_gib: after(&memory, "MemTotal:").and_then(|kib| {
                let kib: f64 = kib.trim_end_matches("kB").trim().parse().ok()?;
                Some((kib / f64::from(1 << 20)).round())
            }),
            kernel: kernel.map(|kernel| kernel.trim().to_owned()),
            runs,
        }
    }
}

/// The load average over the last minute.
pub(crate) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// The rest of the first line that begins so.
fn after<'a>(text: &'a str, beginning: &str) -> Option<&'a str> {
    Some(text.lines().find_map(|line| line.strip_prefix(beginning))?.trim())
}

/// The day in UTC, as `2026-12-01`.
fn date(now: std::time::SystemTime) -> String {
    let seconds = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    // Howard Hinnant's `civil_from_days`, for days after 1970.
    let shifted = seconds / 86_400 + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{of_month:02}", year + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_796_083_199), "2026-11-30");
        assert_eq!(at(1_796_083_200), "2026-12-01");
    }

    #[test]
    fn a_machine_says_at_least_its_cores() {
        assert!(Machine::this(3).cores > 0);
    }
}
