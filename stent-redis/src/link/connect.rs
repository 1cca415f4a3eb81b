//! Opens one connection: finds the node, logs in, and checks the server. Knows nothing of calls.

use std::collections::HashMap;
use std::error::Error as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, Script, TlsCertificates, Value,
};
use rustls::crypto::{CryptoProvider, ring};
use stent_core::backend::{Error, ErrorKind, Result};
use tokio::time::error::Elapsed;

use super::send;
use crate::error::{CONNECT, Call, Verdict, failed, is_broken_off, unexpected, verdict};
use crate::keys::Keys;
use crate::options::{Place, RedisOptions, Secret, config, node_name};
use crate::server::{Facts, Refusal};

/// The purpose of a connection, which decides the requirements on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The server stores executions.
    Store,
    /// The server passes on hints, which may be lost.
    Hints,
}

/// The options to reach a server, and what earlier connections have found out about it.
pub(super) struct Way {
    options: RedisOptions,
    purpose: Purpose,
    server: String,
    ca: Option<Vec<u8>>,
    /// Nodes that the cluster has reported. Later connections try them first, because the nodes in the URL may be gone.
    nodes: Mutex<Vec<(String, u16)>>,
    /// Whether the link has accepted a server before. Refusals are then transient: logins and roles change while a process runs.
    was_accepted: AtomicBool,
    was_warned: AtomicBool,
}

/// The script that tries every command.
const PROBE: &str = include_str!("../lua/probe.lua");

/// The name of Stent's connections in `CLIENT LIST`.
const CLIENT_NAME: &str = "stent";

impl Way {
    /// # Errors
    /// [`ErrorKind::Config`] if options contradict each other, or if the file of CAs cannot be read.
    pub(super) fn new(options: &RedisOptions, purpose: Purpose) -> Result<Self> {
        options.check()?;
        let ca = options.ca.as_ref().map(|path| {
            fs::read(path).map_err(|error| config(format!("cannot read ca={}: {error}", path.display())))
        });
        Ok(Self {
            options: options.clone(),
            purpose,
            server: options.server_name(),
            ca: ca.transpose()?,
            nodes: Mutex::default(),
            was_accepted: AtomicBool::new(false),
            was_warned: AtomicBool::new(false),
        })
    }

