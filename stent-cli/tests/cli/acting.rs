//! The commands that change something: what they do, what they refuse, and that a filter acts only on request.

use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::program::timeless;
use crate::shop::{ASKED, DECLINED, LATER, PAID, Shop, id, open, run};

/// Lets a worker run until an execution has ended, and returns its result.
fn result(shop: &Shop, id: &str) -> stent::Result<Value> {
    run(async {
        let stent = open(&shop.url).await;
        let worker = stent.worker().queues(["default", "payments", "fast"]).start().await.expect("a worker");
        let ended = stent.wait_for(id.parse().expect("an id")).timeout("30s").await;
        worker.drain().await.expect("drained");
        stent.close().await.expect("closed");
        ended.map(|payload| payload.decode().expect("a value"))
    })
}

fn status(shop: &Shop, n: u32) -> String {
    let json = shop.stent(&["show", &id(n), "--output", "json"]).json();
    json["status"].as_str().expect("a word").to_owned()
}

#[test]
fn a_signal_reaches_the_wait_for_it() {
    let shop = Shop::open();

    let said = shop.stent(&["signal", &id(ASKED), "approval", "\"kim\""]).ok();

    assert_eq!(said, format!("{} signalled\n", id(ASKED)));
    assert_eq!(result(&shop, &id(ASKED)).expect("approved"), "a bike approved by kim");
    let stderr = shop.stent(&["signal", &id(ASKED), "approval", "1"]).fails(1);
    assert!(stderr.contains("is already completed"), "{stderr}");
}

#[test]
fn a_signal_takes_json_or_a_text_and_says_what_is_wrong_with_its_words() {
    let shop = Shop::open();
    shop.stent(&["signal", &id(ASKED), "approval", "--text", "kim and lee"]).ok();
    assert_eq!(result(&shop, &id(ASKED)).expect("approved"), "a bike approved by kim and lee");

    for (words, said) in [
        (&["kim"][..], "not an id"),
        (&[&id(ASKED)], "the signal has no name"),
        (&[&id(ASKED), "approval", "kim"], "--text sends it as a text"),
        (&[&id(ASKED), "approval", "--text"], "--text has no VALUE"),
        (&["--function", "approval", "approval", "--text", "--yes"], "--text has no VALUE"),
        (&[&id(ASKED), "approval", "18446744073709551616"], "would become"),
        (&["--function", "approval", "a", "1", "2"], "one word too many"),
    ] {
        let stderr = shop.stent(&[&["signal"], words].concat()).fails(2);
        assert!(stderr.contains(said) && stderr.contains("hint: "), "{words:?}: {stderr}");
    }
    assert!(shop.stent(&["signal", &id(99), "approval"]).fails(3).contains(&id(99)));
}

#[test]
fn a_filter_acts_only_when_that_is_confirmed() {
    let shop = Shop::open();
    let cancel = ["cancel", "--tag", "eu"];

    let shown = shop.stent(&cancel);
    assert!(shown.stdout.contains(&id(ASKED)) && !shown.stdout.contains(&id(LATER)), "{shown:?}");
    let stderr = shown.fails(2);
    assert!(stderr.contains("1 execution matches, and nothing was changed"), "{stderr}");
    assert!(stderr.contains("hint: add --yes to cancel them"), "{stderr}");
    let dry = shop.stent(&[&cancel[..], &["--dry-run"]].concat()).ok();
    assert!(dry.contains(&id(ASKED)), "{dry}");
    assert_eq!(status(&shop, ASKED), "running");

    let done = shop.stent(&[&cancel[..], &["--yes"]].concat()).ok();
    assert_eq!(done, format!("{} is cancelled\n", id(ASKED)));
    assert_eq!((status(&shop, ASKED).as_str(), status(&shop, LATER).as_str()), ("cancelled", "pending"));
    let none = shop.stent(&[&cancel[..], &["--dry-run"]].concat());
    assert!(none.stderr.contains("0 executions match"), "{none:?}");
}

