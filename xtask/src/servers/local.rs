//! Servers from programs of this machine: where the programs are, and a start that nobody else notices. The server has a
//! free port of loopback, a temporary folder for all that it writes, and a password of its own.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::kind::{Fsync, Kind};
use super::user::User;
use super::{postgres, process, redis};

/// How long a server may take to come up. A cluster is made in two seconds on an idle machine; this is for a busy one.
const START_MAX: Duration = Duration::from_secs(60);

/// How long a server may take to end before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How often a server that comes up, or goes down, is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The folder that has the newest programs of this kind, if the machine has any.
pub(super) fn programs(kind: Kind) -> Option<PathBuf> {
    match kind {
        Kind::Postgres => postgres::programs(),
        Kind::Redis => on_path(&["redis-server"]),
    }
}

/// The first folder of PATH that has all of these programs.
pub(crate) fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).find(|folder| names.iter().all(|name| folder.join(name).is_file()))
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("loopback has no free port")?;
    Ok(listener.local_addr()?.port())
}

/// A running server. It ends, and its folder goes, with this value.
#[derive(Debug)]
pub(crate) struct Local {
    kind: Kind,
    port: u16,
    server: Child,
    // Dropped after the server has ended.
    _home: Home,
}

/// The folder of a server.
#[derive(Debug)]
pub(super) struct Home {
    folder: TempDir,
    /// Locked for as long as the keeper lives, so that others can tell a folder in use from a leftover.
    _lock: File,
    user: Option<User>,
}

impl Local {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    ///
    /// When the programs are not there or fail, with the end of the server's log.
    pub(crate) fn start(kind: Kind, fsync: Fsync, password: &str) -> Result<Self> {
        /// Between the choice of a port and its use, somebody else may take it.
        const TRIES_MAX: u32 = 3;
        remove_leftovers();
        let programs = programs(kind).with_context(|| format!("the programs of {kind} are not here"))?;
        let mut tries = 1;
        loop {
            let port = free_port()?;
            let started = Self::start_at(kind, &programs, port, fsync, password);
            match started {
                Err(_) if tries < TRIES_MAX && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() => {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    fn start_at(kind: Kind, programs: &Path, port: u16, fsync: Fsync, password: &str) -> Result<Self> {
        let home = Home::new(kind)?;
        let mut command = match kind {
            Kind::Postgres => postgres::server(programs, &home, port, fsync, password)?,
            Kind::Redis => redis::server(programs, &home, port, fsync, password)?,
        };
        let log = home.path().join("log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let server =
            command.spawn().with_context(|| format!("cannot start {kind} in {}", programs.display()))?;
        let mut local = Self { kind, port, server, _home: home };

        local.wait_for_answer(password).with_context(|| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("{kind} did not come up; the end of its log:\n{}", last_lines(&log))
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
        process::ask_to_end(&self.server);
        let start = Instant::now();
        while start.elapsed() < STOP_MAX {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// How the folders of servers are named: `stent-server-postgres-1x2y3z`.
const PREFIX: &str = "stent-server-";

/// The file in such a folder that a living keeper has locked.
const LOCK: &str = "keeper.lock";

impl Home {
    fn new(kind: Kind) -> Result<Self> {
        let user = User::for_servers()?;
        let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{kind}-")).tempdir()?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().context("a folder that was just made is locked already")?;
        if let Some(user) = &user {
            user.own(folder.path())?;
        }
        Ok(Self { folder, _lock: lock, user })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file that only the server may read.
    pub(super) fn secret(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        process::write_secret(&path, text)?;
        if let Some(user) = &self.user {
            user.own(&path)?;
        }
        Ok(path)
    }

    /// A program as the user who owns this folder. It ends with this process.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = process::bound_to_this(program);
        command.current_dir(self.path());
        if let Some(user) = &self.user {
            user.take_on(&mut command);
        }
        command
    }
}

/// Removes the folders of keepers that were killed before they could. A server that still runs in one ends by itself:
/// Postgres looks every minute whether its folder is still there.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_leftover(&entry.path()) {
            // Somebody else's cannot be removed, and need not be.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Whether nobody keeps this folder: its lock can be had. One without a lock is just being made.
fn is_leftover(folder: &Path) -> bool {
    match File::options().write(true).open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() != ErrorKind::NotFound && error.kind() != ErrorKind::PermissionDenied,
    }
}

fn last_lines(log: &str) -> String {
    /// Enough for the reason and what led to it.
    const LINES_MAX: usize = 15;
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
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
    fn the_end_of_a_log_is_kept() {
        let log: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert!(last_lines(&log).starts_with("85\n"));
        assert_eq!(last_lines("one"), "one");
    }
}
