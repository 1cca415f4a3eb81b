//! Options of a Redis store, and their form in a URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use stent_core::backend::{Error, ErrorKind, Result};
use stent_core::duration;

/// Options of a Redis store: its server, and how to open it.
///
/// ```
/// use stent_redis::RedisOptions;
///
/// let options: RedisOptions = "redis://kim:secret@cache:6380/2?namespace=orders&response_timeout=3s".parse()?;
/// assert_eq!(options, RedisOptions::server("cache", 6380)
///     .login("kim", "secret")
///     .db(2)
///     .namespace("orders")
///     .response_timeout(std::time::Duration::from_secs(3)));
/// # Ok::<(), stent_core::backend::Error>(())
/// ```
///
/// | URL | Server |
/// |---|---|
/// | `redis://cache` | the default port, 6379, and database 0 |
/// | `redis://kim:secret@cache:6380/2` | user and password, a port, database 2; leave out `kim` for a password without a user |
/// | `rediss://cache?ca=/etc/redis/ca.pem` | TLS with a CA of your own; without `ca`, the CAs of the system |
/// | `redis+unix:///run/redis/redis.sock?db=2` | a Unix socket; `unix://` is the same |
/// | `redis://h1:7001,h2:7002/?cluster=true` | a cluster, found by any of these nodes |
///
/// Percent-encode special characters in names, passwords and paths, such as `%40` for `@`. The parameters are `ca`, `cluster`,
/// `connect_timeout`, `db`, `durability`, `namespace` and `response_timeout`; each corresponds to the method of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    pub(crate) place: Place,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) db: u32,
    pub(crate) namespace: String,
    pub(crate) durability: Durability,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) cluster: bool,
    pub(crate) ca: Option<PathBuf>,
}

/// A text that `Debug` hides.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Hosts and ports: one server, or several nodes of one cluster.
    Tcp {
        nodes: Vec<(String, u16)>,
        tls: bool,
    },
    Unix(PathBuf),
}

/// The durability that a store requires of its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The server must append every write to a file (`appendonly yes`). Its `appendfsync` decides how much a crash of the machine
    /// may lose: nothing with `always`, about a second with `everysec`.
    #[default]
    Aof,
    /// No requirement: if the server stops, every execution may be lost. For tests and caches.
    None,
}

const DEFAULT_PORT: u16 = 6379;

/// The longest name of a namespace, in bytes. The name is part of every key, so it costs memory with each row.
const NAMESPACE_MAX: usize = 64;

const PARAMETERS: &str = "ca, cluster, connect_timeout, db, durability, namespace, response_timeout";

const EXAMPLE: &str = "redis://user:password@host:6379/0?namespace=orders";

impl RedisOptions {
    /// Creates options for a server at a host and port.
    pub fn server(host: impl Into<String>, port: u16) -> Self {
        Self::at(Place::Tcp { nodes: vec![(host.into(), port)], tls: false })
    }