#[test]
fn a_signal_by_filter_goes_to_every_match() {
    let shop = Shop::open();
    let signal = ["signal", "--function", "approval", "--status", "running", "approval", "\"lee\""];
    assert!(shop.stent(&signal).fails(2).contains("nothing was changed"));

    shop.stent(&[&signal[..], &["--yes"]].concat()).ok();

    assert_eq!(result(&shop, &id(ASKED)).expect("approved"), "a bike approved by lee");
}

#[test]
fn executions_are_cancelled_by_id_each_with_its_own_result() {
    let shop = Shop::open();

    let ran = shop.stent(&["cancel", &id(LATER), &id(99), &id(PAID), "--no-grace"]);

    assert_eq!(ran.stdout, format!("{} is cancelled\n{} is completed\n", id(LATER), id(PAID)));
    let stderr = ran.fails(3);
    assert!(stderr.contains(&format!("error: no execution has the id {}", id(99))), "{stderr}");
    assert!(stderr.contains("cancelled 2 of 3 executions"), "{stderr}");
    let json = shop.stent(&["cancel", &id(LATER), &id(PAID), "--output", "json"]).json();
    assert_eq!(json[0], json!({ "id": id(LATER), "done": true, "state": "cancelled" }));

    for (args, said) in [
        (&["cancel"][..], "no execution is named"),
        (&["cancel", &id(1), "--queue", "x"], "exclude each other"),
        (&["cancel", "--status", "failed"], "have ended"),
        (&["cancel", &id(1), "--grace", "10x"], "--grace"),
    ] {
        let stderr = shop.stent(args).fails(2);
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn dead_letters_are_listed_shown_and_counted() {
    let shop = Shop::open();

    insta::assert_snapshot!("dlq_list", timeless(&shop.stent(&["dlq", "list"]).ok()));
    insta::assert_snapshot!("dlq_show", timeless(&shop.stent(&["dlq", "show", &id(DECLINED)]).ok()));
    insta::assert_snapshot!("dlq_stats", shop.stent(&["dlq", "stats"]).ok());

    let stats = shop.stent(&["dlq", "stats", "--output", "json"]).json();
    assert_eq!((&stats[0]["count"], &stats[0]["function"]), (&1.into(), &"checkout".into()));
    let reason = stats[0]["reason"].as_str().expect("a kind");
    for (filter, found) in [
        (["--reason", reason], 1),
        (["--function", "checkout"], 1),
        (["--queue", "default"], 1),
        (["--reason", "stent::Panic"], 0),
        (["--tag", "eu"], 0),
    ] {
        let listed = shop.stent(&[&["dlq", "list", "--output", "json"], &filter[..]].concat()).json();
        assert_eq!(listed.as_array().map(Vec::len), Some(found), "{filter:?}");
    }
    let stderr = shop.stent(&["dlq", "show", &id(PAID)]).fails(3);
    assert!(stderr.contains("is no dead letter: it is completed"), "{stderr}");
}

#[test]
fn pages_of_dead_letters_have_no_gap_and_nothing_twice() {
    let shop = Shop::open();
    run(async {
        let stent = open(&shop.url).await;
        let worker = stent.worker().start().await.expect("a worker");
        for n in 10..15 {
            // Its arguments do not decode, so it fails.
            let bad = stent.dispatch_by_name("reserve", &("not a number",)).id(id(n).parse().expect("an id"));
            let ended = stent.wait_for(bad.await.expect("dispatched")).timeout("30s").await;
            ended.expect_err("not a number");
        }
        worker.drain().await.expect("drained");
        stent.close().await.expect("closed");
    });
    let all: Vec<_> = (10..15).rev().chain([DECLINED]).map(id).collect();
    let listed = |args: &[&str]| {
        let page = shop.stent(&[&["dlq", "list", "--output", "json"], args].concat()).json();
        let ids = page.as_array().expect("a list").iter().map(|letter| letter["id"].as_str().expect("an id"));
        ids.map(str::to_owned).collect::<Vec<_>>()
    };

    assert_eq!(listed(&[]), all);
    let offsets = ["0", "2", "4", "6"].map(|offset| listed(&["--limit", "2", "--offset", offset]));
    assert_eq!(offsets.concat(), all);
    let pages = [None, Some(1), Some(3), Some(5)].map(|last| match last {
        None => listed(&["--limit", "2"]),
        Some(n) => listed(&["--limit", "2", "--before", &all[n]]),
    });
    assert_eq!(pages.concat(), all);
    let filtered =
        ["0", "3"].map(|offset| listed(&["--function", "reserve", "--limit", "3", "--offset", offset]));
    assert_eq!(filtered.concat(), all[..5]);
}

#[test]
fn a_dead_letter_is_retried_with_a_policy_of_its_own() {
    let shop = Shop::open();

    let said = shop.stent(&["retry", &id(DECLINED), "--max-attempts", "4", "--initial-delay", "1ms"]).ok();

    assert_eq!(said, format!("{} retried\n", id(DECLINED)));
    assert_ne!(status(&shop, DECLINED), "failed");
    let again = shop.stent(&["retry", &id(DECLINED)]).fails(1);
    assert!(again.contains("it was retried before, and nothing was changed"), "{again}");
    result(&shop, &id(DECLINED)).expect_err("declined again");
    let letter = shop.stent(&["dlq", "show", &id(DECLINED)]).ok();
    assert!(letter.contains("at most 4 attempts"), "{letter}");

    let stderr = shop.stent(&["retry", &id(PAID)]).fails(1);
    assert!(stderr.contains("is not a dead letter"), "{stderr}");
    let stderr = shop.stent(&["retry", &id(DECLINED), "--max-attempts", "0"]).fails(2);
    assert!(stderr.contains("max-attempts is 0"), "{stderr}");
    for args in [&["retry"][..], &["dlq", "discard"]] {
        assert!(shop.stent(args).fails(2).contains("no dead letter is named"));
    }
}

#[test]
fn dead_letters_are_retried_on_another_queue_by_id_or_by_filter() {
    let shop = Shop::open();
    let retry = ["retry", "--queue", "default", "--to-queue", "fast", "--max-attempts", "3"];
    let queue = || {
        let shown = shop.stent(&["show", &id(DECLINED), "--output", "json"]).json();
        shown["queue"].as_str().expect("a queue").to_owned()
    };

    let stderr = shop.stent(&retry).fails(2);
    assert!(stderr.contains("hint: add --yes to retry them on queue \"fast\""), "{stderr}");
    let dry = shop.stent(&[&retry[..], &["--dry-run"]].concat()).stderr;
    assert_eq!(dry, "1 dead letter matches, to retry on queue \"fast\"; nothing was changed\n");
    assert_eq!(queue(), "default");

    let said = shop.stent(&[&retry[..], &["--yes"]].concat()).ok();
    assert_eq!(said, format!("{} retried on queue \"fast\"\n", id(DECLINED)));
    assert_eq!(queue(), "fast");
    result(&shop, &id(DECLINED)).expect_err("declined again");
    let listed = |queue: &str| {
        let letters = shop.stent(&["dlq", "list", "--queue", queue, "--output", "json"]).json();
        letters.as_array().expect("a list").len()
    };
    assert_eq!((listed("fast"), listed("default")), (1, 0));
    let letter = shop.stent(&["dlq", "show", &id(DECLINED)]).ok();
    assert!(letter.contains("at most 3 attempts"), "a policy and a queue together: {letter}");

    let said = shop.stent(&["dlq", "retry", &id(DECLINED), "--to-queue", "default"]).ok();
    assert_eq!(said, format!("{} retried on queue \"default\"\n", id(DECLINED)));
    assert_eq!(queue(), "default");
    for (name, problem) in [("", "empty; give the name of a queue"), (&"q".repeat(300), "300 bytes long")] {
        let stderr = shop.stent(&["retry", "--all", "--to-queue", name]).fails(2);
        assert!(stderr.contains("--to-queue") && stderr.contains(problem), "{stderr}");
    }
}

#[test]
fn dead_letters_are_retried_and_discarded_by_filter_or_by_id() {
    let shop = Shop::open();
    let retry = ["dlq", "retry", "--function", "checkout"];
    let shown = shop.stent(&retry);
    assert!(shown.stdout.contains(&id(DECLINED)), "{shown:?}");
    assert!(shown.fails(2).contains("hint: add --yes to retry them"));

    assert_eq!(shop.stent(&["retry", "--all", "--yes"]).ok(), format!("{} retried\n", id(DECLINED)));
    result(&shop, &id(DECLINED)).expect_err("declined again");
    assert_eq!(shop.stent(&["dlq", "discard", &id(DECLINED)]).ok(), format!("{} discarded\n", id(DECLINED)));

    assert_eq!(shop.stent(&["dlq", "list", "--output", "json"]).json(), json!([]));
    assert_eq!(status(&shop, DECLINED), "failed");
    for again in [&["retry"][..], &["dlq", "discard"]] {
        let stderr = shop.stent(&[again, &[&id(DECLINED)]].concat()).fails(1);
        assert!(stderr.contains("it was discarded before; nothing was changed"), "{again:?}: {stderr}");
    }
    assert!(shop.stent(&["dlq", "discard", &id(99)]).fails(3).contains(&id(99)));
    let none = shop.stent(&["dlq", "discard", "--all"]);
    assert_eq!((none.code, none.stderr.as_str()), (Some(0), "0 dead letters match; nothing was changed\n"));
}

#[test]
fn cleaning_counts_first_and_deletes_only_what_is_old_and_confirmed() {
    let shop = Shop::open();
    let counts = |args: &[&str]| shop.stent(&[&["cleanup", "--output", "json"], args].concat()).json();

    let dry = counts(&["--older-than", "1us", "--dry-run"]);
    assert_eq!(
        (&dry["executions"], &dry["dead_letters"], &dry["dry_run"]),
        (&1.into(), &1.into(), &true.into())
    );
    let young = counts(&["--dry-run"]);
    assert_eq!(
        (&young["executions"], &young["dead_letters"]),
        (&0.into(), &0.into()),
        "nothing is 30 days old"
    );
    let stderr = shop.stent(&["cleanup", "--older-than", "1us"]).fails(2);
    assert!(stderr.contains("nothing was deleted") && stderr.contains("hint: add --yes"), "{stderr}");
    assert_eq!(status(&shop, PAID), "completed");

    let deleted = counts(&["--older-than", "1us", "--executions", "--yes"]);
    assert_eq!((&deleted["executions"], &deleted["dead_letters"]), (&1.into(), &Value::Null));
    shop.stent(&["show", &id(PAID)]).fails(3);
    assert_eq!(status(&shop, DECLINED), "failed", "dead letters are kept apart");
    let table = shop.stent(&["cleanup", "--older-than", "1us", "--dead-letters", "--yes"]).ok();
    assert_eq!(table, "DELETED       COUNT\ndead letters      1\n");

    let left = shop.stent(&["list", "--output", "json"]).json();
    assert_eq!(left.as_array().map(Vec::len), Some(2), "open executions are never touched");
    for age in ["0s", "30", "10x", ""] {
        let stderr = shop.stent(&["cleanup", "--older-than", age, "--yes"]).fails(2);
        assert!(stderr.contains("--older-than"), "{age}: {stderr}");
    }
}

#[test]
fn a_dry_run_never_shows_fewer_than_will_be_deleted_without_a_word() {
    let shop = Shop::open();
    let copy = |status: &str, times: u32| {
        run(async {
            let file = sea_orm::Database::connect(&shop.url).await.expect("the file");
            let copies = format!(
                "CREATE TABLE copies AS \
                   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {times}) \
                   SELECT task.* FROM n, (SELECT * FROM stent_task \
                     WHERE parent_id IS NULL AND status = '{status}' AND mark IS NULL LIMIT 1) AS task; \
                 UPDATE copies SET id = randomblob(16); UPDATE copies SET execution_id = id; \
                 INSERT INTO stent_task SELECT * FROM copies; DROP TABLE copies"
            );
            file.execute_unprepared(&copies).await.expect("copied");
            file.close().await.expect("closed");
        });
    };
    let dry = || shop.stent(&["cleanup", "--older-than", "1us", "--dry-run", "--output", "json"]).json();
    copy("failed", 3_000);
    copy("completed", 9_990);

    let counted = dry();

    assert_eq!((&counted["executions"], &counted["dead_letters"]), (&9_991.into(), &3_001.into()));
    assert_eq!(counted["at_least"], json!([]));
    copy("completed", 1_000);
    let counted = dry();
    assert!(counted["executions"].as_u64().is_some_and(|count| count >= 10_000), "{counted}");
    assert_eq!(counted["at_least"], json!(["executions"]));
    let table = shop.stent(&["cleanup", "--older-than", "1us", "--dry-run"]).ok();
    assert!(table.contains(" or more\n"), "{table}");
}

#[test]
fn details_are_counted_as_they_will_be_deleted() {
    let shop = Shop::open();
    run(async {
        let stent = open(&shop.url).await;
        let worker = stent.worker().start().await.expect("a worker");
        // An execution without steps has no details.
        let plain = stent.dispatch_by_name("reserve", &(5,)).await.expect("dispatched");
        stent.wait_for(plain).timeout("30s").await.expect("reserved");
        worker.drain().await.expect("drained");
        stent.close().await.expect("closed");
    });
    let counts = |args: &[&str]| {
        let args = [&["cleanup", "--older-than", "1us", "--details", "--output", "json"], args].concat();
        shop.stent(&args).json()
    };

    assert_eq!(counts(&["--dry-run"])["details"], 1, "of two ended executions, and not of the dead letter");
    assert_eq!(
        counts(&["--executions", "--dry-run"])["details"],
        0,
        "executions go first, with their details"
    );
    assert_eq!(counts(&["--yes"])["details"], 1);
    assert_eq!(counts(&["--dry-run"])["details"], 0);
    assert_eq!(counts(&["--executions", "--yes"])["details"], 0);
}

#[test]
fn an_execution_is_dispatched_by_name_with_json_for_arguments() {
    let shop = Shop::open();
    let order = r#"{"number": 21, "parcels": ["lamp"]}"#;

    let started = shop
        .stent(&["dispatch", "checkout", order, "--queue", "fast", "--key", "21", "--priority", "-2"])
        .ok();

    let started = started.trim();
    let shown = shop.stent(&["show", started, "--payloads", "--output", "json"]).json();
    assert_eq!((&shown["queue"], &shown["priority"]), (&"fast".into(), &(-2).into()));
    assert_eq!(shown["args"]["content_type"], "application/json", "as people write them");
    let again = shop.stent(&["dispatch", "checkout", order, "--key", "21"]).ok();
    assert_eq!(again.trim(), started, "one key starts one execution");
    assert_eq!(result(&shop, started).expect("paid"), "receipt 21: lamp, packed");

    for (args, said) in [
        (&["checkout", "kim"][..], "texts need quotes"),
        (&[""], "option `function`"),
        (&["checkout", "--delay", "1 day"], "--delay"),
        (&["checkout", "--at", "tomorrow"], "write it like 2026-11-30T20:00:00Z"),
        (&["checkout", "--id", "7"], "ids look like"),
        (&["checkout", "--key", ""], "empty"),
        (&["checkout", "--key="], "empty"),
        (&["checkout", "--wait", "10"], "the word after --wait is a duration"),
        (&["--wait", "checkout"], "the word after --wait is a duration"),
    ] {
        let stderr = shop.stent(&[&["dispatch"], args].concat()).fails(2);
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn a_dispatch_that_waits_prints_the_result_and_fails_with_the_execution() {
    let shop = Shop::open();
    let answers = run(async {
        let stent = open(&shop.url).await;
        let worker = stent.worker().start().await.expect("a worker");
        let answers = std::thread::scope(|scope| {
            let wait = |args: &'static [&'static str]| {
                let shop = &shop;
                scope.spawn(move || shop.stent(args))
            };
            let paid = wait(&["dispatch", "reserve", "7", "--wait=30s"]);
            let declined =
                wait(&["dispatch", "charge", "13", "--queue", "payments", "--max-attempts", "1", "--wait"]);
            let never = wait(&["dispatch", "nobody_knows", "--wait", "50ms"]);
            [paid, declined, never].map(|answer| answer.join().expect("an answer"))
        });
        worker.drain().await.expect("drained");
        stent.close().await.expect("closed");
        answers
    });
    let [paid, declined, never] = answers;

    assert_eq!(paid.ok(), "7\n");
    assert!(declined.stdout.contains("declined with code 51"), "{declined:?}");
    assert!(declined.fails(1).contains("hint: `stent show "));
    assert!(never.fails(1).contains("did not end within"));
}

#[test]
fn json_arrives_as_it_is_written_or_is_refused() {
    let shop = Shop::empty();
    shop.stent(&["migrate"]).ok();

    for (json, said) in [
        ("12345678901234567890123", "would become 1.2345678901234568e+22"),
        ("18446744073709551616", "18446744073709551616 would become"),
        ("-9223372036854775809", "would become"),
        ("-0", "would become -0.0"),
        (r#"{"a \\\" 1": ["7", {"b": [-1, 1234567890123456.78]}]}"#, "1234567890123456.78 would become"),
        ("1e-400", "would become 0.0"),
        (r#"{"a": 1, "a": 2}"#, "the key \"a\" is there twice\n"),
        (r#"[{"a": {"b": null, "\u0062": null}}]"#, "the key \"b\" is there twice"),
        ("1e400", "not JSON"),
        ("[1, 2", "not JSON"),
        ("1 2", "not JSON"),
    ] {
        let stderr = shop.stent(&["dispatch", "f", json]).fails(2);
        assert!(stderr.contains(said), "{json}: {stderr}");
    }
    assert_eq!(shop.stent(&["list"]).ok(), "", "nothing was started");

    for (json, stored) in [
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("[0, 0.5, -0.0, 1.50e3, 1E22, 0e9]", "[0,0.5,-0.0,1500.0,1e+22,0.0]"),
        (
            r#"{"b": 0.30000000000000004, "a": "12345678901234567890123"}"#,
            r#"{"a":"12345678901234567890123","b":0.30000000000000004}"#,
        ),
        (r#"{"a": {"b": true}, "b": null}"#, r#"{"a":{"b":true},"b":null}"#),
    ] {
        let started = shop.stent(&["dispatch", "f", json]).ok();
        let shown = shop.stent(&["show", started.trim(), "--payloads", "--output", "json"]).json();
        let hex: String = format!("[{stored}]").bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown["args"]["hex"], hex, "{json}: {shown}");
    }
}

#[test]
fn a_dispatch_under_a_taken_key_says_that_it_started_nothing() {
    let shop = Shop::empty();
    shop.stent(&["migrate"]).ok();
    let dispatch = ["dispatch", "reserve", "5", "--key", "five", "--output", "json"];

    let first = shop.stent(&dispatch);
    let again = shop.stent(&dispatch);

    assert_eq!(first.stderr, "");
    let first = first.json();
    assert_eq!(first["started"], true);
    let taken =
        format!("note: the key \"five\" is taken by execution {}", first["id"].as_str().expect("an id"));
    assert!(again.stderr.contains(&taken), "{again:?}");
    assert_eq!(again.json(), json!({ "id": first["id"], "started": false }));
    let other = shop.stent(&[&dispatch[..], &["--id", &id(7)]].concat());
    assert!(other.stderr.contains(&taken), "{other:?}");
    assert_eq!(other.json()["started"], false);
    // The store does not say whether an execution had this id.
    assert_eq!(
        shop.stent(&["dispatch", "reserve", "5", "--id", &id(8), "--output", "json"]).json(),
        json!({ "id": id(8) })
    );
}

/// Executions without a worker.
fn many(shop: &Shop, numbers: impl Iterator<Item = u32>) {
    run(async {
        let stent = open(&shop.url).await;
        for n in numbers {
            let dispatch = stent.dispatch_by_name("reserve", &(n,)).queue("bulk");
            dispatch.id(id(n).parse().expect("an id")).await.expect("dispatched");
        }
        stent.close().await.expect("closed");
    });
}

#[test]
fn a_filter_that_max_cuts_says_that_more_match() {
    let shop = Shop::empty();
    many(&shop, 1..=5);
    let cancel = ["cancel", "--queue", "bulk", "--yes", "--max"];
    let signal = ["signal", "--queue", "bulk", "--yes", "go", "--max"];

    let signalled = shop.stent(&[&signal[..], &["4"]].concat()).fails(1);
    let some = shop.stent(&[&cancel[..], &["2"]].concat());
    let one = shop.stent(&[&cancel[..], &["1"]].concat());
    let rest = shop.stent(&[&cancel[..], &["2"]].concat());

    assert!(signalled.contains("error: there are more matches than 4 executions (--max)"), "{signalled}");
    assert!(signalled.contains("hint: raise --max"), "{signalled}");
    assert_eq!(some.stdout, format!("{} is cancelled\n{} is cancelled\n", id(5), id(4)));
    let stderr = some.fails(1);
    let said = "cancelled 2 of 2 executions\nerror: there are more matches than 2 executions (--max), and the others were not cancelled\n";
    assert!(stderr.contains(said) && stderr.contains("hint: run the command again"), "{stderr}");
    assert!(one.fails(1).contains("more matches than 1 execution (--max)"));
    assert_eq!(rest.stderr, "cancelled 2 of 2 executions\n");
    assert_eq!(rest.ok(), format!("{} is cancelled\n{} is cancelled\n", id(2), id(1)));
}

#[test]
fn a_store_that_fails_half_way_leaves_the_reports_so_far() {
    let shop = Shop::empty();
    many(&shop, 1..=70);
    run(async {
        let store = sea_orm::Database::connect(&shop.url).await.expect("the file");
        let fail = "CREATE TRIGGER fail BEFORE UPDATE ON stent_task WHEN lower(hex(NEW.id)) = '{}' BEGIN \
                    SELECT RAISE(ABORT, 'the disk is full'); END";
        let fail = fail.replace("{}", &id(3).replace('-', ""));
        store.execute_unprepared(&fail).await.expect("a trigger");
        store.close().await.expect("closed");
    });

    let ran = shop.stent(&["cancel", "--queue", "bulk", "--yes"]);

    for n in 7..=70 {
        assert!(ran.stdout.contains(&format!("{} is cancelled\n", id(n))), "{n}: {ran:?}");
    }
    assert!(!ran.stdout.contains(&id(3)), "{ran:?}");
    let stderr = ran.fails(1);
    assert!(stderr.contains("of 70 executions\n") && stderr.contains("error: "), "{stderr}");
    assert!(stderr.contains("the disk is full"), "{stderr}");
    let json = shop.stent(&["cancel", &id(9), &id(3), "--output", "json"]);
    let reports: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&reports[0]["done"], &reports[1]["done"]), (&true.into(), &false.into()), "{json:?}");
}
