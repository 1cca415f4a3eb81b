//! What a store says of its file when it is examined, and of a file that something is wrong with.

use std::fs::File;
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database};
use stent_core::backend::{Backend, Finding, Inspect, Migrate, Verdict};
use stent_sql::SqlStore;
use stent_sqlite::{SqliteOptions, SqliteStore};

use crate::place::Folder;

/// The checks that found something.
async fn bad(store: &SqlStore) -> Vec<Finding> {
    let findings = store.diagnose().await.expect("examines");
    findings.into_iter().filter(|finding| finding.verdict != Verdict::Ok).collect()
}

#[tokio::test]
async fn a_new_store_has_every_index_and_nothing_wrong() {
    let folder = Folder::new();
    let store = folder.ready().await;

    let findings = store.diagnose().await.expect("examines");

    let checks: Vec<_> = findings.iter().map(|finding| (finding.check.as_str(), finding.verdict)).collect();
    let ok = ["indexes", "log", "lock", "space"].map(|check| (check, Verdict::Ok));
    assert_eq!(checks, ok, "{findings:?}");
    let memory = SqliteStore::open(SqliteOptions::memory()).await.expect("opens");
    memory.migrate().await.expect("migrates");
    let findings = memory.diagnose().await.expect("examines");
    assert_eq!(findings.len(), 1, "a store in memory has no file: {findings:?}");
}

#[tokio::test]
async fn an_index_that_was_dropped_is_a_problem() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let write = &store.connections().write;
    write
        .execute_unprepared("DROP INDEX stent_task_ready; DROP INDEX stent_task_past")
        .await
        .expect("dropped");

    let bad = bad(&store).await;

    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!((bad[0].check.as_str(), bad[0].verdict), ("indexes", Verdict::Problem));
    assert_eq!(bad[0].what, "missing: stent_task_past, stent_task_ready");
    let statements = bad[0].remedy.split_once("one statement at a time: ").expect("statements").1;
    write.execute_unprepared(statements).await.expect("they run as they are");
    assert_eq!(self::bad(&store).await, []);
}

#[tokio::test]
async fn a_lock_that_another_process_holds_is_a_problem_with_the_file_to_look_at() {
    let folder = Folder::new();
    let options = folder.options().busy_timeout(Duration::from_millis(50));
    let store = SqliteStore::open(options).await.expect("opens");
    store.migrate().await.expect("migrates");
    let path = folder.options().path().expect("a file").display().to_string();
    let other = Database::connect(format!("sqlite://{path}")).await.expect("another process");
    let held = sea_orm::TransactionTrait::begin(&other).await.expect("begins");
    held.execute_unprepared("UPDATE stent_rate SET rowid = rowid WHERE 0; CREATE TABLE held (id)")
        .await
        .expect("locks");

    let said = bad(&store).await;

    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((said[0].check.as_str(), said[0].verdict), ("lock", Verdict::Problem));
    assert!(said[0].remedy.contains(&format!("fuser {path}")), "{said:?}");
    let who = format!("process {} (", std::process::id());
    assert!(cfg!(not(target_os = "linux")) || said[0].what.starts_with(&who), "{said:?}");
    let reader = SqliteStore::open(folder.options().read_only(true)).await.expect("a reader needs no lock");
    assert_eq!(bad(&reader).await.iter().map(|finding| &*finding.check).collect::<Vec<_>>(), ["lock"]);
    held.rollback().await.expect("rolls back");
    assert_eq!(bad(&store).await, []);
    assert_eq!(bad(&reader).await, []);
}

#[tokio::test]
async fn a_log_that_no_longer_shrinks_is_a_warning() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let log = folder.0.path().join("stent.db-wal");
    // Without blocks on the disk; SQLite ignores what is behind its own frames.
    File::options().write(true).open(&log).and_then(|log| log.set_len(600 * 1024 * 1024)).expect("extends");

    let bad = bad(&store).await;

    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!((bad[0].check.as_str(), bad[0].verdict), ("log", Verdict::Warning));
    assert!(bad[0].what.contains("600 MiB") && bad[0].remedy.contains("reading transaction"), "{bad:?}");
    store.close().await.expect("closes");
}
