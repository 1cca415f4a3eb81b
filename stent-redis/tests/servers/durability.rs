//! The requirements on a server's settings, and the errors and warnings about them.

use stent_core::backend::{Backend, ErrorKind};
use stent_redis::Durability;

use crate::server::Server;
use crate::support::{Warnings, open, refused, works};

#[tokio::test]
async fn a_server_that_writes_always_is_taken_in_silence() {
    let server = Server::start(&[]);
    let warnings = Warnings::new();

    works(&*open(&server.options()).await).await;

    assert_eq!(warnings.lines(), [""; 0]);
}

#[tokio::test]
async fn one_warning_says_what_a_lazier_server_may_lose() {
    for (fsync, said) in [("everysec", "may lose the last two seconds"), ("no", "may lose half a minute")] {
        let mut server = Server::start(&[("appendfsync", fsync)]);
        let warnings = Warnings::new();

        let store = open(&server.options()).await;
        works(&store).await;
        server.kill();
        server.run().expect("it comes up again");
        crate::support::heals(&store).await;

        let lines = warnings.lines();
        let of_disk: Vec<_> = lines.iter().filter(|line| line.contains("append-only file")).collect();
        assert_eq!(of_disk.len(), 1, "{lines:?}");
        assert!(of_disk[0].contains(said) && of_disk[0].contains("set appendfsync always"), "{lines:?}");
    }
}

#[tokio::test]
async fn a_server_without_an_append_only_file_is_refused_unless_nothing_is_asked_of_it() {
    let server = Server::start(&[("appendonly", "no")]);
    let warnings = Warnings::new();

    let said = refused(&server.options()).await;
    assert!(said.contains("keeps no append-only file (appendonly no)"), "{said}");
    assert!(
        said.contains(&format!("127.0.0.1:{}/0", server.port())) && said.contains("durability=none"),
        "{said}"
    );

    works(&*open(&server.options().durability(Durability::None)).await).await;
    assert_eq!(warnings.lines(), [""; 0]);
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = Server::start(&[("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")]);

    for durability in [Durability::Aof, Durability::None] {
        let said = refused(&server.options().durability(durability)).await;
        assert!(said.contains("maxmemory-policy allkeys-lru"), "{said}");
    }
}

#[tokio::test]
async fn a_replica_is_refused_and_its_primary_named() {
    let primary = Server::start(&[]);
    let port = primary.port().to_string();
    let replica = Server::start(&[("replicaof", &format!("127.0.0.1\" \"{port}"))]);

    let said = refused(&replica.options()).await;

    assert!(said.contains(&format!("is a replica of 127.0.0.1:{port}")), "{said}");
}

#[tokio::test]
async fn a_server_that_was_named_from_outside_is_taken() {
    let Ok(url) = std::env::var("STENT_REDIS_URL") else {
        println!("STENT_REDIS_URL names no server; every other test has started one");
        return;
    };
    let options: stent_redis::RedisOptions = url.parse().expect("STENT_REDIS_URL is a URL of Redis");
    let options = options.namespace(uuid::Uuid::new_v4().simple().to_string());
    works(&*open(&options).await).await;
}

#[tokio::test]
async fn a_copy_is_made_on_the_server() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;

    let error = store.backup_to(std::path::Path::new("copy.rdb")).await.expect_err("it cannot");

    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("run BGSAVE there and copy the file dump.rdb"), "{error}");
}
