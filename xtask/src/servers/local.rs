//! Private servers from programs of this machine. A server has a free loopback port, a temporary folder for all of its
//! files, and a password of its own. It runs as the current user; if that is root, as an unprivileged user, because
//! Postgres refuses root.

use std::env;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::kind::{Fsync, Kind};
use super::programs;

/// How long a server may take to start. Creating a cluster takes two seconds on an idle machine; this is for a busy
/// one.
const START_MAX: Duration = Duration::from_secs(60);

/// How long a server may take to end before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How often a server that starts or stops is checked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A free port of loopback, below those that the system gives to connections, and to listeners that ask for any port: nobody takes it
/// by chance while its server is down.
pub(super) fn free_port() -> u16 {
    loop {
        let port = 10_000 + (RandomState::new().build_hasher().finish() % 20_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A running server. Dropping this value ends it and removes its folder.
#[derive(Debug)]
pub(crate) struct Local {
    kind: Kind,
    port: u16,
    server: Child,
    // Dropped after the server has ended.
    _home: Home,
}

impl Local {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    ///
    /// If the programs are missing or fail; the error has the end of the server's log.
    pub(crate) fn start(kind: Kind, fsync: Fsync, password: &str) -> Result<Self> {
        /// Attempts: another process may take a port between its choice and its use.
        const TRIES_MAX: u32 = 3;
        remove_leftovers();
        let mut tries = 1;
        loop {
            let port = free_port();
            let started = Self::start_at(kind, port, fsync, password);
            let is_taken = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err();
            if started.is_ok() || tries == TRIES_MAX || !is_taken() {
                return started;
            }
            tries += 1;
        }
    }

    fn start_at(kind: Kind, port: u16, fsync: Fsync, password: &str) -> Result<Self> {
        let home = Home::new(kind)?;
        let mut command = programs::server(kind, &home, port, fsync, password)?;
        let log = home.path().join("log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let server = command.spawn().with_context(|| format!("cannot start {kind}"))?;
        let mut local = Self { kind, port, server, _home: home };

        local.wait_for_answer(password).with_context(|| {
            /// Lines of the log in an error: enough for the cause and its context.
            const LINES_MAX: usize = 15;
            let log = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LINES_MAX)..].join("\n");
            format!("{kind} did not come up; the end of its log:\n{end}")
        })?;
        Ok(local)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    fn wait_for_answer(&mut self, password: &str) -> Result<()> {
        let start = Instant::now();
        while !self.kind.answers(self.port, password) {
            if let Some(status) = self.server.try_wait()? {
                bail!("it ended with {status}");
            }
            ensure!(start.elapsed() < START_MAX, "it does not answer after {} s", START_MAX.as_secs());
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // The data need not be saved. But Postgres leaves its shared memory behind when it is killed; QUIT makes it clean
        // that up and nothing else. A server that has already ended is no error.
        let _ = kill_process(Pid::from_child(&self.server), Signal::QUIT);
        let start = Instant::now();
        while matches!(self.server.try_wait(), Ok(None)) && start.elapsed() < STOP_MAX {
            std::thread::sleep(LOOK_EVERY);
        }
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// How the folders of servers are named: `stent-server-postgres-1x2y3z`.
const PREFIX: &str = "stent-server-";

/// The file in such a folder that a running keeper has locked.
const LOCK: &str = "keeper.lock";

/// The folder of a server, which only the server's user may read.
#[derive(Debug)]
pub(super) struct Home {
    folder: TempDir,
    /// Locked while the keeper runs, so that other processes can distinguish a folder in use from a leftover.
    _lock: File,
    user: Option<User>,
}

impl Home {
    fn new(kind: Kind) -> Result<Self> {
        let user = if is_root() { Some(User::lent()?) } else { None };
        let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{kind}-")).tempdir()?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().context("a folder that was just made is locked already")?;
        let home = Self { folder, _lock: lock, user };
        home.give(home.path())?;
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file with this text.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, text)?;
        self.give(&path)?;
        Ok(path)
    }

    fn give(&self, path: &Path) -> Result<()> {
        self.user.as_ref().map_or(Ok(()), |user| Ok(chown(path, Some(user.id), Some(user.group))?))
    }

    /// A program that runs as the owner of this folder. It ends with this process, even if this process is killed,
    /// by `setpriv` of util-linux if that is available. Otherwise only the keeper ends it.
    pub(super) fn command(&self, program: &Path) -> Command {
        /// This uses prctl on Linux, which not every setpriv supports (BusyBox's does not).
        const BOUND: [&str; 3] = ["--pdeathsig", "QUIT", "--"];
        let probe = Command::new("setpriv").args(BOUND).arg("true").stderr(Stdio::null()).status();
        let mut command = Command::new(program);
        if probe.is_ok_and(|status| status.success()) {
            command = Command::new("setpriv");
            command.args(BOUND).arg(program);
        }
        command.current_dir(self.path());
        if let Some(user) = &self.user {
            // Without any other group.
            command.uid(user.id).gid(user.group);
        }
        command
    }
}

/// A user other than the current one.
#[derive(Debug, PartialEq, Eq)]
struct User {
    id: u32,
    group: u32,
}

impl User {
    fn lent() -> Result<Self> {
        let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let user = ["postgres", "nobody"].iter().find_map(|name| Self::named(&users, name));
        user.context("servers do not run as root, and there is neither a user postgres nor nobody")
    }

    /// `postgres:x:101:104:…`
    fn named(users: &str, name: &str) -> Option<Self> {
        let line = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let mut fields = line.split(':').skip(1).map(str::parse);
        Some(Self { id: fields.next()?.ok()?, group: fields.next()?.ok()? })
    }
}

/// Removes the folders of keepers that were killed before they could. A server that still runs in one ends by itself:
/// Postgres checks every minute whether its folder still exists.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_leftover(&entry.path()) {
            // Folders of other users cannot be removed, and need not be.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Whether no keeper uses this folder, that is, whether its lock is free. A folder without a lock file is being
/// created.
fn is_leftover(folder: &Path) -> bool {
    match File::options().write(true).open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() != ErrorKind::NotFound && error.kind() != ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_leftover_once_its_lock_is_free() {
        let home = tempfile::tempdir().expect("there is room for a folder");
        assert!(!is_leftover(home.path()), "it is just being made");

        let lock = File::create(home.path().join(LOCK)).expect("the folder is ours");
        lock.try_lock().expect("nobody has it");
        assert!(!is_leftover(home.path()), "its keeper lives");

        drop(lock);
        assert!(is_leftover(home.path()), "its keeper is gone");
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\npostgresql:x:7:8::/:\npostgres:x:101:104:,,,:/:/bin/sh\n";
        assert_eq!(User::named(users, "postgres"), Some(User { id: 101, group: 104 }));
        assert_eq!(User::named(users, "nobody"), None);
    }
}
