//! A store examines its server, and a schema with a fault.

use sea_orm::ConnectionTrait;
use stent_core::backend::{Backend, Finding, Inspect, Verdict};
use stent_postgres::PostgresStore;
use stent_sql::SqlStore;

use crate::schema::{Schema, clean_up, url};

async fn finding(store: &SqlStore, check: &str) -> Finding {
    let findings = store.diagnose().await.expect("examines");
    let found = findings.iter().find(|finding| finding.check == check);
    found.unwrap_or_else(|| panic!("no {check} in {findings:?}")).clone()
}

#[tokio::test]
async fn a_new_store_has_every_index_and_every_privilege() {
    let schema = Schema::new();
    let store = schema.ready().await;

    let findings = store.diagnose().await.expect("examines");

    let checks: Vec<_> = findings.iter().map(|finding| finding.check.as_str()).collect();
    let all = [
        "indexes",
        "privileges",
        "dead rows",
        "autovacuum",
        "transactions",
        "durability",
        "connections",
        "notifications",
    ];
    assert_eq!(checks, all);
    for check in ["indexes", "privileges", "dead rows", "autovacuum", "notifications"] {
        let finding = findings.iter().find(|finding| finding.check == check).expect("it is among them");
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    }
    assert!(findings.iter().all(|finding| finding.verdict != Verdict::Problem), "{findings:?}");
}

#[tokio::test]
async fn an_index_that_was_dropped_is_a_problem() {
    let schema = Schema::new();
    let store = schema.ready().await;
    let drop = format!("DROP INDEX \"{}\".stent_task_ready", schema.name());
    store.connections().write.execute_unprepared(&drop).await.expect("dropped");

    let found = finding(&store, "indexes").await;

    assert_eq!((found.verdict, found.what.as_str()), (Verdict::Problem, "missing: stent_task_ready"));
    let statement = found.remedy.split_once("one statement at a time: ").expect("a statement").1;
    assert!(statement.starts_with("CREATE INDEX CONCURRENTLY \"stent_task_ready\" ON "), "{statement}");
    store.connections().write.execute_unprepared(statement).await.expect("it runs as it is");
    assert_eq!(finding(&store, "indexes").await.verdict, Verdict::Ok);
    let break_it = format!(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"{}\".stent_task_past'::regclass",
        schema.name()
    );
    store
        .connections()
        .write
        .execute_unprepared(&break_it)
        .await
        .expect("as a failed CREATE INDEX CONCURRENTLY leaves it");

    let found = finding(&store, "indexes").await;

    assert_eq!(found.what, "missing or not usable: stent_task_past");
    let statement = found.remedy.split_once(": ").expect("a statement").1;
    store.connections().write.execute_unprepared(statement).await.expect("it runs as it is");
    assert_eq!(finding(&store, "indexes").await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn a_table_that_is_not_vacuumed_by_itself_is_a_problem() {
    let schema = Schema::new();
    let store = schema.ready().await;
    let turn_off = format!("ALTER TABLE \"{}\".stent_task SET (autovacuum_enabled = off)", schema.name());
    store.connections().write.execute_unprepared(&turn_off).await.expect("turned off");

    let found = finding(&store, "autovacuum").await;

    assert_eq!((found.verdict, found.what.as_str()), (Verdict::Problem, "it is turned off for stent_task"));
    let (_, statement) = found.remedy.split_once(": ").expect("the reason, then the statement");
    store.connections().write.execute_unprepared(statement).await.expect("it runs as it is");
    assert_eq!(finding(&store, "autovacuum").await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn a_privilege_that_is_missing_is_a_problem_with_the_grant() {
    let schema = Schema::new();
    let store = schema.ready().await;
    let (name, role) = (schema.name(), format!("reader_{}", schema.name()));
    let set_up = format!(
        "CREATE ROLE \"{role}\"; GRANT USAGE ON SCHEMA \"{name}\" TO \"{role}\"; \
         GRANT SELECT ON ALL TABLES IN SCHEMA \"{name}\" TO \"{role}\"; \
         GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA \"{name}\" TO \"{role}\"; \
         REVOKE INSERT ON \"{name}\".stent_lane FROM \"{role}\""
    );
    store.connections().write.execute_unprepared(&set_up).await.expect("a role");
    // The role that the session assumes, as `SET ROLE` does.
    let as_reader = format!("{}&options=-c%20role%3D{role}", schema.url());
    let reader = PostgresStore::open(as_reader.parse().expect("options")).await.expect("opens");

    let found = finding(&reader, "privileges").await;

    reader.close().await.expect("closes");
    store.close().await.expect("closes");
    drop(schema);
    clean_up(&url().expect("a server"), format!("DROP ROLE \"{role}\""));
    assert_eq!(found.verdict, Verdict::Problem, "{found:?}");
    assert!(found.what.starts_with(&format!("the user {role} lacks ")), "{found:?}");
    assert!(
        found.what.contains("INSERT on stent_lane") && found.what.contains("DELETE on stent_task"),
        "{found:?}"
    );
    assert!(!found.what.contains("UPDATE on stent_task"), "{found:?}");
    let (_, grant) = found.remedy.split_once(": ").expect("the reason, then the statement");
    assert!(grant.starts_with("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"), "{found:?}");
}
