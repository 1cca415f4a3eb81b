//! As whom servers run: as whoever runs this, except that root lends them a lesser user. Postgres refuses root.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

/// A user other than the one who runs this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    id: u32,
    group: u32,
}

impl User {
    /// The user for servers; none when they run as we do.
    ///
    /// # Errors
    ///
    /// When we are root and the machine has no user that would do.
    #[cfg(unix)]
    pub(super) fn for_servers() -> Result<Option<Self>> {
        use anyhow::Context;

        if !is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let user = ["postgres", "nobody"].iter().find_map(|name| named(&users, name));
        user.map(Some).context("servers do not run as root, and there is neither a user postgres nor nobody")
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
    pub(super) const fn for_servers() -> Result<Option<Self>> {
        Ok(None)
    }

    /// Gives a file or a folder to this user.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        #[cfg(unix)]
        std::os::unix::fs::chown(path, Some(self.id), Some(self.group))?;
        #[cfg(not(unix))]
        let _ = path;
        Ok(())
    }

    /// Has a command run as this user, without any other group.
    pub(super) fn take_on(&self, command: &mut Command) {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::uid(command, self.id);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::gid(command, self.group);
        #[cfg(not(unix))]
        let _ = command;
    }
}

/// Whether this process may do anything.
#[cfg(unix)]
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process may do anything: nobody is asked where there is no root.
#[cfg(not(unix))]
pub(crate) const fn is_root() -> bool {
    false
}

/// A user by name: `postgres:x:101:104:…`.
#[cfg(unix)]
fn named(users: &str, name: &str) -> Option<User> {
    let line = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1).map(str::parse);
    Some(User { id: fields.next()?.ok()?, group: fields.next()?.ok()? })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\npostgresql:x:7:8::/:\npostgres:x:101:104:,,,:/:/bin/sh\n";
        assert_eq!(named(users, "postgres"), Some(User { id: 101, group: 104 }));
        assert_eq!(named(users, "nobody"), None);
    }
}
