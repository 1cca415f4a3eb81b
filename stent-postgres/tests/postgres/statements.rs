//! The text of every statement.

#[path = "../../../stent-sql/tests/shared/statements.rs"]
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use stent_core::backend::{Backend, Filter, Inspect};
use stent_core::model::{Keyed, Note, Said};
use stent_core::transition::{Commit, Next};
use stent_core::{Key, Timestamp};
use stent_postgres::PostgresDialect;
use stent_sql::{Locks, Statements};

use crate::schema::Schema;
use crate::support::{claim, commit, payload, root, start, step, t, turn};

#[test]
fn every_statement_in_postgres() {
    let dialect = PostgresDialect::default();
    let (statements, locks) = (Statements::new(&dialect), Locks::new(&dialect));
    insta::assert_snapshot!("postgres", shared::shown(statements.iter().chain(locks.iter())));
}

#[test]
fn what_is_read_to_be_written_is_locked_in_order() {
    let dialect = PostgresDialect::default();
    let (statements, locks) = (Statements::new(&dialect), Locks::new(&dialect));
    for statement in [&statements.read, &statements.read_keyed, &locks.hold_below, &locks.hold_within] {
        assert!(statement.text.ends_with("\"id\" ASC FOR UPDATE"), "{}", statement.text);
    }
    for claim in [&statements.pick, &statements.pick_with, &statements.heads] {
        assert_eq!(claim.text.matches("FOR UPDATE SKIP LOCKED").count(), 1, "{}", claim.text);
    }
}

/// Tables are looked for in a schema by name, wherever a connection would look for them.
#[test]
fn every_table_is_named_with_its_schema() {
    let dialect = PostgresDialect::in_schema("orders");
    let (statements, locks) = (Statements::new(&dialect), Locks::new(&dialect));
    for (name, statement) in statements.iter().chain(locks.iter()) {
        let text = &statement.text;
        for table in ["task", "lane", "keys", "note", "progress", "ended_claims", "rate"] {
            for keyword in ["FROM", "JOIN", "INTO", "UPDATE", ","] {
                let bare = format!("{keyword} \"stent_{table}\"");
                let is_table = |rest: &str| !rest.starts_with('.');
                let found = text.match_indices(&bare).any(|(at, bare)| is_table(&text[at + bare.len()..]));
                assert!(!found, "{name}: {text}");
            }
        }
    }
    assert_eq!(statements.read.text.matches("FROM \"orders\".\"stent_task\"").count(), 1);
}

/// Texts of callers are values: the server gets the same statements, whatever the texts are.
#[tokio::test]
async fn what_is_sent_is_one_of_the_statements_whatever_things_are_called() {
    const ODD: &str = "it's; \"odd\" $1 -- ";
    const PREPARED: &str = "SELECT statement FROM pg_prepared_statements";
    let schema = Schema::new();
    let store = schema.open_with_one_connection().await;
    for n in 0..3 {
        let name = || format!("{ODD}{n}");
        let mut task = root(&name());
        task.lane.queue = name();
        task.lane.tags.extend([name(), format!("and {ODD}")]);
        task.keyed = Some(Keyed::new(Key::of_user(&name(), None, &name())));
        commit(&store, &[start(task)]).await;
        let claimed = claim(&store, &[&name()], 1, t(0)).await.remove(0);
        let note = Note::Set { name: name(), value: payload(name().as_bytes()) };
        let notes = vec![Said { task: claimed.task.id, note }];
        let insert = vec![step(&claimed, 0, &name())];
        commit(&store, &[Commit { insert, notes, ..turn(&claimed, Next::Keep) }.into()]).await;
        let filter = Filter::default().function(name()).queue(name()).tag(name());
        assert_eq!(store.list(&filter, None, 9).await.expect("lists").len(), 1);
        assert!(store.notes(claimed.task.tree.execution).await.expect("reads").states.contains_key(&name()));
    }

    let dialect = PostgresDialect::in_schema(schema.name());
    let (statements, locks) = (Statements::new(&dialect), Locks::new(&dialect));
    let known: BTreeMap<_, _> = statements
        .iter()
        .chain(locks.iter())
        .map(|(name, statement)| (statement.text.as_str(), name))
        .collect();
    let mut seen = BTreeSet::new();
    for connection in [&store.connections().write, &store.connections().read] {
        let rows = connection.query_all_raw(Statement::from_string(DbBackend::Postgres, PREPARED)).await;
        for row in rows.expect("reads") {
            let text: String = row.try_get_by_index(0).expect("a text");
            match known.get(text.as_str()) {
                Some(name) => drop(seen.insert(*name)),
                None => assert!(!text.contains("odd") && !text.contains("stent_"), "{text}"),
            }
        }
    }
    for name in ["insert", "claim", "write_keys", "set", "list", "notes"] {
        assert!(seen.contains(name), "{name} was not sent: {seen:?}");
    }
}

#[tokio::test]
async fn the_clock_reads_the_same_in_whatever_zone_a_session_is() {
    let schema = Schema::new();
    let store = schema.open_with_one_connection().await;
    for zone in ["Asia/Tokyo", "America/New_York", "UTC"] {
        for connection in [&store.connections().write, &store.connections().read] {
            connection.execute_unprepared(&format!("SET TIME ZONE '{zone}'")).await.expect("sets");
        }
        let slack = Duration::from_secs(60);
        let here = Timestamp::from(SystemTime::now());
        let there = store.clock().await.expect("reads");
        assert!((here - slack..=here + slack).contains(&there), "{there} in {zone}, and {here} here");
    }
}
