//! What differs between systems: how a process is asked to end, how one is bound to another's life, and how a file is
//! kept from others.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Asks a server to end at once. What it has in memory is of no use to anyone.
#[cfg(unix)]
pub(super) fn ask_to_end(server: &Child) {
    use rustix::process::{Pid, Signal, kill_process};

    // Postgres leaves its shared memory behind when it is killed; QUIT makes it clean up, and nothing else. One that has
    // ended already is what is asked for.
    let _ = kill_process(Pid::from_child(server), Signal::QUIT);
}

/// Asks nothing: whoever waits for the end kills it.
#[cfg(not(unix))]
pub(super) const fn ask_to_end(_server: &Child) {}

/// A command whose process ends when this one does, also when this one is killed: by `setpriv` of util-linux, where that
/// is to be had. Elsewhere it ends by the keeper's hand only.
pub(super) fn bound_to_this(program: &Path) -> Command {
    /// Linux asks for it by prctl; not every setpriv can (BusyBox has one that cannot).
    const BOUND: [&str; 3] = ["--pdeathsig", "QUIT", "--"];
    let probe = Command::new("setpriv").args(BOUND).arg("true").stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(BOUND).arg(program);
    command
}

/// Writes a file that only its owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

/// Whether the process of this number has ended.
#[cfg(unix)]
pub(super) fn is_gone(process: u32) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};

    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some_and(|process| test_kill_process(process) == Err(Errno::SRCH) || is_zombie(process))
}

/// Whether a process has ended and only its number is left, until its parent asks for it. The first process of a
/// container seldom does.
#[cfg(unix)]
fn is_zombie(process: rustix::process::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Its state follows its name, which may contain anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// Unknown, so nobody is taken for gone.
#[cfg(not(unix))]
pub(super) const fn is_gone(_process: u32) -> bool {
    false
}
