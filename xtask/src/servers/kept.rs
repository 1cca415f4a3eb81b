//! A server and its keeper: a process of its own, which stops the server and removes its traces as soon as whoever asked
//! for it is gone.
//!
//! The keeper reads its standard input, which nobody ever writes to. The other end closes when this process ends, in
//! whatever way: it returned, panicked, was interrupted, or was killed with SIGKILL. So there is one way to the end and
//! no handler for any of them here. The keeper is in a process group of its own: Ctrl-C in a terminal reaches the tests,
//! and not what tidies up after them.

use std::io::{BufRead, BufReader};
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
    /// When the keeper cannot be started, or says that its server did not come up.
    pub(crate) fn start(keeper: &mut Command) -> Result<Self> {
        apart(keeper);
        let program = keeper.get_program().display().to_string();
        let mut keeper = keeper
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
        // Not longer than the keeper's own patience with a server that will not stop. Whether it went well is seen at
        // the next start, which removes what was left.
        drop(self.keeper.wait());
    }
}

#[cfg(unix)]
fn apart(keeper: &mut Command) {
    use std::os::unix::process::CommandExt;

    keeper.process_group(0);
}

#[cfg(not(unix))]
const fn apart(_keeper: &mut Command) {}

#[cfg(all(test, unix))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use super::*;

    /// A keeper that tidies up by making a file.
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
