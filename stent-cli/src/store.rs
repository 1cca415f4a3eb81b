//! The store that a command works on: found by its URL or its kind, opened, and closed however the command ends.

use std::future::Future;
use std::sync::Arc;

use stent::backend::Store;
use stent::{Codec, Registry, Stent};

use crate::cli::{Backend, Global};
use crate::fault::{Fault, Result};
#[cfg(feature = "sqlite")]
use crate::out::tell;

/// Where a store is, and how to open it.
#[derive(Debug)]
pub(crate) enum Place {
    #[cfg(feature = "sqlite")]
    Sqlite(stent::sqlite::SqliteOptions),
    #[cfg(feature = "postgres")]
    Postgres(Box<stent::postgres::PostgresOptions>),
    #[cfg(feature = "redis")]
    Redis(Box<stent::redis::RedisOptions>),
}

/// Whether a store that does not exist is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    IsCreated,
    IsAnError,
}

const SCHEMES: &[(&str, Backend)] = &[
    ("sqlite", Backend::Sqlite),
    ("postgres", Backend::Postgres),
    ("postgresql", Backend::Postgres),
    ("redis", Backend::Redis),
    ("rediss", Backend::Redis),
    ("redis+unix", Backend::Redis),
    ("unix", Backend::Redis),
];

/// How long a command that only reads waits for the write lock of a file, before it opens the file without it.
#[cfg(feature = "sqlite")]
const LOOK_WAIT: std::time::Duration = std::time::Duration::from_millis(200);

const NAME_IT: &str =
    "name it with --store sqlite://orders.db, or in the environment: STENT_STORE=sqlite://orders.db";

impl Backend {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }
}

impl Place {
    /// The place that the options name: by the scheme of the URL, or by `--backend`, and never by a guess from the rest.
    pub(crate) fn find(global: &Global) -> Result<Self> {
        let Some(text) = global.store.as_deref().filter(|text| !text.is_empty()) else {
            return Err(Fault::usage("no store is named").hint(NAME_IT));
        };
        // The text may hold a password, so messages show no more than its scheme.
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        let named = scheme.and_then(|scheme| SCHEMES.iter().find(|(known, _)| *known == scheme));
        match (global.backend, named) {
            (None, Some((_, backend))) => Self::parse(*backend, text),
            (Some(asked), Some((_, backend))) if asked == *backend => Self::parse(*backend, text),
            (Some(asked), Some((scheme, _))) => {
                let asked = asked.as_str();
                Err(Fault::usage(format!("--backend {asked} contradicts the scheme `{scheme}` of the store's URL"))
                    .hint("leave out --backend: the scheme says which kind of store it is"))
            }
            (Some(backend), None) => Self::bare(backend, text),
            (None, None) if scheme == Some("memory") => Err(in_memory()),
            (None, None) => Err(match text.split_once("://") {
                Some((scheme, _)) => Fault::usage(format!("unknown scheme `{scheme}` of the store's URL"))
                    .hint("the schemes are sqlite, postgres, postgresql, redis, rediss and redis+unix"),
                None => Fault::usage("the store's URL has no scheme").hint(
                    "write it like sqlite://orders.db or postgres://user@host/database, or add --backend sqlite",
                ),
            }),
        }
    }

    /// A place without a scheme: the path of a file, or the rest of a URL.
    fn bare(backend: Backend, text: &str) -> Result<Self> {
        match backend {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite => Ok(Self::Sqlite(stent::sqlite::SqliteOptions::file(text))),
            backend => Self::parse(backend, &format!("{}://{text}", backend.as_str())),
        }
    }

