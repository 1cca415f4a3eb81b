//! A server and its keeper: a separate process, which stops the server and removes its files as soon as the process that
//! requested the server is gone.
//!
//! The keeper reads its standard input, to which nothing is ever written. The other end closes when this process ends,
//! by a return, a panic, an interrupt or SIGKILL, so none of these needs a handler here. The keeper is in a process
//! group of its own, so Ctrl-C in a terminal reaches the tests and not the keeper.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::keep::Said;

/// A server that runs for as long as this value lives, and not longer than this process.
#[derive(Debug)]
pub(crate) struct Kept {
    port: u16,
    keeper: Child,
    /// Open for as long as the server is wanted.
    wanted: Option<ChildStdin>,
}

impl Kept {
    /// Starts a keeper and waits until its server is ready.
    ///
    /// # Errors
    ///
    /// If the keeper cannot be started, or reports that its server did not start.
    pub(crate) fn start(keeper: &mut Command) -> Result<Self> {
        let program = keeper.get_program().display().to_string();
        let mut keeper = keeper
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let wanted = keeper.stdin.take();
        let stdout = keeper.stdout.take().context("stdout was piped")?;
        let mut kept = Self { port: 0, keeper, wanted };

        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(Said::Ready(port)) => kept.port = port,
            Ok(Said::Failed(why)) => bail!(why),
            Err(_) => bail!("{program} ended before its server was ready"),
        }
        Ok(kept)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.wanted.take());
        // Not longer than the keeper itself waits for a server that does not stop. If this fails, the next start
        // removes the leftovers.
        drop(self.keeper.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use super::*;

    /// A keeper that creates a file as its clean-up.
    fn keeper(says: &str, tidied: &Path) -> Command {
        let mut keeper = Command::new("sh");
        let script = format!("echo '{says}'; cat > /dev/null; echo tidied > '{}'", tidied.display());
        keeper.args(["-c", &script]);
        keeper
    }

    #[test]
    fn a_panic_ends_the_server_before_it_goes_on() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let tidied = folder.path().join("tidied");

        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let kept = Kept::start(&mut keeper(r#"{"ready":7}"#, &tidied)).expect("sh is everywhere");
            assert_ne!(kept.port(), 7, "a test fails");
        }));

        assert!(panicked.is_err());
        assert!(tidied.exists());
    }

    #[test]
    fn a_server_that_does_not_come_up_says_why() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let tidied = folder.path().join("tidied");

        let failed = Kept::start(&mut keeper(r#"{"failed":"no room"}"#, &tidied));
        assert_eq!(failed.expect_err("it failed").to_string(), "no room");

        let silent = Kept::start(&mut keeper("", &tidied)).expect_err("it said nothing");
        assert_eq!(silent.to_string(), "sh ended before its server was ready");
    }
}
