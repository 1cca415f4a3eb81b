//! Options, and their form in a URL.

use std::fs;
use std::str::FromStr;
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use stent_core::backend::{Error, ErrorKind, Result};
use stent_core::duration;
use stent_sql::url::{self, Parameter};

/// Options of a Postgres store: where it is and how to open it.
///
/// ```
/// use std::time::Duration;
/// use stent_postgres::PostgresOptions;
///
/// let url = "postgres://app:secret@db.internal/shop?schema=orders&max_connections=20&acquire_timeout=10s";
/// let options: PostgresOptions = url.parse()?;
/// let same = "postgres://app:secret@db.internal/shop".parse::<PostgresOptions>()?
///     .schema("orders")?
///     .max_connections(20)
///     .acquire_timeout(Duration::from_secs(10));
/// assert_eq!(options.location(), same.location());
/// # Ok::<(), stent_core::backend::Error>(())
/// ```
///
/// Stent's own parameters are `schema`, `min_connections`, `max_connections` and `acquire_timeout`; they correspond to
/// the methods of the same names. Parameters of libpq (`sslmode`, `application_name`, `options`, …) are passed to the
/// driver, which warns about those that it does not support.
///
/// # TLS
/// By default, a connection is encrypted if the server can do that, but the server is not verified, as with libpq. To verify it, set
/// `sslmode=verify-full`, which trusts the certificate authorities of the system and those in the PEM file `sslrootcert`.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    pub(crate) connect: PgConnectOptions,
    pub(crate) schema: Option<String>,
    pub(crate) min_connections: u32,
    pub(crate) max_connections: u32,
    pub(crate) acquire_timeout: Duration,
}

/// Most connections of one handle. A server has a few hundred in all.
const CONNECTIONS_MAX: u32 = 1_000;

/// Connections that write, unless the handle has fewer in all: a worker commits and claims concurrently, and dispatches
/// run beside them.
const WRITES_MIN: u32 = 3;

/// Longest schema name in Postgres, in bytes.
const SCHEMA_BYTES_MAX: usize = 63;

/// Default time that a call waits for a connection.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time that a call can wait for a connection: a hundred years, practically no limit.
const ACQUIRE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

const PARAMETERS: &str = "schema, min_connections, max_connections, acquire_timeout";

/// Parameters of connection URLs that belong to libpq or to the driver.
const LIBPQ: [&str; 36] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "require_auth",
    "requirepeer",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcompression",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "statement-cache-capacity",
    "target_session_attrs",
    "user",
];

/// Parameters that name a file. The driver reads it when it connects, where its error looks like that of a server that is down.
const FILES: [&str; 3] = ["sslcert", "sslkey", "sslrootcert"];

/// The maximum number of a handle's connections, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) writes: u32,
    pub(crate) renewals: u32,
    pub(crate) reads: u32,
    pub(crate) guests: u32,
}

impl PostgresOptions {
    /// A store on the server that the driver's own options name.
    #[must_use]
    pub const fn new(connect: PgConnectOptions) -> Self {
        Self {
            connect,
            schema: None,
            min_connections: 0,
            max_connections: 10,
            acquire_timeout: ACQUIRE_TIMEOUT,
        }
    }

    /// Sets the schema of Stent's tables; a migration creates it if it does not exist. The default is Postgres's own:
    /// the first schema of the user's `search_path`, usually `public`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the name is not 1 to 63 ASCII letters, digits and underscores, starts with a digit, or
    /// starts with `pg_`.
    pub fn schema(mut self, schema: impl Into<String>) -> Result<Self> {
        let schema = schema.into();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = !schema.is_empty()
            && schema.len() <= SCHEMA_BYTES_MAX
            && schema.bytes().all(fits)
            && !schema.starts_with(|first: char| first.is_ascii_digit());
        if !is_name || schema.starts_with("pg_") {
            return Err(config(format!(
                "schema={schema} is not a valid schema name here; use 1 to {SCHEMA_BYTES_MAX} letters, digits and \
                 underscores, without a leading digit or pg_"
            )));
        }
        self.schema = Some(schema);
        Ok(self)
    }

    /// Sets how many connections stay open while unused, from the first use on; 0 by default. At most
    /// [`max_connections`](Self::max_connections).
    #[must_use]
    pub const fn min_connections(mut self, connections: u32) -> Self {
        self.min_connections = connections;
        self
    }

