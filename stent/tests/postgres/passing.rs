//! Temporary refusals of a server: read-only sessions, a role that may not log in. Work in progress is done once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stent::prelude::*;
use stent::{Error, StoreErrorKind};

use crate::database::TestDatabase;

/// How long a server keeps refusing.
const REFUSES: Duration = Duration::from_secs(2);

/// How often each leaf has run.
static READ_ONLY: AtomicU32 = AtomicU32::new(0);
static NO_LOGIN: AtomicU32 = AtomicU32::new(0);

#[durable(name = "passing.read_only")]
async fn read_only() -> Result<(), String> {
    READ_ONLY.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[durable(name = "passing.no_login")]
async fn no_login() -> Result<(), String> {
    NO_LOGIN.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

async fn started(count: &AtomicU32) {
    while count.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[track_caller]
fn passes(error: &Error) {
    let Error::Store(store) = error else { panic!("{error:?}") };
    assert_eq!(store.kind(), StoreErrorKind::Unavailable, "{error}");
}

#[test]
fn sessions_that_may_only_read_are_left_behind() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let stent = Stent::connect(&database.url()).await.unwrap();
        let worker = stent.worker().lease("30s").start().await.unwrap();
        let run = stent.dispatch(read_only()).await.unwrap();
        started(&READ_ONLY).await;

        database.set("default_transaction_read_only = on").await;
        database.end_sessions().await;
        // Many read-only sessions are opened, and would be reused again and again.
        let tries: Vec<_> = (0..6)
            .map(|_| {
                let stent = stent.clone();
                tokio::spawn(async move { stent.dispatch(read_only()).delay("1h").await.map(drop) })
            })
            .collect();
        tokio::time::sleep(REFUSES).await;
        database.reset("default_transaction_read_only").await;

        // At the first attempt from then on, whatever older sessions there are.
        let after = tokio::time::timeout(Duration::from_secs(20), stent.dispatch(read_only()).delay("1h"));
        after.await.expect("no long wait").unwrap();
        run.result().timeout("25s").await.unwrap();
        assert_eq!(READ_ONLY.load(Ordering::SeqCst), 1);
        for tried in tries {
            tried.await.unwrap().unwrap();
        }
        worker.drain().await.unwrap();
    });
}

#[test]
fn a_role_that_may_not_log_in_for_a_while_has_its_work_done_once() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let role = database.role().await;
        let stent = Stent::connect(&format!("{}?schema=orders", role.url())).await.unwrap();
        let worker = stent.worker().lease("30s").start().await.unwrap();
        let run = stent.dispatch(no_login()).await.unwrap();
        started(&NO_LOGIN).await;

        role.alter("NOLOGIN").await;
        database.end_sessions().await;
        passes(&stent.inspect().count().await.unwrap_err());
        tokio::time::sleep(REFUSES).await;
        role.alter("LOGIN").await;

        run.result().timeout("25s").await.unwrap();
        assert_eq!(NO_LOGIN.load(Ordering::SeqCst), 1);
        worker.drain().await.unwrap();
        stent.close().await.unwrap();
        // A handle that has never logged in is configured wrongly.
        let unknown = Stent::connect(&role.url_of("nobody_knows_this_role")).await.unwrap_err();
        let Error::Store(store) = &unknown else { panic!("{unknown:?}") };
        assert_eq!(store.kind(), StoreErrorKind::Config, "{unknown}");
    });
}
