//! The sessions of one handle, as its server knows them.

use std::fmt::Debug;
use std::ops::RangeBounds;
use std::time::{Duration, Instant};

use sea_orm::sqlx::{self, Connection, PgConnection};
use stent_postgres::PostgresOptions;

use crate::schema::{Schema, url};

impl Schema {
    /// URL options of a handle that names its sessions after the schema.
    pub(crate) fn named(&self, options: &str) -> PostgresOptions {
        let named = self.url_with(&format!("schema={0}&application_name={0}&{options}", self.name()));
        named.parse().expect("options")
    }
}

/// The server's view of the sessions with a name.
pub(crate) struct Sessions {
    connection: PgConnection,
    name: String,
}

/// Longer than a server takes to list a session that has begun, or to remove one that has ended.
const DEADLINE: Duration = Duration::from_secs(20);

impl Sessions {
    pub(crate) async fn of(name: &str) -> Self {
        let url = url().unwrap_or_else(|error| panic!("{error}"));
        Self { connection: PgConnection::connect(&url).await.expect("connects"), name: name.to_owned() }
    }

    pub(crate) async fn count(&mut self) -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        let count = sqlx::query_scalar(count).bind(&self.name).fetch_one(&mut self.connection);
        count.await.expect("counts")
    }

    /// Waits until their number is one of these.
    pub(crate) async fn become_one_of(&mut self, expected: impl RangeBounds<i64> + Debug) {
        let began = Instant::now();
        loop {
            let count = self.count().await;
            if expected.contains(&count) {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{count} are open, and not {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends all of them, and returns how many there were.
    pub(crate) async fn end(&mut self) -> u64 {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        let end = sqlx::query(end).bind(&self.name).execute(&mut self.connection);
        end.await.expect("ends sessions").rows_affected()
    }
}
