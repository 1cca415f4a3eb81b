//! The schema: made once, whoever comes, and never taken for an older one.

use sea_orm::ConnectionTrait;
use stent_core::backend::{ErrorKind, Migrate, SchemaVersion};
use stent_sqlite::SqliteStore;

use crate::support::{Folder, commit, root, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handles_that_migrate_at_once_all_succeed() {
    for _ in 0..5 {
        let folder = Folder::new();
        let start_together = std::sync::Arc::new(tokio::sync::Barrier::new(8));
        let handles: Vec<_> = (0..8)
            .map(|_| {
                let (options, together) = (folder.options(), std::sync::Arc::clone(&start_together));
                tokio::spawn(async move {
                    together.wait().await;
                    let store = SqliteStore::open(options).await?;
                    store.migrate().await?;
                    store.version().await
                })
            })
            .collect();

        for handle in handles {
            let version = handle.await.expect("ends").expect("migrates");
            assert_eq!(version.applied, version.known);
        }
        let store = folder.open().await;
        commit(&store, &[start(root("charge"))]).await;
    }
}

#[tokio::test]
async fn migrating_again_does_nothing() {
    let folder = Folder::new();
    let store = folder.ready().await;

    let before = store.counters();
    store.migrate().await.expect("migrates");

    assert_eq!((store.counters() - before).transactions, 0);
}

#[tokio::test]
async fn a_store_that_is_new_has_seen_no_migration() {
    let folder = Folder::new();
    let store = folder.open().await;

    let version = store.version().await.expect("reads");

    assert_eq!(version, SchemaVersion { applied: 0, known: 1 });
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let newer = "INSERT INTO stent_migration (version, applied_at) VALUES ('m9999_signals', 0)";
    store.connections().write.execute_unprepared(newer).await.expect("writes");

    let error = folder.open().await.migrate().await.expect_err("is newer");

    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("m9999_signals"), "{error}");
    assert!(error.to_string().contains("upgrade this program"), "{error}");
    assert_eq!(store.version().await.expect("reads"), SchemaVersion { applied: 2, known: 1 });
}

#[tokio::test]
async fn views_show_moments_as_people_write_them() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("charge"))]).await;

    let read = |text: &'static str| {
        let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, text);
        let connection = store.connections().read.clone();
        async move { connection.query_one_raw(statement).await.expect("reads").expect("a row") }
    };
    let execution = read("SELECT function, status, created_at FROM stent_execution_view").await;
    let task = read("SELECT name, status, ready_at FROM stent_task_view").await;

    for (row, name) in [(execution, "charge"), (task, "charge")] {
        let (shown, status, moment): (String, String, String) =
            row.try_get_many_by_index().expect("three texts");
        assert_eq!(
            (shown.as_str(), status.as_str(), moment.as_str()),
            (name, "pending", "2025-11-21T00:00:00.123Z")
        );
    }
}
