//! `stent watch`, which draws on a terminal and leaves it as it was, and `stent doctor`.

use std::io::Read as _;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sea_orm::ConnectionTrait as _;
use serde_json::Value;
use stent::view::WorkerRecord;
use stent::{Uuid, WorkerId, WorkerState};

use crate::fitting::{Terminal, read_to_end};
use crate::program::stent;
use crate::shop::{Shop, id, open, run};

const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

#[test]
fn each_reading_is_a_line_of_json_or_a_text_without_a_terminal() {
    let shop = Shop::open();
    let lines = shop.stent(&["watch", "--count", "2", "--interval", "100ms", "--output", "jsonl"]).ok();

    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!((&line["executions"]["failed"], &line["executions"]["running"]), (&1.into(), &1.into()));
        assert_eq!(line["recent"].as_array().map(Vec::len), Some(4), "also when nothing has changed");
    }
    assert_eq!((&lines[0]["ended_per_minute"], &lines[1]["ended_per_minute"]), (&Value::Null, &0.0.into()));
    let text = shop.stent(&["watch", "--count", "1"]).ok();
    assert!(text.starts_with("stent watch") && !text.contains('\u{1b}'), "{text}");
    assert!(text.contains(&id(1)), "{text}");
    assert!(
        text.contains("- ended a minute (from the second reading on), ") && !text.contains('…'),
        "{text}"
    );
    let text = shop.stent(&["watch", "--count", "2", "--interval", "100ms"]).ok();
    assert!(text.contains("\n0 ended a minute, ") && !text.contains('…'), "{text}");
    let stderr = shop.stent(&["watch", "--interval", "1ms"]).fails(2);
    assert!(stderr.contains("use at least 100ms"), "{stderr}");
}