    /// Limits the connections for reads and for closures of `stent::transaction`, from 1 to 1,000; 10 by default. Three
    /// tenths of them are for reads and the others for closures, at least one each. In addition there are up to three
    /// (or three tenths, if that is more) for commits and claims, one for lease renewals, and two for hints, so neither
    /// slow reads nor closures keep a worker from committing its results.
    #[must_use]
    pub const fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = if connections == 0 {
            1
        } else if connections > CONNECTIONS_MAX {
            CONNECTIONS_MAX
        } else {
            connections
        };
        self
    }

    /// Sets how long a call waits for a connection, whether all connections are in use or the server is unreachable;
    /// the error says which. 10 s by default. Zero means no limit: a call then waits until the server is back.
    #[must_use]
    pub const fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// The acquire timeout as the pools take it; they add it to the current time.
    pub(crate) fn acquire_limit(&self) -> Duration {
        match self.acquire_timeout {
            Duration::ZERO => ACQUIRE_MAX,
            timeout => timeout.min(ACQUIRE_MAX),
        }
    }

    /// The server, the database and the schema, without secrets.
    #[must_use]
    pub fn location(&self) -> String {
        let host = match self.connect.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.connect.get_host(), self.connect.get_port()),
        };
        let database = self.connect.get_database().unwrap_or_else(|| self.connect.get_username());
        match &self.schema {
            Some(schema) => format!("{host}/{database}, schema {schema}"),
            None => format!("{host}/{database}"),
        }
    }

    /// The maximum number of connections of each kind.
    pub(crate) fn shares(&self) -> Shares {
        let (most, tenths) = (self.max_connections, self.max_connections * 3 / 10);
        let reads = tenths.max(1);
        Shares {
            writes: tenths.max(most.min(WRITES_MIN)),
            renewals: 1,
            reads,
            guests: (most - reads.min(most)).max(1),
        }
    }

    /// Sets one of Stent's own parameters. Returns false if the parameter is not Stent's.
    fn set(&mut self, name: &str, value: &str) -> Result<bool> {
        let number = |least: u32| match value.parse() {
            Ok(number) if (least..=CONNECTIONS_MAX).contains(&number) => Ok(number),
            _ => Err(config(format!("{name}={value} is not a number from {least} to {CONNECTIONS_MAX}"))),
        };
        match name {
            "schema" => *self = self.clone().schema(value)?,
            "min_connections" => self.min_connections = number(0)?,
            "max_connections" => self.max_connections = number(1)?,
            "acquire_timeout" => {
                let timeout = duration::parse(value);
                let refused =
                    |error| config(format!("acquire_timeout: {error}; write it like 5s, or 0s for no limit"));
                self.acquire_timeout = timeout.map_err(refused)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl FromStr for PostgresOptions {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            // The URL may contain a password, so it is not shown.
            return Err(config(
                "the URL does not begin with postgres://; write it like postgres://user@host/database"
                    .to_owned(),
            ));
        }
        let (server, parameters) = url::split(url);
        let given = given(server);
        // Keeps Stent's own parameters here and passes the others to the driver.
        let mut own = Self::new(PgConnectOptions::new_without_pgpass());
        let mut rest = Vec::new();
        for parameter in parameters {
            let Parameter { name, value, text } = parameter?;
            if own.set(&name, &value)? {
                continue;
            }
            if !LIBPQ.contains(&name.as_str()) && !name.starts_with("options[") {
                return Err(config(format!(
                    "unknown parameter {name:?}; known parameters: {PARAMETERS}, and those of libpq"
                )));
            }
            if FILES.contains(&name.as_str())
                && let Err(error) = fs::metadata(&value)
            {
                return Err(config(format!("cannot read {name}={value}: {error}")));
            }
            if given.contains(&name.as_str()) {
                return Err(url::twice(&name));
            }
            rest.push(text);
        }
        let rest = format!("{server}?{}", rest.join("&"));
        own.connect = rest.parse().map_err(|error| config(format!("cannot parse the URL: {error}")))?;
        Ok(own)
    }
}

/// Returns the parameters that the part of a URL before the `?` gives. A host is not among them: `host=/run/postgresql` names the
/// socket beside a host that other programs need.
fn given(server: &str) -> Vec<&'static str> {
    let (authority, database) =
        server.split_once("://").map_or((server, ""), |(_, rest)| match rest.rfind('/') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, ""),
        });
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let port = host.rsplit_once(':').map_or("", |(_, port)| port.trim_end_matches(']'));
    let parts = [("user", user), ("password", password), ("port", port), ("dbname", database)];
    let is_given = |(name, value): (&'static str, &str)| (!value.is_empty()).then_some(name);
    // An IPv6 address has colons, and no port if it ends with its bracket.
    let is_port = !host.ends_with(']');
    parts.into_iter().filter_map(is_given).filter(|name| is_port || *name != "port").collect()
}

