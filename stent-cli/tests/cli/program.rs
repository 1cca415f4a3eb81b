//! Runs the program, and makes its output comparable: ids that are drawn, moments and durations are replaced.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The output and the exit code of a run of the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program without arguments, and without an environment that could change its output.
pub(crate) fn stent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stent"));
    for name in ["STENT_STORE", "COLUMNS", "NO_COLOR", "CLICOLOR_FORCE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program on a store.
pub(crate) fn on(store: &str, args: &[&str]) -> Ran {
    let mut command = stent();
    command.env("STENT_STORE", store).args(args);
    ran(&mut command)
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().expect("a process");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Ran {
    /// The answer of a run that did what was asked.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The answer as one JSON document.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The stderr of a run that ended with this code.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stderr
    }
}

/// The text with moments and durations replaced. Columns lose their widths with that.
pub(crate) fn timeless(text: &str) -> String {
    let line = |line: &str| {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        // Two spaces or more separate columns.
        let columns = line.trim().split("  ").map(str::trim).filter(|column| !column.is_empty());
        let columns = columns.map(|column| column.split(' ').map(word).collect::<Vec<_>>().join(" "));
        let line = format!("{indent}{}", columns.collect::<Vec<_>>().join("  "));
        line.replace("<date> <time>", "<moment>")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn word(word: &str) -> String {
    let core = word.trim_matches(|c| ",()".contains(c));
    let is_like = |pattern: &str| {
        core.len() == pattern.len()
            && core.bytes().zip(pattern.bytes()).all(|(c, p)| match p {
                b'0' => c.is_ascii_digit(),
                _ => c == p,
            })
    };
    let units = ["us", "ms", "s", "m", "h", "d"];
    let is_duration = || {
        let mut rest = core;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
            let unit = rest[digits..].len()
                - rest[digits..].trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
            if digits == 0 || !units.contains(&&rest[digits..digits + unit]) {
                return false;
            }
            rest = &rest[digits + unit..];
            parts += 1;
        }
        parts > 0
    };
    let is_drawn = || {
        let dashes = core.match_indices('-').map(|(at, _)| at).eq([8, 13, 18, 23]);
        core.len() == 36 && dashes && !core.starts_with("01900000-")
    };
    let new = if is_drawn() {
        "<id>"
    } else if is_like("0000-00-00") {
        "<date>"
    } else if is_like("00:00:00Z") {
        "<time>"
    } else if is_duration() {
        "<took>"
    } else {
        return word.to_owned();
    };
    word.replacen(core, new, 1)
}
