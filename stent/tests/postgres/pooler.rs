//! A real pooler between a `Stent` and its server: the features that work, and the errors about those that do not.

use std::sync::Arc;
use std::time::Duration;

use stent::backend::{Store, Topic, Verdict};
use stent::postgres::{PostgresOptions, PostgresStore};
use stent::prelude::*;
use stent::{Error, PollOptions, StoreErrorKind};

use crate::bouncer::{Bouncer, Mode, tracks_statements};
use crate::database::TestDatabase;
use crate::logs::{self, Line};
use crate::rigged::Ears;

/// Connections of a pooler to its server: fewer than it has clients.
const CONNECTIONS: u32 = 3;

/// Longer than a store listens without listeners.
const DESERTED: Duration = Duration::from_secs(3);

/// Longer than a listener waits for its own notification.
const ECHO: Duration = Duration::from_secs(6);

#[durable(name = "pooler.double")]
async fn double(n: i64) -> Result<i64, String> {
    Ok(n * 2)
}

#[durable(name = "pooler.quadruple")]
async fn quadruple(n: i64) -> Result<i64, stent::Error> {
    double(double(n).await?).await
}

/// How often the log says that notifications do not pass this pooler.
fn warnings(bouncer: &Bouncer) -> usize {
    let place = bouncer.place();
    let is_of_it = |line: &Line| line.field("store").starts_with(&place);
    logs::lines(|line| is_of_it(line) && line.message().contains("notifications do not come back")).len()
}

async fn warned(bouncer: &Bouncer) {
    while warnings(bouncer) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn open(url: &str) -> Arc<dyn Store> {
    PostgresStore::open(url.parse::<PostgresOptions>().unwrap()).await.unwrap()
}

/// The error of a store that cannot be used.
async fn unfit(url: &str) -> String {
    let error = Stent::connect(url).await.unwrap_err();
    let Error::Store(store) = &error else { panic!("{error}") };
    assert_eq!(store.kind(), StoreErrorKind::Config, "{error}");
    error.to_string()
}

/// The quadruples of a few numbers, computed by the worker of another `Stent`.
async fn quadruples(stent: &Stent) {
    let runs = stent.dispatch_all((0..20).map(quadruple)).await.unwrap();
    for (n, run) in (0..).zip(runs) {
        assert_eq!(run.result().timeout("60s").await.unwrap(), n * 4);
    }
}

#[test]
fn one_that_swallows_notifications_is_told_of_once_and_polling_finds_the_work() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let bouncer = Bouncer::start(&database, Mode::Transaction, CONNECTIONS);
        let stent = Stent::connect(&database.url()).await.unwrap();
        let ears = open(bouncer.url()).await;
        let deaf = Ears::with_ears(stent.store(), ears.clone());
        let poll = PollOptions::default().max(Duration::from_millis(300));
        let other = Stent::builder().poll(poll).open(deaf).await.unwrap();

        let worker = other.worker().start().await.unwrap();
        warned(&bouncer).await;
        let findings = ears.diagnose().await.unwrap();
        let heard = findings.iter().find(|finding| finding.check == "notifications").unwrap();
        assert_eq!(heard.verdict, Verdict::Warning, "{heard:?}");
        assert!(heard.remedy.contains("session pooling"), "{heard:?}");
        quadruples(&stent).await;
        worker.drain().await.unwrap();
        drop(other);

        // After a while without listeners, it starts to listen again. A new listener gets a hint.
        tokio::time::sleep(DESERTED).await;
        let mut listener = ears.listen(Topic::Work);
        listener.changed().await;
        tokio::time::sleep(ECHO).await;
        assert_eq!(warnings(&bouncer), 1);
    });
}

#[test]
fn one_that_keeps_sessions_together_passes_everything_on() {
    crate::run(async {
        let database = TestDatabase::new().await;
        // Each client has a connection of its own.
        let bouncer = Bouncer::start(&database, Mode::Session, 30);
        let seldom = Duration::from_secs(1_000);
        let poll = PollOptions::default().min(seldom).max(seldom);
        let connect = async || Stent::builder().poll(poll).connect(bouncer.url()).await.unwrap();
        let (stent, other) = (connect().await, connect().await);

        let worker = other.worker().start().await.unwrap();
        quadruples(&stent).await;

        assert_eq!(warnings(&bouncer), 0);
        worker.drain().await.unwrap();
    });
}

/// A store prepares its statements. A pooler in transaction mode must support this, as PgBouncer does since 1.21.
#[test]
fn one_that_hands_each_transaction_to_another_connection_serves_if_it_tracks_statements_and_is_told_of_else()
{
    crate::run(async {
        let database = TestDatabase::new().await;
        if tracks_statements() {
            let bouncer = Bouncer::start(&database, Mode::Transaction, CONNECTIONS);
            let stent = Stent::connect(bouncer.url()).await.unwrap();
            let worker = Stent::connect(bouncer.url()).await.unwrap().worker().start().await.unwrap();
            quadruples(&stent).await;
            worker.drain().await.unwrap();
            return;
        }
        let bouncer = Bouncer::start(&database, Mode::Transaction, 1);
        let first = open(bouncer.url()).await;
        first.clock().await.unwrap();
        let second = open(bouncer.url()).await;
        let error = second.clock().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Config, "{error}");
        for remedy in ["connect without it", "session pooling", "max_prepared_statements"] {
            assert!(error.to_string().contains(remedy), "{remedy} in {error}");
        }
    });
}

#[test]
fn one_that_refuses_what_a_connection_asks_for_is_told_of_by_the_parameter() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let bouncer = Bouncer::start_ignoring(&database, Mode::Session, CONNECTIONS, "extra_float_digits");

        let error = unfit(bouncer.url()).await;

        assert!(error.contains("ignore the startup parameter `options`"), "{error}");
    });
}

#[test]
fn one_that_ignores_what_a_connection_asks_for_leads_to_no_other_tables() {
    crate::run(async {
        let database = TestDatabase::new().await;
        // Each client has a connection of its own.
        let through = || Bouncer::start(&database, Mode::Session, 30);
        let to_orders = |bouncer: &Bouncer| format!("{}?schema=orders", bouncer.url());

        // The server does not know the schema.
        let (one, other) = (through(), through());
        let stent = Stent::connect(&to_orders(&one)).await.unwrap();
        let worker = Stent::connect(&to_orders(&other)).await.unwrap().worker().start().await.unwrap();
        quadruples(&stent).await;
        worker.drain().await.unwrap();
        assert_eq!(
            Stent::connect(&database.url())
                .await
                .unwrap()
                .inspect()
                .count()
                .await
                .unwrap()
                .values()
                .sum::<u64>(),
            0,
            "nothing is in the schema where connections look for tables"
        );
    });
}

#[test]
fn one_that_ignores_what_a_connection_asks_for_leads_to_no_other_isolation() {
    crate::run(async {
        let database = TestDatabase::new().await;
        database.set("default_transaction_isolation = 'repeatable read'").await;
        let bouncer = Bouncer::start(&database, Mode::Session, CONNECTIONS);

        let error = unfit(bouncer.url()).await;

        for part in ["are REPEATABLE READ", "SET default_transaction_isolation"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        Stent::connect(&database.url()).await.unwrap().close().await.unwrap();
    });
}