pub(crate) fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, "open").with_message(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> PostgresOptions {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn parameters_are_read_and_the_others_handed_on() {
        let options = parsed(
            "postgres://kim:secret@db:5433/shop?schema=orders&sslmode=disable&min_connections=2&max_connections=7\
             &acquire_timeout=1.5s&application_name=till",
        );

        assert_eq!(options.location(), "db:5433/shop, schema orders");
        assert_eq!((options.min_connections, options.max_connections), (2, 7));
        assert_eq!(options.acquire_timeout, Duration::from_millis(1_500));
        assert_eq!(options.connect.get_application_name(), Some("till"));
    }

    #[test]
    fn a_wait_for_a_connection_of_zero_is_no_limit_and_none_is_too_long_for_a_pool() {
        let limit = |timeout| {
            PostgresOptions::new(PgConnectOptions::new_without_pgpass())
                .acquire_timeout(timeout)
                .acquire_limit()
        };
        let nano = Duration::from_nanos(1);
        assert_eq!((limit(Duration::ZERO), limit(Duration::MAX)), (ACQUIRE_MAX, ACQUIRE_MAX));
        assert_eq!((limit(nano), limit(ACQUIRE_TIMEOUT)), (nano, ACQUIRE_TIMEOUT));
        assert!(std::time::Instant::now().checked_add(ACQUIRE_MAX).is_some(), "as pools add it");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (url, said) in [
            ("sqlite://a.db", "postgres://user@host/database"),
            ("postgres://h/d?scheme=orders", "known parameters: schema, min_connections"),
            ("postgres://h/d?schema=", "not a valid schema name"),
            ("postgres://h/d?schema=1st", "without a leading digit"),
            ("postgres://h/d?schema=a%22b", "letters, digits and underscores"),
            ("postgres://h/d?schema=pg_stent", "or pg_"),
            ("postgres://h/d?max_connections=0", "from 1 to 1000"),
            ("postgres://h/d?min_connections=many", "from 0 to 1000"),
            ("postgres://h/d?acquire_timeout=5", "position 1"),
            ("postgres://h/d?acquire_timeout=0", "write it like 5s, or 0s for no limit"),
            ("postgres://h/d?schema=a&schema=b", "\"schema\" is given twice; give it once"),
            ("postgres://h/d?sslmode=disable&sslmode=require", "\"sslmode\" is given twice"),
            ("postgres://h/d?dbname=e", "\"dbname\" is given twice"),
            ("postgres://kim@h/d?user=lee", "\"user\" is given twice"),
            ("postgres://kim:a@h/d?password=b", "\"password\" is given twice"),
            ("postgres://h:1/d?port=2", "\"port\" is given twice"),
            ("postgres://h:port/d", "cannot parse the URL"),
        ] {
            let error = url.parse::<PostgresOptions>().expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(error.to_string().contains(said), "{url}: {error}");
        }
    }

    #[test]
    fn a_parameter_may_add_to_the_address_what_it_lacks() {
        for url in [
            "postgres://localhost/d?host=/run/postgresql",
            "postgres:///d?host=h&port=5433&user=kim&password=secret",
            "postgres://kim@h?password=secret&dbname=d",
            "postgres://[::1]/d?port=5433",
        ] {
            parsed(url);
        }
    }

    #[test]
    fn each_kind_of_connection_has_at_least_one() {
        let shares = |most| {
            PostgresOptions::new(PgConnectOptions::new_without_pgpass()).max_connections(most).shares()
        };
        assert_eq!(shares(1), Shares { writes: 1, renewals: 1, reads: 1, guests: 1 });
        assert_eq!(shares(2), Shares { writes: 2, renewals: 1, reads: 1, guests: 1 });
        assert_eq!(shares(10), Shares { writes: 3, renewals: 1, reads: 3, guests: 7 });
        assert_eq!(shares(100), Shares { writes: 30, renewals: 1, reads: 30, guests: 70 });
    }

    #[test]
    fn no_secret_is_shown() {
        for url in [
            "postgres://kim:secret@h/d",
            "mysql://kim:secret@h/d",
            "postgres://kim:secret@h/d?x=1",
            "postgres://kim@h/d?password=secret%FF",
        ] {
            let shown = match url.parse::<PostgresOptions>() {
                Ok(options) => options.location(),
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