    /// Creates options for a server at a Unix socket.
    pub fn socket(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Unix(path.into()))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            user: None,
            password: None,
            db: 0,
            namespace: "stent".to_owned(),
            durability: Durability::Aof,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            cluster: false,
            ca: None,
        }
    }

    /// Logs in as this user.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self.password = Some(Secret(password.into()));
        self
    }

    /// Logs in with this password, as the user `default`.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret(password.into()));
        self
    }

    /// Uses TLS. A Unix socket has no TLS and ignores this option.
    #[must_use]
    pub fn tls(mut self) -> Self {
        if let Place::Tcp { tls, .. } = &mut self.place {
            *tls = true;
        }
        self
    }

    /// Trusts the CAs in this PEM file instead of the system's, and uses TLS.
    #[must_use]
    pub fn ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(path.into());
        self.tls()
    }

    /// Selects a database by its number; 0 by default.
    #[must_use]
    pub const fn db(mut self, number: u32) -> Self {
        self.db = number;
        self
    }

    /// Sets the namespace, `stent` by default. Stores of different namespaces share a server and nothing else.
    ///
    /// A namespace has 1 to 64 characters out of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`; opening a store with another name fails.
    /// Every key of the namespace `orders` begins with `stent:{orders}:`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets the durability that the store requires of the server; an append-only file by default.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Limits the time to connect, log in and check the server's settings; 5 s by default. Zero, which is `0s` in a URL, means no limit.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Limits the time to wait for a reply; 10 s by default. Zero, which is `0s` in a URL, means no limit. After this time, the call
    /// fails and the next call opens another connection. The server may have applied a call without a reply.
    #[must_use]
    pub const fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Treats the server as a node of a cluster, and asks it for the node that serves the namespace.
    #[must_use]
    pub const fn cluster(mut self, is_cluster: bool) -> Self {
        self.cluster = is_cluster;
        self
    }

    /// Adds another node of the cluster to ask.
    #[must_use]
    pub fn node(mut self, host: impl Into<String>, port: u16) -> Self {
        if let Place::Tcp { nodes, .. } = &mut self.place {
            nodes.push((host.into(), port));
        }
        self
    }

    /// Returns the server and the namespace, without the password.
    pub(crate) fn location(&self) -> String {
        format!("{}, namespace {}", self.server_name(), self.namespace)
    }

    /// Returns the server's name for messages, without the password.
    pub(crate) fn server_name(&self) -> String {
        match &self.place {
            Place::Unix(path) => format!("{}, database {}", path.display(), self.db),
            Place::Tcp { nodes, .. } => {
                let nodes: Vec<_> = nodes.iter().map(|(host, port)| node_name(host, *port)).collect();
                let nodes = nodes.join(",");
                if self.cluster { format!("cluster {nodes}") } else { format!("{nodes}/{}", self.db) }
            }
        }
    }

    /// Refuses options that contradict each other or that no server accepts.
    pub(crate) fn check(&self) -> Result<()> {
        let namespace = &self.namespace;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=NAMESPACE_MAX).contains(&namespace.len()) || !namespace.bytes().all(is_plain) {
            return Err(config(format!(
                "namespace={namespace} is not valid; use 1 to {NAMESPACE_MAX} letters, digits, -, _ and ."
            )));
        }
        match &self.place {
            Place::Unix(_) if self.cluster => {
                Err(config("cluster=true needs hosts and ports; a cluster has no Unix socket"))
            }
            Place::Unix(_) if self.ca.is_some() => {
                Err(config("ca needs rediss://; a Unix socket has no TLS"))
            }
            Place::Tcp { nodes, .. } if nodes.len() > 1 && !self.cluster => {
                Err(config("several hosts are nodes of a cluster; add cluster=true, or name one host"))
            }
            _ if self.cluster && self.db != 0 => {
                Err(config(format!("database {} does not exist in a cluster; use 0", self.db)))
            }
            _ => Ok(()),
        }
    }

    fn set(self, name: &str, value: &str) -> Result<Self> {
        let timeout = || {
            let parsed = duration::parse(value);
            parsed.map_err(|error| config(format!("{name}: {error}; write it like 5s, or 0s for no limit")))
        };
        match (name, value) {
            ("ca", "") => Err(config("ca names no file; write it like ca=/etc/redis/ca.pem")),
            ("ca", _) => match self.place {
                Place::Tcp { tls: false, .. } => {
                    Err(config("ca needs TLS; write rediss:// instead of redis://"))
                }
                _ => Ok(Self { ca: Some(value.into()), ..self }),
            },
            ("cluster", "true") => Ok(self.cluster(true)),
            ("cluster", "false") => Ok(self.cluster(false)),
            ("cluster", _) => Err(config(format!("cluster={value} is not valid; use true or false"))),
            ("connect_timeout", _) => Ok(self.connect_timeout(timeout()?)),
            ("response_timeout", _) => Ok(self.response_timeout(timeout()?)),
            ("db", _) => Ok(self.db(database(value)?)),
            ("durability", "aof") => Ok(self.durability(Durability::Aof)),
            ("durability", "none") => Ok(self.durability(Durability::None)),
            ("durability", _) => Err(config(format!("durability={value} is not valid; use aof or none"))),
            ("namespace", _) => Ok(self.namespace(value)),
            // The name may be the rest of a password with an unencoded question mark, so the message does not quote it.
            _ if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                Err(config(format!("a parameter has no valid name; known parameters: {PARAMETERS}")))
            }
            _ => Err(config(format!("unknown parameter {name:?}; known parameters: {PARAMETERS}"))),
        }
    }
}

