//! The commands that only read: what they show of each state, as tables and as JSON.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use stent::view::{ExportRecord, WorkerRecord};
use stent::{Uuid, WorkerId, WorkerState};

use crate::program::timeless;
use crate::shop::{ASKED, DECLINED, LATER, PAID, Shop, eventually, id, run};

/// The ids in an answer, in their order.
fn ids(listed: &Value) -> Vec<&str> {
    listed.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("an id")).collect()
}

#[test]
fn executions_are_listed_newest_first() {
    let shop = Shop::open();

    insta::assert_snapshot!("list", timeless(&shop.stent(&["list"]).ok()));

    let listed = shop.stent(&["list", "--output", "json"]).json();
    assert_eq!(ids(&listed), [id(LATER), id(ASKED), id(DECLINED), id(PAID)]);
    let lines = shop.stent(&["list", "--output", "jsonl"]).ok();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(Value::from(lines), listed, "JSON lines have the same entries");
    assert_eq!(listed[2]["failure"]["message"], "declined with code 51");
    assert_eq!(listed[1]["tags"], json!(["eu"]));
}

#[test]
fn every_filter_chooses_and_a_filter_that_matches_nothing_says_so() {
    let shop = Shop::open();
    for (filter, matched) in [
        (&["--status", "completed"][..], vec![id(PAID)]),
        (&["--status", "failed"], vec![id(DECLINED)]),
        (&["--status", "running"], vec![id(ASKED)]),
        (&["--function", "checkout"], vec![id(DECLINED), id(PAID)]),
        (&["--queue", "slow"], vec![id(LATER)]),
        (&["--tag", "eu"], vec![id(ASKED)]),
        (&["--function", "checkout", "--status", "failed", "--queue", "default"], vec![id(DECLINED)]),
    ] {
        let listed = shop.stent(&[&["list", "--output", "json"], filter].concat()).json();
        assert_eq!(ids(&listed), matched, "{filter:?}");
    }
    let none = shop.stent(&["list", "--queue", "nowhere"]);
    assert_eq!(
        (none.code, none.stdout.as_str(), none.stderr.as_str()),
        (Some(0), "", "no executions match\n")
    );
    let stderr = shop.stent(&["list", "--status", "done"]).fails(2);
    assert!(stderr.contains("timed_out"), "it lists the words: {stderr}");
}

