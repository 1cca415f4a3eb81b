//! Packages of Debian and its relatives, installed by root. Nothing that a package brings is started: a server of the
//! machine's own is no business of ours.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::local::on_path;
use super::user::is_root;
use crate::command::Command;

/// Whether packages can be installed here.
///
/// # Errors
///
/// When they cannot, with the reason.
pub(crate) fn can_install() -> Result<()> {
    ensure!(Path::new("/etc/debian_version").exists() && on_path(&["apt-get"]).is_some(), "not Debian");
    ensure!(is_root(), "not root");
    Ok(())
}

/// Installs a package, and says so before.
///
/// # Errors
///
/// When packages cannot be installed here, or apt-get fails.
pub(crate) fn install(package: &str) -> Result<()> {
    can_install()?;
    let _policy = NoServices::declare()?;
    let install = apt_get(["install", "-y", "-qq", "--no-install-recommends", package]);
    eprintln!("$ {install}");
    if install.output().is_ok() {
        return Ok(());
    }
    // The lists may be old, or not there at all.
    let update = apt_get(["update", "-qq"]);
    eprintln!("$ {update}");
    update.output()?;
    eprintln!("$ {install}");
    install.output()?;
    Ok(())
}

fn apt_get<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive")
}

/// While this lives, packages that are installed start no service.
#[derive(Debug)]
struct NoServices {
    /// Whether the file is ours to remove.
    ours: bool,
}

/// What a package asks before it starts a service; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn declare() -> Result<Self> {
        // One that is there is the machine's own word, which stands.
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        let declared = Self { ours: true };
        #[cfg(unix)]
        fs::set_permissions(POLICY, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(declared)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            drop(fs::remove_file(POLICY));
        }
    }
}
