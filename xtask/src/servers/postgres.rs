//! A private Postgres from the programs of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kind::{Fsync, Kind};
use super::local::{Home, on_path};

/// Where Debian and its relatives put the programs of each version; they are not on PATH.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The folder of the newest programs under [`DEBIAN`], else the one on PATH.
///
/// Not PATH first: what is found there on Debian are wrappers, and on a machine with both it is the older by custom.
pub(super) fn programs() -> Option<PathBuf> {
    newest(Path::new(DEBIAN)).or_else(|| on_path(&["initdb", "postgres"]))
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(versions).ok()?.flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let programs = entry.path().join("bin");
        ["initdb", "postgres"].iter().all(|name| programs.join(name).is_file()).then_some((version, programs))
    });
    versions.max().map(|(_, programs)| programs)
}

/// Makes a cluster in `home` and gives the command that serves it.
pub(super) fn server(
    programs: &Path,
    home: &Home,
    port: u16,
    fsync: Fsync,
    password: &str,
) -> Result<Command> {
    let data = home.path().join("data");
    let password = home.secret("password", password)?;
    let mut initdb = home.command(&programs.join("initdb"));
    initdb.args(["--username", "postgres", "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"]);
    if fsync == Fsync::Off {
        initdb.arg("--no-sync");
    }
    let initdb = initdb.arg("--pwfile").arg(password).arg("--pgdata").arg(&data).output();
    let made = initdb.with_context(|| format!("cannot start initdb in {}", programs.display()))?;
    let why = || format!("initdb failed:\n{}", String::from_utf8_lossy(&made.stderr).trim());
    ensure!(made.status.success(), why());

    let mut server = home.command(&programs.join("postgres"));
    server.arg("-D").arg(&data);
    // No socket among the files of the machine: whoever wants in knows the port and the password.
    let port = port.to_string();
    let place = [("listen_addresses", "127.0.0.1"), ("port", &port), ("unix_socket_directories", "")];
    for (name, value) in place.iter().chain(Kind::Postgres.settings(fsync)) {
        server.arg("-c").arg(format!("{name}={value}"));
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_with_its_programs_is_taken() {
        let versions = tempfile::tempdir().expect("there is room for a folder");
        for (version, programs) in
            [("9", &["initdb", "postgres"][..]), ("15", &["initdb", "postgres"]), ("17", &["psql"])]
        {
            let bin = versions.path().join(version).join("bin");
            fs::create_dir_all(&bin).expect("the folder is ours");
            programs.iter().for_each(|name| fs::write(bin.join(name), "").expect("the folder is ours"));
        }

        assert_eq!(newest(versions.path()), Some(versions.path().join("15/bin")));
        assert_eq!(newest(&versions.path().join("nowhere")), None);
    }
}
