//! Opens the store that a URL names. Only this file names backends.

use std::sync::Arc;

use stent_core::backend::Store;

use crate::error::{Error, Result};

/// The SQL library of the backends, for applications with tables in the same database. It is re-exported so that the
/// application's transactions have the types that Stent accepts.
#[cfg(feature = "sql")]
pub use sea_orm;

/// The SQLite backend, for options that a URL cannot express: open a store with it and pass the store to
/// [`StentBuilder::open`](crate::StentBuilder::open).
#[cfg(feature = "sqlite")]
pub use stent_sqlite as sqlite;

/// The Postgres backend, likewise. Its `PostgresStore::from_connection` takes a pool of the application.
#[cfg(feature = "postgres")]
pub use stent_postgres as postgres;

/// The Redis backend, likewise.
#[cfg(feature = "redis")]
pub use stent_redis as redis;

/// Schemes, the feature that each one needs, and whether this build has the feature.
const SCHEMES: &[(&str, &str, bool)] = &[
    ("memory", "", true),
    ("sqlite", "sqlite", cfg!(feature = "sqlite")),
    ("postgres", "postgres", cfg!(feature = "postgres")),
    ("postgresql", "postgres", cfg!(feature = "postgres")),
    ("redis", "redis", cfg!(feature = "redis")),
    ("rediss", "redis", cfg!(feature = "redis")),
    ("redis+unix", "redis", cfg!(feature = "redis")),
];

/// Opens the store that a URL names.
pub(crate) async fn store(url: &str) -> Result<Arc<dyn Store>> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let problem = match SCHEMES.iter().find(|(known, ..)| *known == scheme) {
        Some(("memory", ..)) => return Ok(Arc::new(stent_memory::MemoryStore::new())),
        #[cfg(feature = "sqlite")]
        Some(("sqlite", ..)) => return Ok(stent_sqlite::SqliteStore::open(url.parse()?).await?),
        #[cfg(feature = "postgres")]
        Some((_, "postgres", _)) => return Ok(stent_postgres::PostgresStore::open(url.parse()?).await?),
        #[cfg(feature = "redis")]
        Some((_, "redis", _)) => return Ok(stent_redis::RedisStore::open(url.parse()?).await?),
        Some((known, feature, _)) => format!(
            "scheme `{known}` needs the feature `{feature}`, which is disabled; enable it: stent = {{ features = \
             [\"{feature}\"] }}"
        ),
        None if scheme.is_empty() => {
            format!("it has no scheme; write it like sqlite://{url}; known schemes: {}", built().join(", "))
        }
        None => format!("unknown scheme `{scheme}`; known schemes: {}", built().join(", ")),
    };
    Err(Error::Url { url: without_password(url), problem })
}

fn built() -> Vec<&'static str> {
    SCHEMES.iter().filter(|(.., built)| *built).map(|(scheme, ..)| *scheme).collect()
}

/// The URL with its password replaced, for use in messages.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, parameters) = match rest.split_once('?') {
        Some((place, parameters)) => (place, Some(parameters)),
        None => (rest, None),
    };
    // The last `@`: a password may contain others that nobody has encoded.
    let place = match place.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            format!("{}:***@{host}", user.split(':').next().unwrap_or_default())
        }
        _ => place.to_owned(),
    };
    let parameters = parameters.into_iter().flat_map(|parameters| parameters.split('&'));
    let shown = parameters.map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if name.contains("password") => format!("{name}=***"),
        _ => parameter.to_owned(),
    });
    let shown = shown.collect::<Vec<_>>().join("&");
    let mark = if shown.is_empty() { "" } else { "?" };
    format!("{scheme}://{place}{mark}{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_password("postgres://kim:secret@db/x"), "postgres://kim:***@db/x");
        assert_eq!(without_password("postgres://kim:se@cret@db/x"), "postgres://kim:***@db/x");
        let parameters = "postgres://db/x?user=kim&password=secret&sslpassword=secret";
        assert_eq!(without_password(parameters), "postgres://db/x?user=kim&password=***&sslpassword=***");
        assert_eq!(without_password("sqlite://a.db?readers=2"), "sqlite://a.db?readers=2");
    }

    #[tokio::test]
    async fn an_unknown_scheme_lists_the_known_ones_and_a_missing_one_says_what_it_needs() {
        let unknown = store("mysql://x").await.expect_err("no such scheme").to_string();
        assert!(unknown.contains("unknown scheme `mysql`") && unknown.contains("memory"), "{unknown}");

        let missing = store("x.db").await.expect_err("no scheme").to_string();
        assert!(missing.contains("sqlite://x.db"), "{missing}");
    }
}
