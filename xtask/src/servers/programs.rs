//! Programs of this machine: finds them, installs missing ones as root on Debian, and builds the command that serves a
//! folder. Services of installed packages are not started.

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use super::kind::{Fsync, Kind};
use super::local::{Home, is_root};
use crate::command::Command;

/// The folder in which Debian and its derivatives have the Postgres programs of each version; they are not on PATH.
const POSTGRES: &str = "/usr/lib/postgresql";

/// The folder that has the newest programs of this kind, if the machine has any.
///
/// PATH is not searched first: on Debian it has wrappers only, and on a machine with both it usually has the older
/// version.
pub(super) fn folder_of(kind: Kind) -> Option<PathBuf> {
    match kind {
        Kind::Postgres => newest(Path::new(POSTGRES)).or_else(|| on_path(&["initdb", "postgres"])),
        Kind::Redis => on_path(&["redis-server"]),
    }
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(versions).ok()?.flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let programs = entry.path().join("bin");
        ["initdb", "postgres"].iter().all(|name| programs.join(name).is_file()).then_some((version, programs))
    });
    versions.max().map(|(_, programs)| programs)
}

/// The first folder of PATH that has all of these programs.
pub(crate) fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).find(|folder| names.iter().all(|name| folder.join(name).is_file()))
}

/// The command that serves `home`. For Postgres, creates a cluster there first.
pub(super) fn server(kind: Kind, home: &Home, port: u16, fsync: Fsync, password: &str) -> Result<Process> {
    let programs = folder_of(kind).with_context(|| format!("the programs of {kind} are not here"))?;
    let port = port.to_string();
    match kind {
        Kind::Postgres => {
            let data = home.path().join("data");
            let mut initdb = home.command(&programs.join("initdb"));
            initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]);
            initdb.args((fsync == Fsync::Off).then_some("--no-sync"));
            initdb.arg("--pwfile").arg(home.file("password", password)?).arg("--pgdata").arg(&data);
            let made =
                initdb.output().with_context(|| format!("cannot start initdb in {}", programs.display()))?;
            let why = String::from_utf8_lossy(&made.stderr);
            ensure!(made.status.success(), "initdb failed:\n{}", why.trim());

            let mut server = home.command(&programs.join("postgres"));
            server.arg("-D").arg(&data);
            // No Unix socket: clients use the port and the password.
            let place = [("listen_addresses", "127.0.0.1"), ("port", &port), ("unix_socket_directories", "")];
            let settings = place.iter().chain(kind.settings(fsync));
            server.args(settings.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]));
            Ok(server)
        }
        Kind::Redis => {
            // In a file, because arguments would show the password.
            let folder = home.path().display().to_string();
            let place = [("bind", "127.0.0.1"), ("port", &port), ("dir", &folder), ("requirepass", password)];
            let settings = place.iter().chain(kind.settings(fsync));
            let settings: String = settings.map(|(name, value)| format!("{name} \"{value}\"\n")).collect();
            let mut server = home.command(&programs.join("redis-server"));
            server.arg(home.file("redis.conf", &settings)?);
            Ok(server)
        }
    }
}

/// Installs a package of Debian or a derivative, and prints that before.
///
/// # Errors
///
/// If packages cannot be installed here, or apt-get fails.
pub(crate) fn install(package: &str, what_for: &str) -> Result<()> {
    /// The script that a package runs before it starts a service; exit code 101 forbids the start.
    const POLICY: &str = "/usr/sbin/policy-rc.d";
    let is_debian = Path::new("/etc/debian_version").exists() && on_path(&["apt-get"]).is_some();
    ensure!(is_debian, "package {package} cannot be installed: not Debian");
    ensure!(is_root(), "package {package} cannot be installed: not root");
    eprintln!("installing package {package} {what_for}; no service of it is started");
    // An existing policy of the machine stays in force.
    let is_ours = !Path::new(POLICY).exists();
    if is_ours {
        write_program(Path::new(POLICY), "#!/bin/sh\nexit 101\n")?;
    }
    let apt_get = |args: &[&str]| {
        let command =
            Command::new("apt-get").args(args.iter().copied()).env("DEBIAN_FRONTEND", "noninteractive");
        eprintln!("$ {command}");
        command.output()
    };
    let install = || apt_get(&["install", "-y", "-qq", "--no-install-recommends", package]);
    // The package lists may be old or missing.
    let installed = install().or_else(|_| apt_get(&["update", "-qq"]).and_then(|_| install()));
    if is_ours {
        fs::remove_file(POLICY)?;
    }
    installed.map(drop)
}

pub(crate) fn write_program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

/// The environment variable with the pooler's path, if the default is not to be used.
const PGBOUNCER_VARIABLE: &str = "STENT_PGBOUNCER";

/// Installs the programs that some tests start themselves: a pooler, and servers that are stopped and started again. If one
/// cannot be installed, prints that, and the tests that start it fail.
pub(crate) fn for_tests() {
    let has_pgbouncer = env::var_os(PGBOUNCER_VARIABLE).is_some()
        || Path::new("/usr/sbin/pgbouncer").is_file()
        || on_path(&["pgbouncer"]).is_some();
    let [postgres, redis] =
        [Kind::Postgres, Kind::Redis].map(|kind| (kind.facts().debian_package, folder_of(kind).is_some()));
    let programs = [("pgbouncer", has_pgbouncer), postgres, redis];
    for (package, _) in programs.into_iter().filter(|(_, is_here)| !is_here) {
        if let Err(error) = install(package, "for tests that start it") {
            eprintln!("{package}: not here ({error:#}): the tests that start it will fail");
        }
    }
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
