//! Options, and their form in a URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use stent_core::backend::{Error, ErrorKind, Result};
use stent_core::duration;
use stent_sql::url;

/// Options of an SQLite store: where it is and how to open it.
///
/// ```
/// use stent_sqlite::{Durability, SqliteOptions};
///
/// let options: SqliteOptions = "sqlite://orders.db?durability=normal&busy_timeout=10s".parse()?;
/// assert_eq!(options, SqliteOptions::file("orders.db")
///     .durability(Durability::Normal)
///     .busy_timeout(std::time::Duration::from_secs(10)));
/// # Ok::<(), stent_core::backend::Error>(())
/// ```
///
/// | URL | Store |
/// |---|---|
/// | `sqlite://orders.db` | a file in the current directory |
/// | `sqlite:///var/lib/orders.db` | a file with an absolute path |
/// | `sqlite::memory:` | memory; the data disappears with the handle |
///
/// Percent-encode special characters in a path, such as `%20` for a space. The parameters are `durability`,
/// `busy_timeout`, `readers`, `create` and `read_only`; they correspond to the methods of the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    pub(crate) location: Location,
    pub(crate) durability: Durability,
    pub(crate) busy_timeout: Duration,
    pub(crate) readers: u32,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
}

/// The location of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    File(PathBuf),
    Memory,
}

/// The commits that a power failure may lose. A crash of the process loses nothing under either setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: a commit is on the disk when it returns (`synchronous=FULL`).
    #[default]
    Full,
    /// The commits of the last moments before the power failure: they are undone, and their work runs again. The file
    /// stays intact (`synchronous=NORMAL`).
    Normal,
}

/// Most readers of one handle. Each reader is a thread and a page cache.
const READERS_MAX: u32 = 64;

/// The longest busy timeout of SQLite, which stores it in an `int` of milliseconds.
const BUSY_MS_MAX: u64 = i32::MAX as u64;

const PARAMETERS: &str = "durability, busy_timeout, readers, create, read_only";

impl SqliteOptions {
    /// A store in a file. The file is created if it does not exist, unless [`create`](Self::create) says otherwise; its
    /// directory is not.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Location::File(path.into()))
    }

    /// A store in memory, visible only to this handle.
    #[must_use]
    pub fn memory() -> Self {
        Self::at(Location::Memory)
    }

    fn at(location: Location) -> Self {
        Self {
            location,
            durability: Durability::Full,
            busy_timeout: Duration::from_secs(5),
            readers: 4,
            create: true,
            read_only: false,
        }
    }

    /// Sets which commits a power failure may lose; none, by default.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how long to wait for the write lock while another process holds it; 5 s by default. Zero means no limit.
    /// SQLite counts whole milliseconds, so a fraction is rounded up, and no limit means 24 days.
    #[must_use]
    pub const fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets how many reads may run concurrently beside the one writer, from 1 to 64; 4 by default.
    #[must_use]
    pub const fn readers(mut self, readers: u32) -> Self {
        self.readers = if readers == 0 {
            1
        } else if readers > READERS_MAX {
            READERS_MAX
        } else {
            readers
        };
        self
    }

    /// Sets whether the file is created if it does not exist; true by default. If it is false, opening a store whose file is
    /// missing is an error, so a mistyped path is not taken for an empty store. Also, a file without Stent's tables then keeps its
    /// journal mode; otherwise opening it switches it to write-ahead logging.
    #[must_use]
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets whether the store is only read; false by default. If it is true, the file and its directory need not be writable, and
    /// every write fails. Without a write-ahead log beside the file, nobody writes it, as on a read-only file system or in a
    /// backup; reading it then creates no files. Reads find the commits of a program that opens the file later.
    #[must_use]
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The busy timeout in SQLite's terms, where zero means not to wait at all.
    pub(crate) fn busy_limit(&self) -> Duration {
        match self.busy_timeout {
            Duration::ZERO => Duration::from_millis(BUSY_MS_MAX),
            timeout => Duration::from_millis(duration::millis(timeout, BUSY_MS_MAX)),
        }
    }

    /// The file's path, or `None` for a store in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            Location::File(path) => Some(path),
            Location::Memory => None,
        }
    }

    fn set(self, name: &str, value: &str) -> Result<Self> {
        match name {
            "durability" => match value {
                "full" => Ok(self.durability(Durability::Full)),
                "normal" => Ok(self.durability(Durability::Normal)),
                _ => Err(config(format!("durability={value} is not valid; use full or normal"))),
            },
            "busy_timeout" => match duration::parse(value) {
                Ok(timeout) => Ok(self.busy_timeout(timeout)),
                Err(error) => {
                    Err(config(format!("busy_timeout: {error}; write it like 5s, or 0s for no limit")))
                }
            },
            "readers" => match value.parse() {
                Ok(readers) if (1..=READERS_MAX).contains(&readers) => Ok(self.readers(readers)),
                _ => Err(config(format!("readers={value} is not a number from 1 to {READERS_MAX}"))),
            },
            "create" => match value {
                "true" => Ok(self.create(true)),
                "false" => Ok(self.create(false)),
                _ => Err(config(format!("create={value} is not valid; use true or false"))),
            },
            "read_only" => match value {
                "true" => Ok(self.read_only(true)),
                "false" => Ok(self.read_only(false)),
                _ => Err(config(format!("read_only={value} is not valid; use true or false"))),
            },
            _ => Err(config(format!("unknown parameter {name:?}; known parameters: {PARAMETERS}"))),
        }
    }
}

