//! The servers that backends need, and what is particular to each: names, settings, and how one sees that it answers.
//! Starts nothing.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
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

/// Whether a private server waits for the disk.
///
/// Either way a server that is killed loses nothing that it has confirmed: what it wrote stays with the operating
/// system. Only a machine that loses power tells the difference, and no test does that; a bench does measure it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fsync {
    On,
    Off,
}

/// What is particular to a kind of server.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) name: &'static str,
    /// The variable in which tests find a server, and in which people name one of their own.
    pub(crate) url_variable: &'static str,
    /// The variable that names an image.
    pub(crate) image_variable: &'static str,
    /// The image that `cargo xtask images` makes. Its name says that it is nobody else's.
    pub(crate) own_image: &'static str,
    /// The image of the registry.
    pub(crate) official_image: &'static str,
    /// The package of Debian that has the server's program.
    pub(crate) debian_package: &'static str,
    /// The port that the server listens on in a container.
    pub(crate) port: u16,
}

const POSTGRES: Facts = Facts {
    name: "postgres",
    url_variable: "STENT_POSTGRES_URL",
    image_variable: "STENT_POSTGRES_IMAGE",
    own_image: "stent-test/postgres:latest",
    official_image: "postgres:17-alpine",
    debian_package: "postgresql",
    port: 5432,
};

const REDIS: Facts = Facts {
    name: "redis",
    url_variable: "STENT_REDIS_URL",
    image_variable: "STENT_REDIS_IMAGE",
    own_image: "stent-test/redis:latest",
    official_image: "redis:7-alpine",
    debian_package: "redis-server",
    port: 6379,
};

impl Kind {
    /// What `backend` needs; nothing when it lives in the process of its test.
    pub(crate) const fn of(backend: Backend) -> Option<Self> {
        match backend {
            Backend::Memory | Backend::Sqlite => None,
            Backend::Postgres => Some(Self::Postgres),
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

    /// What is particular to it.
    pub(crate) const fn facts(self) -> &'static Facts {
        match self {
            Self::Postgres => &POSTGRES,
            Self::Redis => &REDIS,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        self.facts().name
    }

    /// A server of ours on loopback.
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
            (Self::Postgres, Fsync::On) => {
                &[("max_connections", "300"), ("fsync", "on"), ("synchronous_commit", "on")]
            }
            // Pages torn by a crash of the machine are what full_page_writes is for.
            (Self::Postgres, Fsync::Off) => &[
                ("max_connections", "300"),
                ("fsync", "off"),
                ("full_page_writes", "off"),
                ("synchronous_commit", "on"),
            ],
            (Self::Redis, Fsync::On) => &[("appendonly", "yes"), ("appendfsync", "always"), ("save", "")],
            (Self::Redis, Fsync::Off) => &[("appendonly", "yes"), ("appendfsync", "no"), ("save", "")],
        }
    }

    /// Whether a server answers on this port of loopback: one question, asked once.
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
                // SSLRequest: eight bytes long, and answered with one letter by whatever speaks the protocol.
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
            Self::Off => "off",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_kind() {
        assert_eq!(Kind::of_url("postgresql://a@b/c"), Some(Kind::Postgres));
        assert_eq!(Kind::of_url("rediss://a"), Some(Kind::Redis));
        assert_eq!(Kind::of_url("mysql://a"), None);
        for kind in [Kind::Postgres, Kind::Redis] {
            assert_eq!(Kind::of_url(&kind.url(1, "p")), Some(kind));
        }
    }

    #[test]
    fn a_commit_is_never_confirmed_before_it_is_written() {
        for fsync in [Fsync::On, Fsync::Off] {
            assert!(Kind::Postgres.settings(fsync).contains(&("synchronous_commit", "on")));
            assert!(Kind::Redis.settings(fsync).contains(&("appendonly", "yes")));
        }
        assert!(Kind::Postgres.settings(Fsync::On).contains(&("fsync", "on")));
    }

    #[test]
    fn nobody_there_is_no_answer() {
        let port = crate::servers::local::free_port().expect("loopback has free ports");
        assert!(!Kind::Postgres.answers(port, "p"));
        assert!(!Kind::Redis.answers(port, "p"));
    }
}