#[test]
fn the_terminal_is_left_as_it_was_also_after_ctrl_c() {
    let shop = Shop::open();
    let watch = |args: &[&str]| {
        let mut command = stent();
        command.env("STENT_STORE", &shop.url).arg("watch").args(args);
        Terminal::new(40, 12).start(&mut command)
    };

    let (mut child, mut screen) = watch(&["--count", "1"]);
    let shown = read_to_end(&mut screen);
    assert!(child.wait().expect("its end").success());
    assert!(shown.starts_with(ENTER) && shown.ends_with(LEAVE), "{shown:?}");
    let frame = shown.trim_start_matches(ENTER).trim_end_matches(LEAVE);
    assert!(frame.matches("\r\n").count() < 12, "it fits the terminal, and does not scroll: {frame:?}");

    let (mut child, mut screen) = watch(&["--interval", "1h"]);
    let (mut shown, mut bytes) = (String::new(), [0; 4096]);
    // The end of the first frame: now it waits for the next reading.
    while !shown.contains("\u{1b}[J") {
        let read = screen.read(&mut bytes).expect("a frame");
        shown += &String::from_utf8_lossy(&bytes[..read]);
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("interrupted");
    shown += &read_to_end(&mut screen);
    assert_eq!(child.wait().expect("its end").code(), Some(0), "this is the way to end it");
    assert!(shown.ends_with(LEAVE), "{shown:?}");
    assert!(!shop.is_open(), "the store was closed");
}

#[test]
fn a_healthy_store_passes_and_dead_letters_are_a_warning() {
    let shop = Shop::open();

    let checked = shop.stent(&["doctor"]).ok();

    for said in [
        "ok       store: sqlite at ",
        "ok       schema: all ",
        "ok       clock: ",
        "ok       leases: 0 tasks",
    ] {
        assert!(checked.contains(said), "{said}: {checked}");
    }
    assert!(checked.contains("warning  dead letters: 1 dead letter"), "{checked}");
    assert!(checked.contains("→ `stent dlq stats` shows"), "{checked}");
    let strict = shop.stent(&["doctor", "--strict"]).fails(1);
    assert!(strict.contains("error: 1 warning found"), "{strict}");
    shop.stent(&["dispatch", "unknown_function", "1"]).ok();
    let both = shop.stent(&["doctor", "--strict", "--patience", "1us"]).fails(1);
    assert!(both.contains("error: 1 problem and 1 warning found"), "{both}");
    let json = shop.stent(&["doctor", "--output", "json"]).json();
    let checks =
        json.as_array().expect("a list").iter().map(|finding| finding["check"].as_str().expect("a name"));
    let all = [
        "store",
        "schema",
        "indexes",
        "log",
        "lock",
        "space",
        "clock",
        "workers",
        "leases",
        "work",
        "deadlines",
        "dead letters",
    ];
    assert_eq!(checks.collect::<Vec<_>>(), all);
}

#[test]
fn work_that_nobody_takes_is_a_problem_with_a_remedy() {
    let shop = Shop::open();
    shop.stent(&["dispatch", "unknown_function", "1", "--queue", "lost"]).ok();

    let checked = shop.stent(&["doctor", "--patience", "1us"]);

    assert!(checked.stdout.contains("problem  work: work is due since "), "{checked:?}");
    let said = "unknown_function on queue lost (1 due; no live worker knows it)";
    assert!(checked.stdout.contains(said), "{checked:?}");
    assert!(checked.stdout.contains("→ start workers that know these functions"), "{checked:?}");
    assert!(checked.fails(1).contains("1 problem found"));
    shop.stent(&["doctor", "--patience", "1h"]).ok();
}

#[test]
fn an_index_that_is_missing_and_a_worker_that_died_are_found() {
    let shop = Shop::open();
    run(async {
        let stent = open(&shop.url).await;
        let now = stent.store().clock().await.expect("the time");
        let record = |n: u128, name: &str| {
            let mut record = WorkerRecord::new(WorkerId::from_uuid(Uuid::from_u128(n)), name.to_owned(), now);
            (record.state, record.functions) = (WorkerState::Ready, vec!["charge".to_owned()]);
            record
        };
        let mut silent = record(1, "silent");
        silent.seen_at = now - Duration::from_secs(600);
        let mut picky = record(2, "picky");
        picky.queues = Some(vec!["mail".to_owned()]);
        for record in [silent, picky] {
            stent.store().report(&record).await.expect("reported");
        }
        stent.close().await.expect("closed");
        let file = sea_orm::Database::connect(&shop.url).await.expect("the file");
        file.execute_unprepared("DROP INDEX stent_task_ready").await.expect("dropped");
        file.close().await.expect("closed");
    });
    shop.stent(&["dispatch", "charge", "1", "--queue", "payments"]).ok();

    let checked = shop.stent(&["doctor", "--patience", "1us"]);

    for said in [
        "problem  indexes: missing: stent_task_ready",
        "warning  workers: 1 worker alive, 1 lost within 1h: silent",
        "charge on queue payments (1 due; no live worker that knows it serves the queue and tags)",
    ] {
        assert!(checked.stdout.contains(said), "{said}: {checked:?}");
    }
    assert!(
        checked
            .stdout
            .contains("to do it yourself, one statement at a time: CREATE INDEX \"stent_task_ready\" ON "),
        "{checked:?}"
    );
    assert!(checked.fails(1).contains("2 problems found"));

    let dry = shop.stent(&["migrate", "--dry-run"]).ok();
    assert!(dry.ends_with("before; would create missing indexes again: stent_task_ready\n"), "{dry}");
    let migrated = shop.stent(&["migrate"]).ok();
    let said = "before; created missing indexes again: stent_task_ready\n";
    assert!(migrated.ends_with(said), "{migrated}");
    assert!(shop.stent(&["doctor"]).stdout.contains("ok       indexes: all "));
    assert!(shop.stent(&["migrate"]).ok().ends_with("before\n"));
}

#[test]
fn a_table_that_was_dropped_is_a_finding_and_hides_no_other() {
    let shop = Shop::open();
    shop.stent(&["dispatch", "charge", "1", "--queue", "payments"]).ok();
    run(async {
        let file = sea_orm::Database::connect(&shop.url).await.expect("the file");
        file.execute_unprepared("DROP TABLE stent_worker").await.expect("dropped");
        file.close().await.expect("closed");
    });

    let checked = shop.stent(&["doctor", "--patience", "1us"]);

    for said in [
        "problem  workers: ",
        "→ a table was dropped, and its data with it: restore a backup",
        "problem  work: work is due since ",
        "warning  dead letters: 1 dead letter",
    ] {
        assert!(checked.stdout.contains(said), "{said}: {checked:?}");
    }
    checked.fails(1);
    let migrated = shop.stent(&["migrate"]).fails(1);
    assert!(!migrated.contains("check that the server runs"), "{migrated}");
}

#[test]
fn a_lock_that_another_process_holds_is_found() {
    let shop = Shop::open();
    let url = format!("{}?busy_timeout=100ms", shop.url);

    let checked = run(async {
        let file = sea_orm::Database::connect(&shop.url).await.expect("the file");
        let held = sea_orm::TransactionTrait::begin(&file).await.expect("a transaction");
        held.execute_unprepared("UPDATE stent_lane SET queue = queue").await.expect("locked");
        let checked = crate::program::on(&url, &["doctor"]);
        let patient = format!("{}?busy_timeout=60s", shop.url);
        for reads in
            [&["list"][..], &["stats"], &["show", &crate::shop::id(crate::shop::PAID)], &["dlq", "list"]]
        {
            let began = std::time::Instant::now();
            crate::program::on(&patient, reads).ok();
            assert!(began.elapsed() < Duration::from_secs(50), "{reads:?} does not wait for the lock");
        }
        held.rollback().await.expect("rolled back");
        checked
    });

    assert!(
        checked.stdout.contains("problem  lock: ") && checked.stdout.contains("has held the write lock"),
        "{checked:?}"
    );
    assert!(
        checked.stdout.contains("→ find the process that holds it, for example with `fuser "),
        "{checked:?}"
    );
    assert!(checked.stdout.contains("ok       work: "), "the rest is examined, too: {checked:?}");
    assert_eq!(checked.fails(1), "error: 1 problem found\n");
}
