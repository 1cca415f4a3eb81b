//! Hints between handles, and through servers that stop and return.

use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Announced, Backend, ErrorKind, HintChannel, Hints, Topic};
use stent_redis::RedisHints;

use crate::server::Server;
use crate::support::{Warnings, hinted, is_hinted, new_id, open, start, write};

/// The stream of the tests' namespace.
const STREAM: &str = "stent:{test}:hints";

#[tokio::test]
async fn a_hint_that_comes_between_check_and_wait_is_not_lost() {
    let server = Server::start(&[]);
    let (mine, yours) = (open(&server.options()).await, open(&server.options()).await);
    let mut listener = yours.listen(Topic::Work);
    let mut beside = yours.listen(Topic::Work);
    assert!(!is_hinted(&mut *listener).await);

    write(&mine, new_id()).await.expect("writes");

    // The other listener shows that the hint has arrived, while this listener was not waiting.
    hinted(&mut *beside).await;
    assert!(is_hinted(&mut *listener).await);
    assert!(!is_hinted(&mut *listener).await, "one hint is one hint");
}

#[tokio::test]
async fn a_server_that_comes_back_hints_at_what_may_have_been_missed() {
    let mut server = Server::start(&[]);
    let store = open(&server.options()).await;
    let (mut work, mut ended) = (store.listen(Topic::Work), store.listen(Topic::Ended));

    server.kill();
    server.run().expect("it comes up again");

    hinted(&mut *work).await;
    hinted(&mut *ended).await;
    let other = open(&server.options()).await;
    write(&other, new_id()).await.expect("writes");
    hinted(&mut *work).await;
}

#[tokio::test]
async fn hints_reach_other_handles_and_not_their_sender() {
    // Hints may be lost, so the server needs no durability.
    let server = Server::start(&[("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")]);
    let mine = RedisHints::open(&server.options()).await.expect("connects");
    let yours = RedisHints::open(&server.options()).await.expect("connects");
    let (mut own, mut own_ended) = (mine.listen(Topic::Work), mine.listen(Topic::Ended));
    let (mut work, mut ended) = (yours.listen(Topic::Work), yours.listen(Topic::Ended));

    mine.notify(Topic::Work);
    hinted(&mut *work).await;
    assert!(!is_hinted(&mut *ended).await);

    mine.notify(Topic::Ended);
    hinted(&mut *ended).await;
    yours.notify(Topic::Work);
    hinted(&mut *own).await;
    // It has read its own entry by now, which comes before that of the other handle.
    assert!(!is_hinted(&mut *own_ended).await, "its own hints are not told");
}

#[tokio::test]
async fn a_store_in_front_tells_changes_and_hears_both_sides() {
    let server = Server::start(&[]);
    let hints = Server::start(&[("appendonly", "no")]);
    let mine = RedisHints::open(&hints.options()).await.expect("connects");
    let yours = RedisHints::open(&hints.options()).await.expect("connects");
    let mut told = yours.listen(Topic::Work);
    let store = Announced::new(open(&server.options()).await, Arc::new(mine));
    let mut heard = Hints::listen(&store, Topic::Work);
    let mut by_store = Hints::listen(&store, Topic::Ended);

    Backend::exchange(&store, &[start(new_id())], None).await.expect("writes");
    hinted(&mut *told).await;
    hinted(&mut *heard).await;
    yours.notify(Topic::Ended);
    hinted(&mut *by_store).await;
}