impl FromStr for RedisOptions {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        // Messages do not quote the address, because it contains the password.
        let (scheme, rest) = address.split_once("://").unwrap_or_default();
        let mut given: Vec<String> = Vec::new();
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (login, nodes) =
            authority.rsplit_once('@').map_or((None, authority), |(login, nodes)| (Some(login), nodes));
        let mut options = match scheme {
            "redis" | "rediss" => {
                let place = Place::Tcp { nodes: parse_nodes(nodes)?, tls: scheme == "rediss" };
                let number = path.strip_prefix('/').unwrap_or(path);
                let options = Self::at(place);
                if number.is_empty() {
                    options
                } else {
                    given.push("db".to_owned());
                    options.db(database(number)?)
                }
            }
            "redis+unix" | "unix" if nodes.is_empty() && path.len() > 1 => {
                Self::at(Place::Unix(decode(path, "the socket's path")?.into()))
            }
            "redis+unix" | "unix" => {
                return Err(config(
                    "the URL names no socket; write it like redis+unix:///run/redis/redis.sock",
                ));
            }
            _ => {
                return Err(config(format!(
                    "the URL does not begin with redis://, rediss:// or redis+unix://; write it like {EXAMPLE}"
                )));
            }
        };
        if let Some(login) = login {
            let Some((user, password)) = login.split_once(':') else {
                return Err(config(
                    "the URL has a user and no password; write user:password@, or :password@",
                ));
            };
            let user = decode(user, "the user")?;
            options.user = (!user.is_empty()).then_some(user);
            options.password = Some(Secret(decode(password, "the password")?));
        }
        for parameter in query.split('&').filter(|text| !text.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = decode(name, "a parameter's name")?;
            options = options.set(&name, &decode(value, &name)?)?;
            // Only now is it certain that the name is no part of a password.
            if given.contains(&name) {
                let how = if name == "db" { ", as the path or as db=" } else { "" };
                return Err(config(format!("{name} is given twice; give it once{how}")));
            }
            given.push(name);
        }
        options.check()?;
        Ok(options)
    }
}

impl fmt::Display for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location())
    }
}

/// Returns `host:port`, with brackets around an IPv6 address.
pub(crate) fn node_name(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn parse_nodes(text: &str) -> Result<Vec<(String, u16)>> {
    text.split(',').map(parse_node).collect()
}

fn parse_node(text: &str) -> Result<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(config(format!("the URL names no host; write it like {EXAMPLE}")));
    }
    let port = match port {
        None => DEFAULT_PORT,
        // The text may be part of a password, so the message does not quote it.
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
            config(
                "a port is not a number from 1 to 65535; percent-encode special characters in the password, such as \
                 %2F for /",
            )
        })?,
    };
    Ok((decode(host, "the host")?, port))
}

fn database(text: &str) -> Result<u32> {
    /// The largest number that the server's `SELECT` accepts.
    const DATABASE_MAX: u32 = i32::MAX as u32;
    let number = text.parse().ok().filter(|number| *number <= DATABASE_MAX);
    number.ok_or_else(|| config(format!("the database is not a number from 0 to {DATABASE_MAX}")))
}

/// Percent-decodes a part of a URL. Error messages call this part `what`.
fn decode(text: &str, what: &str) -> Result<String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if text.contains('\0') => Err(config(format!("{what} contains a zero byte"))),
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(config(format!("{what} is not UTF-8 after percent-decoding"))),
    }
}