impl FromStr for SqliteOptions {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| {
            config(format!("{url:?} does not begin with sqlite:; write it like sqlite://orders.db"))
        })?;
        let (path, parameters) = url::split(rest.strip_prefix("//").unwrap_or(rest));
        let mut options = match path {
            "" => return Err(config(format!("{url:?} names no file; write it like sqlite://orders.db"))),
            ":memory:" => Self::memory(),
            _ => Self::file(url::decode(path, path)?),
        };
        for parameter in parameters {
            let parameter = parameter?;
            options = options.set(&parameter.name, &parameter.value)?;
        }
        Ok(options)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory => f.write_str(":memory:"),
        }
    }
}

fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, "open").with_message(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> SqliteOptions {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn refused(url: &str) -> String {
        let error = url.parse::<SqliteOptions>().expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        error.to_string()
    }

    #[test]
    fn paths_are_relative_absolute_or_memory() {
        for (url, path) in [
            ("sqlite://orders.db", "orders.db"),
            ("sqlite:orders.db", "orders.db"),
            ("sqlite://./data/orders.db", "./data/orders.db"),
            ("sqlite:///var/lib/orders.db", "/var/lib/orders.db"),
            ("sqlite:/var/lib/orders.db", "/var/lib/orders.db"),
            ("sqlite://my%20orders%3F%25.db", "my orders?%.db"),
            ("sqlite://b%C3%BCcher.db", "bücher.db"),
        ] {
            assert_eq!(parsed(url), SqliteOptions::file(path), "{url}");
        }
        for url in ["sqlite::memory:", "sqlite://:memory:"] {
            assert_eq!(parsed(url), SqliteOptions::memory(), "{url}");
        }
    }

    #[test]
    fn parameters_are_read() {
        let options = SqliteOptions::file("a.db").durability(Durability::Normal);
        let options = options.busy_timeout(Duration::from_millis(1_500)).readers(2);
        assert_eq!(parsed("sqlite://a.db?durability=normal&busy_timeout=1.5s&readers=2"), options);
        assert_eq!(parsed("sqlite://a.db?durability=full&create=true"), SqliteOptions::file("a.db"));
        assert_eq!(parsed("sqlite://a.db?create=false&"), SqliteOptions::file("a.db").create(false));
    }

    #[test]
    fn a_busy_timeout_of_zero_is_no_limit_and_no_other_is_taken_for_it() {
        let limit = |timeout| SqliteOptions::memory().busy_timeout(timeout).busy_limit().as_millis();
        for (timeout, millis) in [
            (Duration::ZERO, i32::MAX as u128),
            (Duration::from_nanos(1), 1),
            (Duration::from_micros(1_500), 2),
            (Duration::from_secs(5), 5_000),
            (Duration::MAX, i32::MAX as u128),
        ] {
            assert_eq!(limit(timeout), millis, "{timeout:?}");
        }
        for (url, millis) in [("0s", i32::MAX as u128), ("0.001us", 1), ("999999999999h", i32::MAX as u128)] {
            let options = parsed(&format!("sqlite::memory:?busy_timeout={url}"));
            assert_eq!(options.busy_limit().as_millis(), millis, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (url, said) in [
            ("postgres://a", "does not begin with sqlite:"),
            ("sqlite://", "names no file"),
            ("sqlite:", "names no file"),
            (
                "sqlite://a.db?mode=rwc",
                "known parameters: durability, busy_timeout, readers, create, read_only",
            ),
            ("sqlite://a.db?durability=off", "use full or normal"),
            ("sqlite://a.db?create=no", "use true or false"),
            ("sqlite://a.db?busy_timeout=5", "position 1"),
            ("sqlite://a.db?readers=0", "from 1 to 64"),
            ("sqlite://a.db?readers=many", "from 1 to 64"),
            ("sqlite://a%00.db", "zero byte"),
            ("sqlite://a%FF.db", "not UTF-8"),
        ] {
            let message = refused(url);
            assert!(message.contains(said), "{url}: {message}");
        }
    }
}