#[tokio::test]
async fn an_outage_is_counted_and_warned_of_once_and_what_could_not_be_told_is_told_after_it() {
    let lines = Warnings::and_news();
    let said = |word: &str| lines.lines().iter().filter(|line| line.contains(word)).count() as u64;
    let mut server = Server::start(&[("appendonly", "no")]);
    let mine = RedisHints::open(&server.options()).await.expect("connects");
    let yours = RedisHints::open(&server.options()).await.expect("connects");
    for outage in 1..=2 {
        server.kill();
        mine.notify(Topic::Work);
        assert_eq!(mine.outages(outage - 1).await, outage);
        assert_eq!(yours.outages(outage - 1).await, outage);

        server.run().expect("it comes up again");

        // The server has lost the stream, so an entry is the one that could not be sent. Then both handles work again.
        while server.ask::<u64>(&["XLEN", STREAM]) == 0 || said("again") < 2 * outage {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((said("WARN"), said("again")), (2 * outage, 2 * outage), "{:?}", lines.lines());
    }
}

#[tokio::test]
async fn a_connection_that_breaks_alone_is_no_outage() {
    let warnings = Warnings::new();
    let server = Server::start(&[("appendonly", "no")]);
    let mine = RedisHints::open(&server.options()).await.expect("connects");
    let yours = RedisHints::open(&server.options()).await.expect("connects");
    for _ in 0..3 {
        let (mut by_you, mut by_me) = (mine.listen(Topic::Work), yours.listen(Topic::Work));
        let _: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        for (from, to) in [(&mine, &mut by_me), (&yours, &mut by_you)] {
            // A new connection hints at what may have been missed.
            hinted(&mut **to).await;
            from.notify(Topic::Work);
            hinted(&mut **to).await;
        }
    }
    assert_eq!(warnings.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_store_works_while_hints_are_down() {
    let server = Server::start(&[]);
    let mut down = Server::prepare(&[]);
    let hints = RedisHints::open(&down.options()).await.expect("a server may come later");
    let store = Announced::new(open(&server.options()).await, Arc::new(hints));

    for _ in 0..100 {
        Backend::exchange(&store, &[start(new_id())], None).await.expect("writes");
    }

    down.run().expect("it comes up");
    let other = RedisHints::open(&down.options()).await.expect("connects");
    let mut told = other.listen(Topic::Work);
    Backend::exchange(&store, &[start(new_id())], None).await.expect("writes");
    hinted(&mut *told).await;
}

#[tokio::test]
async fn the_stream_stays_short() {
    let server = Server::start(&[("appendonly", "no")]);
    let hints = RedisHints::open(&server.options()).await.expect("connects");
    let fill = "for i = 1, 5000 do redis.call('XADD', KEYS[1], '*', 't', 'w') end";
    let () = server.ask(&["EVAL", fill, "1", STREAM]);
    let other = RedisHints::open(&server.options()).await.expect("connects");
    let mut told = other.listen(Topic::Work);

    hints.notify(Topic::Work);

    hinted(&mut *told).await;
    let entries: u64 = server.ask(&["XLEN", STREAM]);
    // The server trims whole nodes of the stream, with 100 entries each.
    assert!((1_000..=1_100).contains(&entries), "{entries}");
}

#[tokio::test]
async fn many_notifications_become_few_entries() {
    let server = Server::start(&[("appendonly", "no")]);
    let mine = RedisHints::open(&server.options()).await.expect("connects");
    let yours = RedisHints::open(&server.options()).await.expect("connects");
    let (mut work, mut ended) = (yours.listen(Topic::Work), yours.listen(Topic::Ended));

    for _ in 0..10_000 {
        mine.notify(Topic::Work);
        mine.notify(Topic::Ended);
    }

    hinted(&mut *work).await;
    hinted(&mut *ended).await;
    mine.close().await;
    assert_eq!(server.ask::<u64>(&["XLEN", STREAM]), 1);
}

#[tokio::test]
async fn a_handle_that_closes_sends_its_last_hint_first() {
    let server = Server::start(&[("appendonly", "no")]);
    let mine = RedisHints::open(&server.options()).await.expect("connects");
    let yours = RedisHints::open(&server.options()).await.expect("connects");
    let mut told = yours.listen(Topic::Work);

    mine.notify(Topic::Work);
    mine.close().await;

    assert_eq!(server.ask::<u64>(&["XLEN", STREAM]), 1);
    hinted(&mut *told).await;
    mine.close().await;
}

#[tokio::test]
async fn a_wrong_url_and_a_refused_login_are_errors_that_name_the_hints() {
    let error = RedisHints::connect("postgres://db/orders").await.expect_err("not of Redis");
    assert_eq!(error.kind(), ErrorKind::Config);
    let said = error.to_string();
    assert!(
        said.starts_with("connect hints: configuration is invalid: the URL does not begin with"),
        "{said}"
    );

    let server = Server::start(&[("requirepass", "secret")]);
    let error = RedisHints::connect(&format!("redis://:wrong@127.0.0.1:{}", server.port())).await;
    let error = error.expect_err("the password is wrong");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().starts_with("connect hints: "), "{error}");
}

#[tokio::test]
async fn a_handle_that_is_dropped_or_closed_leaves_no_connection() {
    let server = Server::start(&[]);
    let mut admin = server.admin();
    let mut connections = || {
        let list: String = crate::server::ask(&mut admin, &["CLIENT", "LIST"]);
        list.lines().filter(|line| line.contains("name=stent ")).count()
    };
    let (dropped, closed) = (open(&server.options()).await, open(&server.options()).await);
    let hints = RedisHints::open(&server.options()).await.expect("connects");
    let listener = dropped.listen(Topic::Work);
    assert_eq!(connections(), 6, "one for calls and one for hints, of each");

    drop((dropped, hints));
    Backend::close(&*closed).await.expect("closes");

    while connections() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    drop((listener, closed));
}