    pub(super) const fn options(&self) -> &RedisOptions {
        &self.options
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn response_timeout(&self) -> Option<Duration> {
        some(self.options.response_timeout)
    }

    /// Connects to the node that serves the namespace.
    ///
    /// # Errors
    /// Errors of the server and the network, and refusals. Once a server has been accepted, all errors are transient.
    pub(super) async fn connect(&self, response_timeout: Option<Duration>) -> Result<MultiplexedConnection> {
        let connected = match &self.options.place {
            Place::Unix(path) => self.enter(ConnectionAddr::Unix(path.clone()), response_timeout).await,
            Place::Tcp { nodes, .. } if !self.options.cluster => {
                let (host, port) = nodes.first().ok_or_else(|| config("no host is named"))?;
                self.enter(self.address(host, *port), response_timeout).await
            }
            Place::Tcp { nodes, .. } => match self.serving_node(nodes).await {
                Ok((host, port)) => self.enter(self.address(&host, port), response_timeout).await,
                Err(error) => Err(error),
            },
        };
        match connected {
            Ok(connection) => {
                self.was_accepted.store(true, Ordering::Release);
                Ok(connection)
            }
            Err(error) if !error.is_transient() && self.was_accepted.load(Ordering::Acquire) => {
                Err(Error::new(ErrorKind::Unavailable, CONNECT).with_message(said(&error)))
            }
            Err(error) => Err(error),
        }
    }

    fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        match &self.options.place {
            Place::Tcp { tls: true, .. } => {
                ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        }
    }

    /// Logs in at this address, and checks the server.
    async fn enter(
        &self,
        address: ConnectionAddr,
        response_timeout: Option<Duration>,
    ) -> Result<MultiplexedConnection> {
        let name = address.to_string();
        let entered = self.within_limit(&name, async {
            let mut connection = self.log_in(address.clone(), response_timeout).await?;
            self.check(&mut connection).await?;
            Ok(connection)
        });
        entered.await.map_err(|error| self.hinted(&address, error))
    }

    /// Adds a hint to the error of a connection that the server ended, or did not answer, before it was checked: neither a port of
    /// the other kind nor a full server says reliably what is wrong.
    fn hinted(&self, address: &ConnectionAddr, error: Error) -> Error {
        let is_lost =
            is_broken_off(&error) || error.source().is_some_and(<dyn std::error::Error>::is::<Elapsed>);
        if error.kind() != ErrorKind::Unavailable || !is_lost {
            return error;
        }
        let hint = match address {
            // The reply that says so is often lost with the connection.
            _ if self.was_accepted.load(Ordering::Acquire) && is_broken_off(&error) => {
                "the server may have as many clients as it takes (maxclients)"
            }
            _ if self.was_accepted.load(Ordering::Acquire) => return error,
            ConnectionAddr::Tcp(..) if is_broken_off(&error) => {
                "if this is a TLS port, write rediss:// in the URL; if the server has as many clients as it takes, raise maxclients"
            }
            ConnectionAddr::TcpTls { .. } => "if this port has no TLS, write redis:// in the URL",
            _ => return error,
        };
        let message = format!("{}; {hint}", said(&error));
        Error::new(error.kind(), CONNECT).with_message(message).with_source(error)
    }

    /// Applies `connect_timeout` to all steps of a connection together, including the replies.
    async fn within_limit<T>(&self, address: &str, connect: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.options.connect_timeout;
        match some(limit) {
            None => connect.await,
            Some(limit) => tokio::time::timeout(limit, connect).await.unwrap_or_else(|elapsed| {
                let message = format!("cannot connect to {address} within {limit:?} (connect_timeout)");
                Err(Error::new(ErrorKind::Unavailable, CONNECT).with_message(message).with_source(elapsed))
            }),
        }
    }

    async fn log_in(
        &self,
        address: ConnectionAddr,
        response_timeout: Option<Duration>,
    ) -> Result<MultiplexedConnection> {
        let name = address.to_string();
        let refused = |error: RedisError| unreachable(&name, error);
        let client = self.client(address).map_err(refused)?;
        // `within_limit` bounds the whole connection, so the driver's own limit is off.
        let settings =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(response_timeout);
        let connected = client.get_multiplexed_async_connection_with_config(&settings).await;
        let mut connection = connected.map_err(refused)?;
        // The driver's own login hides the server's message.
        if let Some(Secret(password)) = &self.options.password {
            let mut auth = redis::cmd("AUTH");
            self.options.user.iter().for_each(|user| {
                auth.arg(user);
            });
            self.ask::<Value>(&mut connection, auth.arg(password)).await?;
        }
        if self.options.db != 0 {
            self.ask::<Value>(&mut connection, redis::cmd("SELECT").arg(self.options.db)).await?;
        }
        // The name helps operators who list connections. Some hosted servers lack the command, so its error is ignored.
        let named =
            redis::cmd("CLIENT").arg("SETNAME").arg(CLIENT_NAME).query_async::<Value>(&mut connection).await;
        drop(named);
        Ok(connection)
    }

    fn client(&self, address: ConnectionAddr) -> std::result::Result<Client, RedisError> {
        let is_tls = matches!(address, ConnectionAddr::TcpTls { .. });
        let quiet = RedisConnectionInfo::default().set_skip_set_lib_name();
        let info = address.into_connection_info()?;
        let info = info.set_redis_settings(quiet).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        if !is_tls {
            return Client::open(info);
        }
        if CryptoProvider::get_default().is_none() {
            // The driver uses the process's default provider, and panics without one if it cannot choose. If another thread
            // installs its provider first, that provider is used.
            drop(ring::default_provider().install_default());
        }
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: self.ca.clone() })
    }

    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<()> {
        let info: String = self.ask(connection, &redis::cmd("INFO")).await?;
        let config = redis::cmd("CONFIG").arg("GET").arg("appendfsync").clone();
        let config = match config.query_async::<HashMap<String, String>>(connection).await {
            Ok(config) => Some(config),
            // The user may lack the permission, and hosted servers lack the command.
            Err(error) if verdict(&error) == Verdict::Keep => None,
            // The next connection asks again.
            Err(error) => {
                return Err(failed(Call { operation: CONNECT, server: &self.server, key: None }, error));
            }
        };
        let facts = Facts::read(&info, config.as_ref());
        facts.check_service(&self.server, self.options.cluster).map_err(refusal)?;
        if self.purpose == Purpose::Hints {
            return Ok(());
        }
        let warning = facts.check_durability(&self.server, self.options.durability).map_err(refusal)?;
        if let Some(warning) = warning.filter(|_| !self.was_warned.swap(true, Ordering::AcqRel)) {
            tracing::warn!(server = self.server, "{warning}");
        }
        self.check_rules(connection).await
    }

    /// Checks that the user may run every command of Stent's scripts. If the server cannot answer now, calls will say so.
    async fn check_rules(&self, connection: &mut MultiplexedConnection) -> Result<()> {
        let key = Keys::new(&self.options.namespace).one("probe");
        let call = Call { operation: CONNECT, server: &self.server, key: Some(&key) };
        // The user must be able to load scripts even if the server has all of them now, because servers forget them.
        let mut load = redis::cmd("SCRIPT");
        let probed = match load.arg("LOAD").arg(PROBE).query_async::<Value>(connection).await {
            Ok(_) => {
                let mut probe = redis::cmd("EVALSHA");
                probe.arg(Script::new(PROBE).get_hash()).arg(1).arg(&key);
                send(connection, &probe, None).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = probed else { return Ok(()) };
        let is_usable = verdict(&error) == Verdict::Keep;
        let error = failed(call, error);
        if is_usable && error.kind() != ErrorKind::Config { Ok(()) } else { Err(error) }
    }

    /// Asks the nodes of a cluster in turn for the node that serves the namespace.
    async fn serving_node(&self, named: &[(String, u16)]) -> Result<(String, u16)> {
        let known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut last = config("no host is named");
        for (host, port) in known.iter().chain(named) {
            let asked = async {
                let mut connection = self.log_in(self.address(host, *port), self.response_timeout()).await?;
                self.ask_for_node(&mut connection, host).await
            };
            match self.within_limit(&node_name(host, *port), asked).await {
                Ok(node) => return Ok(node),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_for_node(
        &self,
        connection: &mut MultiplexedConnection,
        host: &str,
    ) -> Result<(String, u16)> {
        let key = format!("{{{}}}", self.options.namespace);
        let slot: i64 = self.ask(connection, redis::cmd("CLUSTER").arg("KEYSLOT").arg(key)).await?;
        let slots: Value = self.ask(connection, redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let ranges = ranges(slots, host);
        let nodes = ranges.iter().map(|range| range.primary.clone()).collect();
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
        let serving = ranges.into_iter().find(|range| range.slots.contains(&slot));
        serving.map(|range| range.primary).ok_or_else(|| {
            let message = format!("no node of {} serves slot {slot} at the moment", self.server);
            Error::new(ErrorKind::Unavailable, CONNECT).with_message(message)
        })
    }

    async fn ask<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection, cmd: &Cmd) -> Result<T> {
        let call = Call { operation: CONNECT, server: &self.server, key: None };
        let reply = cmd.query_async::<Value>(connection).await.map_err(|error| failed(call, error))?;
        T::from_redis_value(reply).map_err(|error| unexpected(call, error))
    }
}

/// A range of slots, and the node that accepts writes for them.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    slots: std::ops::RangeInclusive<i64>,
    primary: (String, u16),
}

/// Reads the reply to `CLUSTER SLOTS`: first and last slot, then nodes with host and port, the primary first. An empty or unknown
/// host means the host that was asked.
fn ranges(reply: Value, asked: &str) -> Vec<Range> {
    let read = |range: Value| {
        let (first, last, primary): (i64, i64, Value) = match range {
            Value::Array(parts) => {
                let mut parts = parts.into_iter();
                let number = |part: Option<Value>| i64::from_redis_value(part?).ok();
                (number(parts.next())?, number(parts.next())?, parts.next()?)
            }
            _ => return None,
        };
        let Value::Array(primary) = primary else { return None };
        let mut primary = primary.into_iter();
        let host = Option::<String>::from_redis_value(primary.next()?).ok()?;
        let host = host.filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| asked.to_owned());
        let port = u16::from_redis_value(primary.next()?).ok()?;
        Some(Range { slots: first..=last, primary: (host, port) })
    };
    match reply {
        Value::Array(ranges) => ranges.into_iter().filter_map(read).collect(),
        _ => Vec::new(),
    }
}

/// Returns the message of an error without its operation and kind.
pub(crate) fn said(error: &Error) -> String {
    let whole = format!("{error:#}");
    whole.splitn(3, ": ").nth(2).unwrap_or(&whole).to_owned()
}

fn unreachable(address: &str, error: RedisError) -> Error {
    let call = Call { operation: CONNECT, server: address, key: None };
    let of_call = failed(call, error.clone());
    match of_call.kind() {
        ErrorKind::Unavailable => {
            let cause =
                std::error::Error::source(&of_call).map_or_else(String::new, |source| format!(": {source}"));
            Error::new(ErrorKind::Unavailable, CONNECT)
                .with_message(format!("cannot connect to {address}{cause}"))
                .with_source(error)
        }
        _ => of_call,
    }
}

fn refusal(refusal: Refusal) -> Error {
    Error::new(refusal.kind, CONNECT).with_message(refusal.message)
}

/// Returns the limit, or `None` for zero, which means no limit.
fn some(limit: Duration) -> Option<Duration> {
    (!limit.is_zero()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slots_name_their_primary() {
        let reply = b"*2\r\n*4\r\n:0\r\n:8191\r\n*4\r\n$8\r\n10.0.0.1\r\n:7001\r\n$2\r\nid\r\n*0\r\n*3\r\n$8\r\n10.0.0.2\r\n:7002\r\n$2\r\nid\r\n*3\r\n:8192\r\n:16383\r\n*3\r\n$0\r\n\r\n:7003\r\n$2\r\nid\r\n";
        let ranges = ranges(redis::parse_redis_value(reply).expect("it is the protocol"), "seed");

        assert_eq!(
            ranges,
            [
                Range { slots: 0..=8_191, primary: ("10.0.0.1".to_owned(), 7_001) },
                Range { slots: 8_192..=16_383, primary: ("seed".to_owned(), 7_003) },
            ]
        );
    }

    #[test]
    fn the_probe_tries_every_command_of_the_scripts() {
        let scripts = concat!(
            include_str!("../lua/apply.lua"),
            include_str!("../lua/claim.lua"),
            include_str!("../lua/lanes.lua"),
            include_str!("../lua/steps.lua")
        );
        let called = scripts.split("call('").skip(1).filter_map(|rest| rest.split('\'').next());
        // The commands of a batch.
        let sent = include_str!("../apply.rs").split("command([b\"").skip(1);
        let sent = sent.filter_map(|rest| rest.split('"').next()).filter(|name| !name.starts_with('!'));
        let probed = include_str!("../lua/probe.lua");
        let missing: BTreeSet<_> =
            called.chain(sent).filter(|name| !probed.contains(&format!("{{'{name}', key"))).collect();
        assert!(scripts.len() > 1_000 && missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_message_is_told_again_without_its_operation() {
        let error = config("h:1: it is wrong");
        assert_eq!(said(&error), "h:1: it is wrong");
    }
}