    fn parse(backend: Backend, url: &str) -> Result<Self> {
        let place = match backend {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite => url.parse().map(Self::Sqlite),
            #[cfg(feature = "postgres")]
            Backend::Postgres => url.parse().map(|options| Self::Postgres(Box::new(options))),
            #[cfg(feature = "redis")]
            Backend::Redis => url.parse().map(|options| Self::Redis(Box::new(options))),
            #[allow(unreachable_patterns, reason = "only if a feature is off")]
            backend => {
                let _ = url;
                let feature = backend.as_str();
                return Err(Fault::usage(format!("this program was built without support for {feature}"))
                    .hint(format!("cargo install stent-cli --features {feature}")));
            }
        };
        let place = place.map_err(|error: stent::StoreError| Fault::usage(Fault::from(error).message()))?;
        match &place {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) if options.path().is_none() => Err(in_memory()),
            _ => Ok(place),
        }
    }

    /// Opens the store. Creates nothing and migrates nothing, except that a missing file is created on request.
    pub(crate) async fn open(self, missing: Missing) -> Result<Arc<dyn Store>> {
        let opened: std::result::Result<Arc<dyn Store>, Fault> = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) => {
                let options = options.create(missing == Missing::IsCreated);
                let is_missing = options.path().is_some_and(|path| !path.exists());
                match stent::sqlite::SqliteStore::open(options.clone()).await {
                    Ok(store) => Ok(store),
                    // Perhaps it cannot be written. To look at it, that is not needed.
                    Err(error)
                        if !is_missing
                            && missing == Missing::IsAnError
                            && error.kind() == stent::StoreErrorKind::Config =>
                    {
                        match stent::sqlite::SqliteStore::open(options.read_only(true)).await {
                            Ok(store) => {
                                tell("note: the file cannot be written, so it is only read");
                                Ok(store)
                            }
                            Err(_) => Err(error.into()),
                        }
                    }
                    Err(error) if is_missing && missing == Missing::IsAnError => Err(Fault::from(error)
                        .hint("check the path in --store or STENT_STORE; `stent migrate` creates a store")),
                    Err(error) => Err(error.into()),
                }
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => match stent::postgres::PostgresStore::open(*options).await {
                Ok(store) => Ok(store),
                Err(error) => Err(error.into()),
            },
            #[cfg(feature = "redis")]
            Self::Redis(options) => match stent::redis::RedisStore::open(*options).await {
                Ok(store) => Ok(store),
                Err(error) => Err(error.into()),
            },
        };
        let _ = missing;
        opened.map_err(Fault::while_opening)
    }

    /// Opens the store to read it, also if another process holds the lock of its file. Opening a file tries to write, and waits for
    /// the lock for no longer than a look may take.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "redis")),
        expect(irrefutable_let_patterns, reason = "no other store is built in")
    )]
    pub(crate) async fn open_to_look(self) -> Result<Arc<dyn Store>> {
        #[cfg(feature = "sqlite")]
        if let Self::Sqlite(options) = &self {
            let options = options.clone().create(false);
            let hasty = options.clone().busy_timeout(LOOK_WAIT);
            match stent::sqlite::SqliteStore::open(hasty).await {
                Ok(store) => return Ok(store),
                Err(error) if error.kind() == stent::StoreErrorKind::Contended => {
                    if let Ok(store) = stent::sqlite::SqliteStore::open(options.read_only(true)).await {
                        return Ok(store);
                    }
                }
                Err(_) => {}
            }
        }
        self.open(Missing::IsAnError).await
    }

    /// The file of the store, if it is one.
    #[cfg(feature = "sqlite")]
    pub(crate) fn file(&self) -> Option<std::path::PathBuf> {
        match self {
            Self::Sqlite(options) => options.path().map(std::path::Path::to_owned),
            #[allow(unreachable_patterns, reason = "only if no other store is built in")]
            _ => None,
        }
    }

    #[cfg(not(feature = "sqlite"))]
    pub(crate) const fn file(&self) -> Option<std::path::PathBuf> {
        None
    }
}

fn in_memory() -> Fault {
    Fault::usage("a store in memory belongs to the process that opened it").hint(NAME_IT)
}

/// Opens a store that exists, with the schema that this program needs, and runs a command on it that may write. The store is
/// closed however the command ends, also by Ctrl-C.
pub(crate) async fn with(global: &Global, command: impl AsyncFnOnce(&Stent) -> Result<()>) -> Result<()> {
    run_on(Place::find(global)?.open(Missing::IsAnError).await?, command).await
}

/// The same for a command that only reads, so that no lock of another process is in its way.
pub(crate) async fn look(global: &Global, command: impl AsyncFnOnce(&Stent) -> Result<()>) -> Result<()> {
    run_on(Place::find(global)?.open_to_look().await?, command).await
}

async fn run_on(store: Arc<dyn Store>, command: impl AsyncFnOnce(&Stent) -> Result<()>) -> Result<()> {
    let work = async {
        let stent = connect(Arc::clone(&store)).await?;
        command(&stent).await
    };
    closing(&store, work).await
}

/// A handle to a store that is open. Its values are JSON, because that is how people write them: a type that reads a text
/// from JSON, such as a UUID, may want bytes in CBOR. Readers decode each value by its own content type.
pub(crate) async fn connect(store: Arc<dyn Store>) -> Result<Stent> {
    let builder = Stent::builder().registry(Registry::new()).codec(Codec::Json).migrate(false);
    builder.open(store).await.map_err(|error| Fault::from(error).while_opening())
}

/// Runs work on an open store, and closes the store when the work is done, has failed, or is interrupted.
pub(crate) async fn closing(store: &Arc<dyn Store>, work: impl Future<Output = Result<()>>) -> Result<()> {
    let done = tokio::select! {
        biased;
        done = work => done,
        () = interrupted() => Err(Fault::interrupted()),
    };
    let closed = store.close().await.map_err(Fault::from);
    done.and(closed)
}

/// Waits for Ctrl-C or a request to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
