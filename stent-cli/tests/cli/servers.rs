//! The same commands on every store: a cross-section of what the other tests try on SQLite.

use std::io::{self, BufRead as _, BufReader};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
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
fn a_database_that_does_not_exist_is_unreachable_for_every_command() {
    let url = Schema::new().url();
    let (server, parameters) = url.split_once('?').expect("it names a schema");
    let missing = format!("{server}_that_nobody_has?{parameters}");
    for command in ["list", "doctor", "workers"] {
        let stderr = program::on(&missing, &[command]).fails(4);
        assert!(stderr.contains("the database does not exist"), "{command}: {stderr}");
    }
}

/// A user of the server for one test.
struct Role {
    server: String,
    name: String,
}

impl Role {
    fn new(schema: &Schema) -> Self {
        let role = Self {
            server: schema.url_with("application_name=a_test"),
            name: format!("role_of_{}", schema.name()),
        };
        role.run(&format!("CREATE ROLE {}", role.name));
        role
    }

    fn run(&self, statements: &str) {
        crate::schema::clean_up(&self.server, statements.to_owned());
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.run(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name));
    }
}

#[test]
fn a_privilege_that_is_missing_is_named_with_the_grant_and_no_table_is_said_to_be_missing() {
    let schema = Schema::new();
    program::on(&schema.url(), &["migrate"]).ok();
    let role = Role::new(&schema);
    // The role that the session assumes, as `SET ROLE` does.
    let url = format!("{}&options=-c%20role%3D{}", schema.url(), role.name);
    let (name, user) = (schema.name(), &role.name);

    let checked = program::on(&url, &["doctor"]);
    let stderr = program::on(&url, &["list"]).fails(4);

    let usage = format!("GRANT USAGE ON SCHEMA {name} TO {user}");
    let tables = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {user}");
    let said =
        format!("problem  privileges: the user {user} lacks USAGE on the schema {name}, DELETE on stent_");
    assert!(checked.stdout.contains(&said), "{checked:?}");
    assert!(checked.stdout.contains(&format!("→ workers need them all: {usage}; {tables}")), "{checked:?}");
    assert!(!checked.stdout.contains("migrate`"), "the tables are there: {checked:?}");
    assert_eq!(checked.fails(1), "error: 1 problem found\n");
    let said = format!("the user {user} lacks USAGE on the schema {name}: {usage}; {tables}");
    assert!(stderr.contains(&said), "{stderr}");

    role.run(&usage);
    let stderr = program::on(&url, &["list"]).fails(4);
    assert!(
        stderr.contains(&format!("lacks SELECT on the table {name}.stent_migration: {tables}")),
        "{stderr}"
    );

    role.run(&format!("{tables}; REVOKE SELECT ON {name}.stent_task FROM {user}"));
    let stderr = program::on(&url, &["list"]).fails(1);
    assert!(
        stderr.contains("the user lacks a privilege: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"),
        "{stderr}"
    );
    assert!(stderr.contains("permission denied for table stent_task"), "{stderr}");

    role.run(&tables);
    program::on(&url, &["list"]).ok();
    program::on(&url, &["doctor"]).ok();
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

/// A wire to a server that can be cut and mended.
#[derive(Debug)]
struct Wire {
    port: u16,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let wire = Self { port, is_cut: Arc::default(), open: Arc::default() };
        let (is_cut, open) = (Arc::clone(&wire.is_cut), Arc::clone(&wire.open));
        // The thread ends with the test program.
        thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let mut open = open.lock().expect("not poisoned");
                // Checked under the lock, so that no stream misses the cut.
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(there) = TcpStream::connect(&server) else { continue };
                for (from, to) in [(&here, &there), (&there, &here)] {
                    let (mut from, mut to) =
                        (from.try_clone().expect("a stream"), to.try_clone().expect("a stream"));
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                open.extend([here, there]);
            }
        });
        wire
    }

    fn cut(&self) {
        let mut open = self.open.lock().expect("not poisoned");
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

#[test]
fn a_watch_outlives_an_outage_and_says_how_long_it_lasts() {
    let namespace = Namespace::new();
    let url = namespace.url();
    // `redis://user:password@HOST:PORT/?…`
    let before = url.rfind('@').map_or_else(|| url.find("://").expect("a scheme") + 3, |at| at + 1);
    let after = url[before..].find(['/', '?']).map_or(url.len(), |at| before + at);
    let server = &url[before..after];
    let server = if server.contains(':') { server.to_owned() } else { format!("{server}:6379") };
    let wire = Wire::to(server);
    let through = format!("{}127.0.0.1:{}{}", &url[..before], wire.port, &url[after..]);
    let mut command = program::stent();
    command.env("STENT_STORE", through).args(["watch", "--interval", "100ms", "--output", "jsonl"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut until = |is_so: &dyn Fn(&Value) -> bool| -> Value {
        let lines = lines.by_ref().map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"));
        lines.into_iter().find(|line| is_so(line)).expect("it goes on")
    };

    until(&|line| line["executions"].is_object());
    wire.cut();
    let silent = until(&|line| line["error"].is_string());
    let later = until(&|line| line["error"].is_string() && line["at"] != silent["at"]);
    wire.mend();
    until(&|line| line["executions"].is_object());

    assert_eq!(later["silent_since"], silent["silent_since"], "one outage");
    kill_process(Pid::from_child(&child), Signal::INT).expect("interrupted");
    assert_eq!(child.wait().expect("its end").code(), Some(0));
}
