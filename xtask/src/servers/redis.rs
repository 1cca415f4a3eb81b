//! A private Redis from the program of this machine.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::kind::{Fsync, Kind};
use super::local::Home;

/// The command that serves `home`. Its settings are in a file, where nobody sees the password.
pub(super) fn server(
    programs: &Path,
    home: &Home,
    port: u16,
    fsync: Fsync,
    password: &str,
) -> Result<Command> {
    let folder = home.path().display().to_string();
    let settings = home.secret("redis.conf", &settings(port, &folder, fsync, password))?;
    let mut server = home.command(&programs.join("redis-server"));
    server.arg(settings);
    Ok(server)
}

fn settings(port: u16, folder: &str, fsync: Fsync, password: &str) -> String {
    let port = port.to_string();
    let place = [("bind", "127.0.0.1"), ("port", port.as_str()), ("dir", folder), ("requirepass", password)];
    let settings = place.iter().chain(Kind::Redis.settings(fsync));
    settings.map(|(name, value)| format!("{name} \"{value}\"\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_a_line_and_an_empty_one_is_quoted() {
        let settings = settings(7000, "/tmp/x", Fsync::On, "p");
        assert!(settings.starts_with("bind \"127.0.0.1\"\nport \"7000\"\n"), "{settings}");
        assert!(settings.ends_with("appendfsync \"always\"\nsave \"\"\n"), "{settings}");
    }
}
