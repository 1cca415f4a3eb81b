//! The kinds of servers that backends need: their names, their settings, and the check that a server answers. Starts
//! nothing.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backends::Backend;

/// A server that runs apart from the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Postgres,
    Redis,
}

/// When a private server waits for the disk.
///
/// In all cases, a killed server loses nothing that it has confirmed, because the operating system has its
/// writes. Only a power failure makes a difference, which no test causes; benches measure the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fsync {
    /// Before it confirms a write.
    On,
    /// Once a second, in the background: `appendfsync everysec` of Redis. Postgres has no such setting under which a killed
    /// server loses nothing, and waits before each confirmation.
    Everysec,
    /// Never.
    Off,
}

/// The properties of a kind of server.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) name: &'static str,
    /// The environment variable with a server's URL, for tests and for users who name their own server.
    pub(crate) url_variable: &'static str,
    /// The variable that names an image.
    pub(crate) image_variable: &'static str,
    /// The image that `cargo xtask images` makes, under a name that no other project uses.
    pub(crate) own_image: &'static str,
    /// The image of the registry.
    pub(crate) official_image: &'static str,
    /// The package of Debian that has the server's program.
    pub(crate) debian_package: &'static str,
    /// The port that the server listens on in a container.
    pub(crate) port: u16,
}

impl Kind {
    /// The server that `backend` needs; `None` if the backend is in the process of its test.
    pub(crate) const fn of(backend: Backend) -> Option<Self> {
        match backend {
            Backend::Memory | Backend::Sqlite => None,
            Backend::Postgres => Some(Self::Postgres),
            Backend::Redis => Some(Self::Redis),
        }
    }

    /// The kind that a URL names.
    pub(crate) fn of_url(url: &str) -> Option<Self> {
        match url.split_once("://")?.0 {
            "postgres" | "postgresql" => Some(Self::Postgres),
            "redis" | "rediss" => Some(Self::Redis),
            _ => None,
        }
    }

    /// The properties of this kind.
    pub(crate) const fn facts(self) -> &'static Facts {
        match self {
            Self::Postgres => &Facts {
                name: "postgres",
                url_variable: "STENT_POSTGRES_URL",
                image_variable: "STENT_POSTGRES_IMAGE",
                own_image: "stent-test/postgres:latest",
                official_image: "postgres:17-alpine",
                debian_package: "postgresql",
                port: 5432,
            },
            Self::Redis => &Facts {
                name: "redis",
                url_variable: "STENT_REDIS_URL",
                image_variable: "STENT_REDIS_IMAGE",
                own_image: "stent-test/redis:latest",
                official_image: "redis:7-alpine",
                debian_package: "redis-server",
                port: 6379,
            },
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The URL of a private server on loopback.
    pub(crate) fn url(self, port: u16, password: &str) -> String {
        match self {
            Self::Postgres => format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres"),
            Self::Redis => format!("redis://default:{password}@127.0.0.1:{port}/0"),
        }
    }

    /// Settings of a private server, as names and values.
    pub(crate) const fn settings(self, fsync: Fsync) -> &'static [(&'static str, &'static str)] {
        match (self, fsync) {
            // Tests open a pool for each handle of each case, many at once.
            (Self::Postgres, Fsync::On | Fsync::Everysec) => {
                &[("max_connections", "300"), ("fsync", "on"), ("synchronous_commit", "on")]
            }
            // full_page_writes protects only from pages that are torn by a crash of the machine.
            (Self::Postgres, Fsync::Off) => &[
                ("max_connections", "300"),
                ("fsync", "off"),
                ("full_page_writes", "off"),
                ("synchronous_commit", "on"),
            ],
            (Self::Redis, Fsync::On) => &[("appendonly", "yes"), ("appendfsync", "always"), ("save", "")],
            (Self::Redis, Fsync::Everysec) => {
                &[("appendonly", "yes"), ("appendfsync", "everysec"), ("save", "")]
            }
            (Self::Redis, Fsync::Off) => &[("appendonly", "yes"), ("appendfsync", "no"), ("save", "")],
        }
    }

    /// Whether a server answers on this loopback port, by one request.
    pub(crate) fn answers(self, port: u16, password: &str) -> bool {
        self.ask(port, password).unwrap_or(false)
    }

    fn ask(self, port: u16, password: &str) -> std::io::Result<bool> {
        /// Long enough for a server on a busy machine; a server that is silent for longer is asked again.
        const PATIENCE: Duration = Duration::from_secs(5);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        match self {
            Self::Postgres => {
                // SSLRequest: eight bytes, to which every server of the protocol answers with one letter.
                stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])?;
                let mut answer = [0];
                stream.read_exact(&mut answer)?;
                Ok(matches!(answer, [b'N' | b'S']))
            }
            Self::Redis => {
                stream.write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes())?;
                let mut answer = [0; b"+OK\r\n+PONG\r\n".len()];
                stream.read_exact(&mut answer)?;
                Ok(&answer == b"+OK\r\n+PONG\r\n")
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::On => "on",
            Self::Everysec => "everysec",
            Self::Off => "off",
        })
    }
}

/// `--servers`: a way to a server, or all of them in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The first available, in the order of the help.
    #[default]
    Auto,
    /// A container.
    Docker,
    /// The programs of this machine, installed first where that is possible.
    Local,
    /// A running server. Servers of other kinds are found as by `Auto`.
    At { kind: Kind, url: String },
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "docker" => Ok(Self::Docker),
            "local" => Ok(Self::Local),
            url => Kind::of_url(url)
                .map(|kind| Self::At { kind, url: url.into() })
                .ok_or_else(|| format!("{text:?} is none of auto, docker, local, postgres://…, redis://…")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_and_urls_are_told_apart() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("docker".parse(), Ok(Choice::Docker));
        let url = "rediss://127.0.0.1:6379";
        assert_eq!(url.parse(), Ok(Choice::At { kind: Kind::Redis, url: url.into() }));
        assert!("dcoker".parse::<Choice>().is_err());
        assert!("mysql://a".parse::<Choice>().is_err());
        for kind in [Kind::Postgres, Kind::Redis] {
            assert_eq!(Kind::of_url(&kind.url(1, "p")), Some(kind));
        }
    }

    #[test]
    fn a_commit_is_never_confirmed_before_it_is_written() {
        for fsync in [Fsync::On, Fsync::Everysec, Fsync::Off] {
            assert!(Kind::Postgres.settings(fsync).contains(&("synchronous_commit", "on")));
            assert!(Kind::Redis.settings(fsync).contains(&("appendonly", "yes")));
        }
        assert!(Kind::Postgres.settings(Fsync::On).contains(&("fsync", "on")));
        assert!(Kind::Redis.settings(Fsync::On).contains(&("appendfsync", "always")));
        assert!(Kind::Redis.settings(Fsync::Everysec).contains(&("appendfsync", "everysec")));
    }

    #[test]
    fn nobody_there_is_no_answer() {
        let port = crate::servers::local::free_port();
        assert!(!Kind::Postgres.answers(port, "p"));
        assert!(!Kind::Redis.answers(port, "p"));
    }
}
