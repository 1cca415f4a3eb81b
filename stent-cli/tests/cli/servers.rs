//! The same commands on every store: a cross-section of what the other tests try on SQLite.

use serde_json::{Value, json};

use crate::namespace::Namespace;
use crate::program::{self, Ran};
use crate::schema::Schema;
use crate::shop::{ASKED, DECLINED, LATER, PAID, Shop, fill, id, open, run};

/// Runs the commands on an empty store, and returns what they said in so far as it must be the same everywhere.
fn cross_section(url: &str) -> Vec<Value> {
    let stent = |args: &[&str]| -> Ran { program::on(url, args) };
    let json = |args: &[&str]| stent(&[args, &["--output", "json"]].concat()).json();
    let pick = |list: &Value, field: &str| -> Value {
        list.as_array().expect("a list").iter().map(|one| one[field].clone()).collect()
    };
    let mut said = Vec::new();

    stent(&["migrate"]).ok();
    assert_eq!(json(&["list"]), json!([]));
    run(fill(url));
    said.push(pick(&json(&["list"]), "id"));
    said.push(pick(&json(&["list", "--status", "failed", "--function", "checkout"]), "id"));
    said.push(pick(&json(&["list", "--tag", "eu"]), "id"));
    said.push(pick(&json(&["list", "--limit", "2", "--offset", "1"]), "id"));
    said.push(json(&["stats"])["executions"].clone());
    said.push(json(&["queues"]));
    let shown = json(&["show", &id(DECLINED), "--payloads"]);
    said.push(json!([
        pick(&shown["tasks"], "name"),
        pick(&shown["tasks"], "status"),
        shown["failure"],
        shown["args"]
    ]));
    said.push(json(&["show", &id(ASKED)])["counters"].clone());
    said.push(json(&["dlq", "stats"]));

    stent(&["signal", &id(ASKED), "approval", "\"kim\""]).ok();
    let started = json(&["dispatch", "reserve", "5", "--key", "five"])["id"].clone();
    assert_eq!(json(&["dispatch", "reserve", "5", "--key", "five"])["id"], started);
    run(async {
        let stent = open(url).await;
        let worker = stent.worker().start().await.expect("a worker");
        let asked = stent.wait_for(id(ASKED).parse().expect("an id")).timeout("30s").await.expect("approved");
        let five = started.as_str().expect("an id").parse().expect("an id");
        let five = stent.wait_for(five).timeout("30s").await.expect("reserved");
        said.push(asked.decode().expect("a text"));
        said.push(five.decode().expect("a number"));
        worker.drain().await.expect("drained");
        stent.close().await.expect("closed");
    });
    said.push(json(&["cancel", "--queue", "slow", "--yes"]));
    said.push(json(&["retry", &id(DECLINED)]));
    said.push(json(&["cancel", &id(DECLINED), "--no-grace"]));
    let dry = json(&["cleanup", "--older-than", "1us", "--dry-run"]);
    let gone = json(&["cleanup", "--older-than", "1us", "--yes"]);
    assert_eq!((&dry["executions"], &dry["dead_letters"]), (&gone["executions"], &gone["dead_letters"]));
    said.push(gone["executions"].clone());
    said.push(json(&["list"]));

    stent(&["show", &id(PAID)]).fails(3);
    stent(&["cancel", &id(LATER)]).fails(3);
    stent(&["doctor"]).ok();
    stent(&["watch", "--count", "1"]).ok();
    said
}

#[test]
fn postgres_and_redis_answer_as_sqlite_does() {
    let (shop, schema, namespace) = (Shop::empty(), Schema::new(), Namespace::new());

    let sqlite = cross_section(&shop.url);

    assert_eq!(sqlite[0], json!([id(LATER), id(ASKED), id(DECLINED), id(PAID)]));
    assert_eq!(cross_section(&schema.url()), sqlite, "Postgres");
    assert_eq!(cross_section(&namespace.url()), sqlite, "Redis");
}

#[test]
fn a_schema_that_does_not_exist_is_not_created_by_a_read() {
    let schema = Schema::new();
    let stderr = program::on(&schema.url(), &["list"]).fails(4);
    assert!(stderr.contains("has no tables of Stent"), "{stderr}");
    // The second read would find what the first one had created.
    program::on(&schema.url(), &["stats"]).fails(4);
    let dry = program::on(&schema.url(), &["migrate", "--dry-run", "--output", "json"]).json();
    assert_eq!(dry["applied"], 0);
    program::on(&schema.url(), &["list"]).fails(4);
    program::on(&schema.url(), &["migrate"]).ok();
    assert_eq!(program::on(&schema.url(), &["list"]).ok(), "");
}

#[test]
fn a_namespace_of_redis_that_nobody_has_used_is_an_empty_store() {
    let namespace = Namespace::new();
    assert_eq!(program::on(&namespace.url(), &["list"]).ok(), "");
    let stats = program::on(&namespace.url(), &["stats", "--output", "json"]).json();
    assert_eq!((&stats["executions"]["pending"], &stats["dead_letters"]), (&0.into(), &0.into()));
    let page = std::fs::read_to_string("../docs/guide/command-line.md").expect("the page");
    assert!(page.contains("a namespace that nobody has used is an empty store"), "the guide says so");
}