pub(crate) fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "open").with_message(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> RedisOptions {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn refused(url: &str) -> String {
        let error = url.parse::<RedisOptions>().expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        error.to_string()
    }

    #[test]
    fn a_url_names_host_port_database_and_login() {
        for (url, options) in [
            ("redis://cache", RedisOptions::server("cache", 6379)),
            ("redis://cache/", RedisOptions::server("cache", 6379)),
            ("redis://cache:6380/2", RedisOptions::server("cache", 6380).db(2)),
            ("redis://cache?db=2", RedisOptions::server("cache", 6379).db(2)),
            ("redis://[::1]:6380", RedisOptions::server("::1", 6380)),
            ("redis://[::1]", RedisOptions::server("::1", 6379)),
            ("redis://kim:secret@cache", RedisOptions::server("cache", 6379).login("kim", "secret")),
            ("redis://:secret@cache", RedisOptions::server("cache", 6379).password("secret")),
            (
                "redis://kim:p%40%2F%3Fb%C3%BC@cache",
                RedisOptions::server("cache", 6379).login("kim", "p@/?bü"),
            ),
            ("redis://kim:p@w@cache", RedisOptions::server("cache", 6379).login("kim", "p@w")),
            ("rediss://cache", RedisOptions::server("cache", 6379).tls()),
            ("rediss://cache?ca=/etc/my%20ca.pem", RedisOptions::server("cache", 6379).ca("/etc/my ca.pem")),
            ("unix:///run/r.sock", RedisOptions::socket("/run/r.sock")),
            ("redis+unix:///run/r.sock?db=3", RedisOptions::socket("/run/r.sock").db(3)),
            ("redis+unix://kim:pw@/run/r.sock", RedisOptions::socket("/run/r.sock").login("kim", "pw")),
            (
                "redis://h1:7001,h2:7002/?cluster=true",
                RedisOptions::server("h1", 7001).node("h2", 7002).cluster(true),
            ),
        ] {
            assert_eq!(parsed(url), options, "{url}");
        }
    }

    #[test]
    fn parameters_are_read() {
        let options = RedisOptions::server("h", 6379)
            .namespace("orders-2.eu_x")
            .durability(Durability::None)
            .connect_timeout(Duration::ZERO)
            .response_timeout(Duration::from_millis(1_500));
        let url =
            "redis://h?namespace=orders-2.eu_x&durability=none&connect_timeout=0s&response_timeout=1.5s&";
        assert_eq!(parsed(url), options);
        assert_eq!(parsed("redis://h?durability=aof&cluster=false"), RedisOptions::server("h", 6379));
    }

    #[test]
    fn a_wrong_url_is_refused_with_a_right_one() {
        let long = format!("redis://h?namespace={}", "x".repeat(65));
        for (url, said) in [
            ("postgres://h", "does not begin with redis://, rediss:// or redis+unix://"),
            ("cache:6379", "write it like redis://user:password@host:6379/0?namespace=orders"),
            ("redis://", "names no host"),
            ("redis://:6379", "names no host"),
            ("redis://kim@h", "write user:password@, or :password@"),
            ("redis://h:port", "not a number from 1 to 65535"),
            ("redis://h:0", "not a number from 1 to 65535"),
            ("redis://h/orders", "not a number from 0 to 2147483647"),
            ("redis://h/-1", "not a number from 0 to"),
            ("redis://h1,h2", "add cluster=true"),
            ("redis://h/3?cluster=true", "database 3 does not exist in a cluster"),
            ("redis://h?cluster=yes", "use true or false"),
            ("redis://h?ca=/ca.pem", "write rediss://"),
            ("rediss://h?ca=", "names no file"),
            ("redis+unix://h/run/r.sock", "names no socket"),
            ("unix://", "names no socket"),
            ("unix:///r.sock?cluster=true", "a cluster has no Unix socket"),
            ("unix:///r.sock?ca=/ca.pem", "a Unix socket has no TLS"),
            ("redis://h?durability=off", "use aof or none"),
            ("redis://h?response_timeout=5", "position 1"),
            ("redis://h?connect_timeout=0", "write it like 5s, or 0s for no limit"),
            ("redis://h?namespace=a&namespace=b", "namespace is given twice; give it once"),
            ("redis://h?connect_timeout=1s&db=2&connect_timeout=1s", "connect_timeout is given twice"),
            ("redis://h/4?db=5", "db is given twice; give it once, as the path or as db="),
            ("redis://h/4?db=4", "db is given twice"),
            ("redis://h?namespace=", "use 1 to 64 letters"),
            ("redis://h?namespace=a%7Bb%7D", "use 1 to 64 letters"),
            (long.as_str(), "use 1 to 64 letters"),
            (
                "redis://h?protocol=3",
                "known parameters: ca, cluster, connect_timeout, db, durability, namespace",
            ),
            ("redis://a%FF", "the host is not UTF-8"),
            ("unix:///a%00.sock", "contains a zero byte"),
        ] {
            let message = refused(url);
            assert!(message.contains(said), "{url}: {message}");
        }
    }

    #[test]
    fn the_location_names_servers_and_namespace() {
        for (url, location) in [
            ("redis://kim:secret@h:1/2?namespace=a", "h:1/2, namespace a"),
            ("redis://[::1]", "[::1]:6379/0, namespace stent"),
            ("unix:///run/r.sock?db=3", "/run/r.sock, database 3, namespace stent"),
            ("redis://h1:7001,h2?cluster=true", "cluster h1:7001,h2:6379, namespace stent"),
        ] {
            assert_eq!(parsed(url).to_string(), location, "{url}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        for url in [
            "redis://kim:secret@h/2",
            "redis://:secret@h/2",
            "mysql://kim:secret@h",
            "redis://kim:secret%FF@h",
            "redis://kim:se/secret@h",
            "redis://kim:se?secret@h",
            "redis://kim:2?secret@h",
            "redis://kim:2?secret%FF@h",
            "redis://kim:secret@h:port",
            "redis://kim:secret@h?x=1",
            "unix://kim:secret@h/run",
        ] {
            let shown = match url.parse::<RedisOptions>() {
                Ok(options) => format!("{options} {options:?}"),
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains("secret"), "{url}: {shown}");
        }
    }
}
