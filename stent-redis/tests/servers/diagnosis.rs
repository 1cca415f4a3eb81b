//! A store examines its server, also after the server's settings have changed.

use stent_core::backend::{Finding, Inspect, Verdict};
use stent_redis::RedisStore;

use crate::server::Server;
use crate::support::open;

/// The checks that found something.
async fn bad(store: &RedisStore) -> Vec<Finding> {
    let findings = store.diagnose().await.expect("examines");
    findings.into_iter().filter(|finding| finding.verdict != Verdict::Ok).collect()
}

fn checks(findings: &[Finding]) -> Vec<(&str, Verdict)> {
    findings.iter().map(|finding| (finding.check.as_str(), finding.verdict)).collect()
}

#[tokio::test]
async fn a_server_that_is_set_up_well_passes_every_check() {
    let server = Server::start(&[("maxmemory", "1gb")]);
    let store = open(&server.options()).await;

    let findings = store.diagnose().await.expect("examines");

    let all = ["role", "durability", "append-only file", "eviction", "memory", "keys"]
        .map(|check| (check, Verdict::Ok));
    assert_eq!(checks(&findings), all, "{findings:?}");
}

#[tokio::test]
async fn settings_that_became_dangerous_are_found() {
    let server = Server::start(&[("maxmemory", "1gb")]);
    let store = open(&server.options()).await;
    let set = |name: &str, value: &str| server.ask::<String>(&["CONFIG", "SET", name, value]);

    set("maxmemory-policy", "allkeys-lru");
    assert_eq!(checks(&bad(&store).await), [("eviction", Verdict::Problem)]);
    set("maxmemory-policy", "noeviction");
    set("appendfsync", "everysec");
    assert_eq!(checks(&bad(&store).await), [("durability", Verdict::Warning)]);
    set("appendfsync", "always");
    set("maxmemory", "600kb");
    let full = bad(&store).await;
    assert_eq!(checks(&full), [("memory", Verdict::Problem)], "{full:?}");
    assert!(full[0].remedy.contains("stent cleanup"), "{full:?}");
    set("maxmemory", "1gb");
    set("appendonly", "no");
    assert_eq!(checks(&bad(&store).await), [("durability", Verdict::Warning)]);
}

#[tokio::test]
async fn a_key_that_another_program_has_overwritten_is_found() {
    let server = Server::start(&[("maxmemory", "1gb")]);
    let store = open(&server.options().namespace("found")).await;
    server.ask::<String>(&["SET", "stent:{found}:due", "mine"]);

    let found = bad(&store).await;

    assert_eq!(checks(&found), [("keys", Verdict::Problem)], "{found:?}");
    assert!(found[0].what.ends_with("due\" has a string, where Stent keeps a zset"), "{found:?}");
}
