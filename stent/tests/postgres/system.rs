//! The parts of the system that a test needs to start a server.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user for servers if root starts them, because servers refuse root.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// A user other than the current one.
#[derive(Debug)]
pub(crate) struct User {
    id: u32,
    group: u32,
}

impl User {
    /// The user for servers, if the current user is root.
    pub(crate) fn lesser() -> Option<Self> {
        let our_own = tempfile::tempfile().unwrap();
        if our_own.metadata().unwrap().uid() != 0 {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let user = USERS.iter().find_map(|name| {
            let line = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let mut fields = line.split(':').skip(1).map(str::parse);
            Some(Self { id: fields.next()?.ok()?, group: fields.next()?.ok()? })
        });
        Some(user.expect("servers do not run as root, and there is neither a user postgres nor nobody"))
    }

    /// Gives a file or a folder to this user.
    pub(crate) fn own(&self, path: &Path) {
        chown(path, Some(self.id), Some(self.group)).unwrap();
    }

    /// Makes a command run as this user.
    pub(crate) fn take_on(&self, command: &mut Command) {
        command.uid(self.id).gid(self.group);
    }
}

/// A free port of loopback, below those that the system gives to connections, and to listeners that ask for any port: nobody takes it
/// by chance while its server is down.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 10_000 + (RandomState::new().build_hasher().finish() % 20_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The first of these folders, and then of those on PATH, that contains all of these programs.
pub(crate) fn folder_with(programs: &[&str], first: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = first.into_iter().chain(std::env::split_paths(&path));
    folders.find(|folder| programs.iter().all(|program| folder.join(program).is_file()))
}

/// Writes a file that only its owner may read.
pub(crate) fn write(path: &Path, text: &str) {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}