#[test]
fn executions_are_found_by_key_and_by_the_time_of_their_dispatch() {
    let shop = Shop::empty();
    shop.stent(&["migrate"]).ok();
    let start =
        |args: &[&str]| shop.stent(&[&["dispatch", "reserve", "1"], args].concat()).ok().trim().to_owned();
    let keyed = start(&["--key", "order-7"]);
    let plain = start(&["--queue", "slow"]);
    let listed = |args: &[&str]| -> Vec<String> {
        let listed = shop.stent(&[&["list", "--output", "json"], args].concat()).json();
        ids(&listed).into_iter().map(str::to_owned).collect()
    };
    let all = [plain.clone(), keyed.clone()];
    let dispatched = shop.stent(&["show", &plain, "--output", "json"]).json()["created_at"].clone();
    let dispatched = dispatched.as_str().expect("a moment");

    assert_eq!(listed(&["--function", "reserve", "--key", "order-7"]), std::slice::from_ref(&keyed));
    assert_eq!(
        listed(&["--function", "reserve@2", "--key", "order-7"]),
        [] as [String; 0],
        "another version"
    );
    assert_eq!(listed(&["--function", "reserve", "--key", "order-8"]), [] as [String; 0]);
    assert_eq!(listed(&["--since", "1h"]), all);
    assert_eq!(listed(&["--until", "1h"]), [] as [String; 0]);
    assert_eq!(listed(&["--since", dispatched]), std::slice::from_ref(&plain), "a period has its beginning");
    assert_eq!(listed(&["--until", dispatched]), std::slice::from_ref(&keyed), "and not its end");
    assert_eq!(
        listed(&["--since", "1d", "--until", "2096-01-01T00:00:00+01:00", "--queue", "slow"]),
        [plain]
    );
    let cancelled = shop.stent(&["cancel", "--since", "1h", "--until", dispatched, "--yes"]).ok();
    assert_eq!(cancelled, format!("{keyed} is cancelled\n"));
    let dry = shop.stent(&["signal", "--since", "1h", "--dry-run", "approval"]);
    assert!(dry.stderr.contains("1 execution matches; nothing was changed"), "{dry:?}");

    for (args, said) in [
        (
            &["--since", "yesterday"][..],
            "write it like 2026-11-30T20:00:00Z, or how long ago it was, like 2h",
        ),
        (&["--until", "2026-11-30"], "or how long ago it was, like 2h"),
        (&["--key", "order-7"], "--function <NAME>"),
        (&["--since", "1h", "--until", "2h"], "durations count back from now"),
    ] {
        let stderr = shop.stent(&[&["list"], args].concat()).fails(2);
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn pages_have_no_gap_and_nothing_twice() {
    let shop = Shop::open();
    let all = shop.stent(&["list", "--output", "json"]).json();
    let all = ids(&all);

    // By a cursor, and by an offset.
    let mut cursor: Vec<String> = Vec::new();
    loop {
        let last = cursor.last().cloned();
        let mut args = vec!["list", "--limit", "1", "--output", "json"];
        args.extend(last.iter().flat_map(|last| ["--before", last.as_str()]));
        let ran = shop.stent(&args);
        let stderr = ran.stderr.clone();
        let page = ran.json();
        cursor.extend(ids(&page).into_iter().map(str::to_owned));
        if page.as_array().is_some_and(Vec::is_empty) {
            break;
        }
        let is_last = cursor.len() == all.len();
        let hint = format!("--before {}", cursor.last().expect("one"));
        assert_eq!(stderr.contains(&hint), !is_last, "it says how to go on: {stderr}");
    }
    assert_eq!(cursor, all);
    let by_offset = (0..all.len()).map(|n| {
        let page =
            shop.stent(&["list", "--limit", "1", "--offset", &n.to_string(), "--output", "json"]).json();
        ids(&page)[0].to_owned()
    });
    assert_eq!(by_offset.collect::<Vec<_>>(), all);
}

#[test]
fn a_completed_execution_is_shown_with_its_result() {
    let shop = Shop::open();

    let shown = shop.stent(&["show", &id(PAID), "--payloads", "--items"]).ok();

    insta::assert_snapshot!("show_completed", timeless(&shown));
    let json = shop.stent(&["show", &id(PAID), "--payloads", "--output", "json"]).json();
    assert_eq!(json["result"]["value"], "receipt 7: bell, packed; saddle, packed");
    assert_eq!(json["args"]["value"], json!([{ "number": 7, "parcels": ["bell", "saddle"] }]));
    assert_eq!(json["args"]["content_type"], "application/cbor");
    let hex = json["args"]["hex"].as_str().expect("the stored bytes");
    assert!(hex.starts_with("81a2"), "an array of one map: {hex}");
}

#[test]
fn a_failed_execution_is_shown_with_its_failure_and_where_it_failed() {
    let shop = Shop::open();
    insta::assert_snapshot!("show_failed", timeless(&shop.stent(&["show", &id(DECLINED)]).ok()));
}

#[test]
fn a_waiting_execution_is_shown_with_what_it_waits_for_and_what_it_said() {
    let shop = Shop::open();
    insta::assert_snapshot!("show_waiting", timeless(&shop.stent(&["show", &id(ASKED)]).ok()));
    let json = shop.stent(&["show", &id(ASKED), "--output", "json"]).json();
    assert_eq!(
        (&json["counters"]["asked"], &json["states"]["phase"]["value"]),
        (&1.into(), &"asking".into())
    );
    assert_eq!(json["progress"][0]["text"], "asked about a bike");
}

#[test]
fn a_delayed_execution_waits_only_since_it_is_due() {
    let shop = Shop::open();
    let delayed = shop.stent(&["show", &id(LATER)]).ok();
    assert!(delayed.contains("due         ") && delayed.contains("Z, in "), "{delayed}");
    assert!(delayed.contains("○ reserve  pending, due in "), "{delayed}");
    run(async {
        // As if it had been dispatched ten days ago, with a delay until a moment ago.
        let file = sea_orm::Database::connect(&shop.url).await.expect("the file");
        let since = "UPDATE stent_task SET created_at = created_at - 864000000000, ready_at = created_at WHERE queue = 'slow'";
        file.execute_unprepared(since).await.expect("changed");
        file.close().await.expect("closed");
    });
    let due = shop.stent(&["show", &id(LATER)]).ok();
    let waiting = due.lines().find(|line| line.starts_with("waiting")).expect("it waits");
    assert!(!waiting.contains("10d"), "{due}");
    let pending = due.lines().last().expect("a task");
    assert!(pending.starts_with("○ reserve  pending for ") && !pending.contains("10d"), "{due}");
}

#[test]
fn a_limit_counts_only_tasks_that_are_shown() {
    let shop = Shop::open();
    let tasks = |args: &[&str]| {
        let ran = shop.stent(&[&["show", &id(PAID), "--output", "json"], args].concat());
        let hinted = ran.stderr.contains("--limit shows more");
        let json = ran.json();
        let tasks = json["tasks"].as_array().map(Vec::len);
        assert_eq!(json["tasks_cut"], hinted);
        (tasks, hinted)
    };

    assert_eq!(tasks(&[]), (Some(4), false));
    assert_eq!(tasks(&["--limit", "4"]), (Some(4), false), "the items of the map are hidden");
    assert_eq!(tasks(&["--limit", "3"]), (Some(3), true));
    assert_eq!(tasks(&["--limit", "4", "--items"]), (Some(4), true));
    assert_eq!(tasks(&["--limit", "6", "--items"]), (Some(6), false));
}

#[test]
fn a_timeline_has_a_bar_for_each_task() {
    let shop = Shop::open();

    let drawn = shop.stent(&["show", &id(PAID), "--timeline"]).ok();

    let bars: Vec<_> = drawn.lines().skip_while(|line| !line.starts_with("TIMELINE")).skip(1).collect();
    let names = ["checkout", "reserve", "charge", "map pack"];
    assert_eq!(bars.len(), names.len(), "{drawn}");
    for (bar, name) in bars.iter().zip(names) {
        assert!(bar.contains(name) && bar.contains('█'), "{bar}");
        assert!(bar.chars().count() <= 100, "{bar}");
    }
}

#[test]
fn one_task_is_shown_with_its_history() {
    let shop = Shop::open();
    let tasks = shop.stent(&["tasks", "--execution", &id(DECLINED), "--output", "json"]).json();
    let charge =
        tasks.as_array().expect("tasks").iter().find(|task| task["name"] == "charge").expect("it ran");
    let charge = charge["id"].as_str().expect("an id");

    let shown = shop.stent(&["show", &id(DECLINED), "--task", charge, "--payloads"]).ok();

    assert!(shown.contains("name       charge") && shown.contains("args    [13]"), "{shown}");
    assert!(shown.contains("declined with code 51"), "{shown}");
    let json = shop.stent(&["show", &id(DECLINED), "--task", charge, "--output", "json"]).json();
    assert_eq!((&json["attempts"], &json["history"][0]["end"]), (&1.into(), &"failed".into()));
    let stderr = shop.stent(&["show", &id(PAID), "--task", charge]).fails(3);
    assert!(stderr.contains(&format!("execution {} has no task {charge}", id(PAID))), "{stderr}");
}

#[test]
fn an_execution_that_is_none_is_not_found_and_an_id_that_is_none_is_wrong_use() {
    let shop = Shop::open();
    let stderr = shop.stent(&["show", &id(99)]).fails(3);
    assert!(stderr.contains(&id(99)) && stderr.contains("hint: `stent list`"), "{stderr}");
    for command in ["show", "cancel", "retry"] {
        let stderr = shop.stent(&[command, "order-7"]).fails(2);
        assert!(stderr.contains("'order-7'") && stderr.contains("ids look like"), "{stderr}");
    }
}

#[test]
fn the_first_characters_of_an_id_are_enough_if_only_one_begins_so() {
    let shop = Shop::open();
    let started = shop.stent(&["dispatch", "reserve", "1"]).ok();
    let started = started.trim();
    let asked = id(ASKED);

    for (prefix, whole) in [(&started[..8], started), (&started[..20], started), (&asked[..], &asked[..])] {
        let shown = shop.stent(&["show", prefix, "--output", "json"]).json();
        assert_eq!(shown["id"], whole, "{prefix}");
    }
    let bare = started.replace('-', "").to_uppercase();
    assert_eq!(
        shop.stent(&["show", &bare[..32], "--output", "json"]).json()["id"],
        started,
        "without dashes"
    );
    assert!(shop.stent(&["tasks", "--execution", &started[..13]]).ok().contains("reserve"));
    assert!(shop.stent(&["export", &started[..13]]).ok().contains(started));
    shop.stent(&["dlq", "show", &started[..13]]).fails(3);

    let several = shop.stent(&["show", &asked[..35]]).fails(2);
    for n in [PAID, DECLINED, ASKED, LATER] {
        assert!(several.contains(&id(n)), "{several}");
    }
    assert!(several.contains("hint: add characters until only one is left"), "{several}");
    assert!(shop.stent(&["show", "01900000-0001"]).fails(3).contains("begins with 01900000-0001"));
    for (text, said) in [
        ("0190000", "at least 8 characters"),
        ("01900000_0000", "ids look like"),
        ("0190-00000000", "ids look like"),
    ] {
        let stderr = shop.stent(&["show", text]).fails(2);
        assert!(stderr.contains(said), "{text}: {stderr}");
    }
    let stderr = shop.stent(&["cancel", &started[..13]]).fails(2);
    assert!(stderr.contains("not an id"), "what changes something wants the whole id: {stderr}");
}

#[test]
fn counts_are_those_of_the_store() {
    let shop = Shop::open();

    insta::assert_snapshot!("stats", timeless(&shop.stent(&["stats"]).ok()));

    let stats = shop.stent(&["stats", "--output", "json"]).json();
    let counts = json!({
        "pending": 1, "running": 1, "completed": 1, "failed": 1, "timed_out": 0, "cancelling": 0, "cancelled": 0,
    });
    assert_eq!((&stats["executions"], &stats["dead_letters"]), (&counts, &1.into()));
    let queues = json!([{ "queue": "slow", "due": 0, "delayed": 1, "oldest_due_at": null }]);
    assert_eq!(stats["queues"], queues);
}

#[test]
fn waiting_work_is_shown_by_queue_and_function() {
    let shop = Shop::open();
    for queue in ["slow", "fast"] {
        for number in ["1", "2"] {
            shop.stent(&["dispatch", "reserve", number, "--queue", queue]).ok();
        }
    }

    let queues = shop.stent(&["queues"]).ok();

    insta::assert_snapshot!("queues", timeless(&queues));
    let fast = shop.stent(&["queues", "--queue", "fast", "--output", "json"]).json();
    assert_eq!((fast.as_array().map(Vec::len), &fast[0]["due"]), (Some(1), &2.into()));
    let none = shop.stent(&["queues", "--queue", "nowhere"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
}

#[test]
fn tasks_of_workers_are_shown_with_their_leases() {
    let shop = Shop::open();
    let none = shop.stent(&["tasks"]);
    assert_eq!(
        (none.code, none.stdout.as_str(), none.stderr.as_str()),
        (Some(0), "", "no task is running\n")
    );
    shop.stent(&["dispatch", "endless", "1", "--id", &id(50)]).ok();

    let (worker, ran, json) = run(async {
        let stent = crate::shop::open(&shop.url).await;
        let worker = stent.worker().grace("1ms").start().await.expect("a worker");
        eventually(async || !stent.inspect().running(1).await.expect("read").is_empty()).await;
        let ran = shop.stent(&["tasks"]).ok();
        let json = shop.stent(&["tasks", "--output", "json"]).json();
        let name = worker.id().to_string();
        worker.drain().await.expect("drained");
        stent.close().await.expect("closed");
        (name, ran, json)
    });

    assert!(ran.contains(&worker) && ran.contains("endless") && ran.contains(&id(50)), "{ran}");
    assert_eq!((&json[0]["worker"], &json[0]["execution"]), (&worker.into(), &id(50).into()));
}

#[test]
fn live_workers_are_listed_and_the_others_on_request() {
    let shop = Shop::empty();
    shop.stent(&["migrate"]).ok();
    let none = shop.stent(&["workers"]);
    assert_eq!((none.code, none.stderr.as_str()), (Some(0), "no live workers match\n"));

    let names = |args: &[&str]| -> Vec<String> {
        let listed = shop.stent(&[&["workers", "--output", "json"], args].concat()).json();
        let workers = listed.as_array().expect("a list").iter();
        workers.map(|worker| worker["name"].as_str().expect("a name").to_owned()).collect()
    };
    run(async {
        let stent = crate::shop::open(&shop.url).await;
        let now = stent.store().clock().await.expect("the time");
        let record = |n: u128, name: &str| {
            let mut record = WorkerRecord::new(WorkerId::from_uuid(Uuid::from_u128(n)), name.to_owned(), now);
            (record.state, record.host, record.version) =
                (WorkerState::Ready, "ship".into(), Some("1.2".into()));
            record
        };
        let mut silent = record(1, "silent");
        silent.seen_at = now - Duration::from_secs(3_600);
        let mut stopped = record(2, "stopped");
        stopped.state = WorkerState::Stopped;
        let mut skewed = record(3, "skewed");
        (skewed.drift_us, skewed.slots, skewed.used) = (-2_500_000, 64, 3);
        (skewed.queues, skewed.functions) = (Some(vec!["payments".to_owned()]), vec!["charge".to_owned()]);
        let everywhere = record(4, "everywhere");
        for record in [silent, stopped, skewed, everywhere] {
            stent.store().report(&record).await.expect("reported");
        }
        stent.close().await.expect("closed");
    });

    assert_eq!(names(&[]), ["skewed", "everywhere"]);
    assert_eq!(names(&["--all"]), ["silent", "stopped", "skewed", "everywhere"]);
    assert_eq!(names(&["--state", "dead"]), ["silent"]);
    assert_eq!(names(&["--state", "ready"]), ["skewed", "everywhere"]);
    assert_eq!(names(&["--queue", "mail"]), ["everywhere"]);
    assert_eq!(names(&["--function", "charge", "--queue", "payments"]), ["skewed"]);
    assert_eq!(names(&["--limit", "1"]), ["skewed"]);
    let cut = shop.stent(&["workers", "--limit", "1"]);
    assert!(cut.stderr.contains("there are more"), "{cut:?}");
    let table = shop.stent(&["workers"]);
    assert_eq!(table.stderr, "hint: 1 dead, 1 stopped not shown; --all shows them, too\n");
    let line = table.stdout.lines().find(|line| line.contains("skewed")).expect("a row");
    let cells: Vec<_> = line.split_whitespace().skip(1).take(8).collect();
    assert_eq!(cells, ["skewed", "ship", "0", "ready", "3/64", "payments", "-2.50s", "1.2"]);
    let dead = shop.stent(&["workers", "--state", "dead"]).ok();
    assert!(dead.contains("dead") && dead.contains("1h ago"), "{dead}");
    assert!(shop.stent(&["workers", "--state", "gone"]).fails(2).contains("dead"), "it lists the words");
}

#[test]
fn a_whole_record_is_exported_as_json_lines() {
    let shop = Shop::open();

    let lines = shop.stent(&["export", &id(PAID)]).ok();

    let parts: Vec<ExportRecord> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a part of a record")).collect();
    assert!(
        matches!(&parts[0], ExportRecord::Execution(view) if view.id.to_string() == id(PAID)),
        "{parts:?}"
    );
    assert!(matches!(parts.last(), Some(ExportRecord::Notes(_))), "{parts:?}");
    let tasks = parts.iter().filter_map(|part| match part {
        ExportRecord::Task { task, args } => Some((task.name.as_str(), args.is_some())),
        _ => None,
    });
    let mut tasks: Vec<_> = tasks.collect();
    tasks.sort_unstable();
    assert_eq!(
        tasks,
        [
            ("charge", true),
            ("checkout", true),
            ("pack", false),
            ("pack", false),
            ("pack", false),
            ("reserve", true)
        ]
    );
    assert_eq!(parts.iter().filter(|part| matches!(part, ExportRecord::Item { .. })).count(), 2);

    let file = shop.folder.path().join("paid.jsonl");
    let path = file.display().to_string();
    let ran = shop.stent(&["export", &id(PAID), "--file", &path]);
    assert!(ran.stderr.starts_with(&format!("wrote {} lines to ", parts.len())), "{ran:?}");
    assert_eq!((ran.ok().as_str(), std::fs::read_to_string(&file).expect("the file")), ("", lines.clone()));

    let stderr = shop.stent(&["export", &id(DECLINED), "--file", &path]).fails(1);
    assert!(stderr.contains(&path) && stderr.contains("hint: name a file that does not exist"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), lines, "it was left alone");
    let nowhere = shop.folder.path().join("no/such/paid.jsonl").display().to_string();
    let stderr = shop.stent(&["export", &id(PAID), "--file", &nowhere]).fails(1);
    let folder = shop.folder.path().join("no/such");
    let hint = format!("hint: create the directory first: mkdir -p {}", folder.display());
    assert!(stderr.contains(&nowhere) && stderr.contains(&hint), "{stderr}");
    let other = shop.folder.path().join("other.jsonl");
    shop.stent(&["export", &id(99), "--file", &other.display().to_string()]).fails(3);
    assert!(!other.exists(), "an unknown execution leaves no file");
}
