//! Servers that accept connections and say nothing, or stop in the middle of the checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stent_redis::{RedisHints, RedisOptions, RedisStore};
use tokio::net::TcpListener;

use crate::between::{Then, between};
use crate::server::Server;
use crate::support::{Warnings, heals, open};

/// Serves on a port of loopback, says nothing, and counts connections.
async fn silent() -> (RedisOptions, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            open.push(stream);
        }
    });
    let options = RedisOptions::server("127.0.0.1", port).connect_timeout(Duration::from_millis(200));
    (options, accepted)
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_once_and_warned_of_at_once() {
    for of_store in [false, true] {
        let (options, accepted) = silent().await;
        let log = Warnings::new();

        let (hints, store) = match of_store {
            false => (Some(RedisHints::open(&options).await.expect("it may come later")), None),
            true => (None, Some(RedisStore::open(options).await.expect("it may come later"))),
        };

        assert_eq!(accepted.load(Ordering::SeqCst), 1, "it waits for connect_timeout once");
        let lines = log.lines();
        assert!(lines.len() == 1 && lines[0].contains("hints do not get through"), "{lines:?}");
        drop((hints, store));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_during_the_checks_is_no_reason_to_doubt_the_durability() {
    let server = Server::start(&[]);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let options = between(&server, move |words| {
        let is_config = words[0] == b"CONFIG";
        let nth = counted.fetch_add(usize::from(is_config), Ordering::SeqCst);
        async move { if is_config && nth == 0 { Then::Close } else { Then::Forward } }
    });
    let options = options.await;
    let log = Warnings::new();

    let store = open(&options).await;
    heals(&store).await;

    assert!(asked.load(Ordering::SeqCst) > 1);
    let lines = log.lines();
    assert!(!lines.iter().any(|line| line.contains("appendfsync")), "{lines:?}");
}
