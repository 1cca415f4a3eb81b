//! Unusable files, and the errors about them.

use std::fs;
use std::time::Duration;

use sea_orm::ConnectionTrait;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};
use stent_core::backend::{Backend, Error, ErrorKind, Inspect, Migrate};
use stent_sqlite::{SqliteOptions, SqliteStore};

use crate::place::Folder;
use crate::support::{commit, root, start};

async fn refusal(options: SqliteOptions) -> Error {
    match SqliteStore::open(options).await {
        Ok(store) => panic!("{store:?} should not have opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_missing_file_is_created() {
    let folder = Folder::new();

    let store = folder.ready().await;

    assert!(folder.options().path().expect("a file").exists());
    assert_eq!(store.info().location, folder.options().path().expect("a file").display().to_string());
}

#[tokio::test]
async fn a_missing_directory_is_named_and_not_created() {
    let folder = Folder::new();
    let path = folder.0.path().join("data").join("stent.db");

    let error = refusal(SqliteOptions::file(&path)).await;

    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert!(error.to_string().contains("create the directory first"), "{error}");
    assert!(!folder.0.path().join("data").exists());
}

#[tokio::test]
async fn a_missing_file_that_is_not_to_be_created_is_an_error() {
    let folder = Folder::new();
    let options = folder.options().create(false);
    let path = options.path().expect("a file").to_owned();

    let error = refusal(options.clone()).await;

    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(&format!("{} does not exist", path.display())), "{error}");
    assert!(!path.exists());
    folder.ready().await.close().await.expect("closes");
    SqliteStore::open(options).await.expect("it is there").close().await.expect("closes");
}

async fn journal_mode(path: &std::path::Path) -> String {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("opens");
    let row = connection.fetch_one("PRAGMA journal_mode").await.expect("a mode");
    connection.close().await.expect("closes");
    row.get(0)
}

#[tokio::test]
async fn a_database_of_another_program_that_is_only_read_keeps_its_journal_mode() {
    let folder = Folder::new();
    let options = folder.options();
    let path = options.path().expect("a file").to_owned();
    let mut theirs = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Delete)
        .connect()
        .await
        .expect("opens");
    theirs.execute("CREATE TABLE song (name TEXT)").await.expect("a table");
    theirs.close().await.expect("closes");

    let store = SqliteStore::open(options.clone().create(false)).await.expect("it is a database");
    store.version().await.expect("it is read");
    store.close().await.expect("closes");
    assert_eq!(journal_mode(&path).await, "delete");

    // Stent's tables may stand beside the application's own.
    let store = SqliteStore::open(options.clone()).await.expect("opens");
    store.migrate().await.expect("migrates");
    store.close().await.expect("closes");
    assert_eq!(journal_mode(&path).await, "wal");

    // A copy by VACUUM INTO has no log.
    let copy = path.with_extension("copy");
    let mut ours = SqliteConnectOptions::new().filename(&path).connect().await.expect("opens");
    let into = format!("VACUUM INTO '{}'", copy.display());
    ours.execute(AssertSqlSafe(into)).await.expect("copies");
    ours.close().await.expect("closes");
    assert_eq!(journal_mode(&copy).await, "delete");
    SqliteStore::open(SqliteOptions::file(&copy).create(false))
        .await
        .expect("a store")
        .close()
        .await
        .expect("closes");
    assert_eq!(journal_mode(&copy).await, "wal");
}

#[tokio::test]
async fn a_directory_is_no_store() {
    let folder = Folder::new();

    let error = refusal(SqliteOptions::file(folder.0.path())).await;

    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("is a directory"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = Folder::new();
    let path = folder.0.path().join("notes.txt");
    let text = "these are notes, and not few of them\n".repeat(100);
    fs::write(&path, &text).expect("a file");

    let error = refusal(SqliteOptions::file(&path)).await;

    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("not a SQLite database"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("the file"), text);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_refused() {
    // A file system on which no files can be created.
    let error = refusal(SqliteOptions::file("/proc/stent.db")).await;

    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("check the permissions"), "{error}");
}

#[tokio::test]
async fn a_file_that_may_only_be_read_is_refused() {
    let folder = Folder::new();
    folder.ready().await.close().await.expect("closes");
    let path = folder.options().path().expect("a file").to_owned();
    let mut permissions = fs::metadata(&path).expect("the file").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).expect("permissions");
    // The superuser may write regardless of permissions, and so may its store.
    let may_write = fs::OpenOptions::new().write(true).open(&path).is_ok();

    match SqliteStore::open(folder.options()).await {
        Ok(store) => {
            assert!(may_write);
            store.close().await.expect("closes");
        }
        Err(error) => {
            assert!(!may_write, "{error}");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("check the permissions"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_only_read_writes_nothing_and_creates_no_files() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("charge"))]).await;
    let options = folder.options().read_only(true);
    let count = async |options: &SqliteOptions| {
        let reader = SqliteStore::open(options.clone()).await.expect("opens");
        let found = reader.count(9).await.expect("reads");
        let error = reader.exchange(&[start(root("charge"))], None).await.expect_err("it may not write");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        reader.close().await.expect("closes");
        found.values().sum::<u64>()
    };

    assert_eq!(count(&options).await, 1, "beside a writer, from its log");
    store.close().await.expect("closes");
    assert_eq!(count(&options).await, 1, "without a writer");

    let names =
        fs::read_dir(folder.0.path()).expect("the folder").map(|file| file.expect("a file").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["stent.db"]);
    let missing = refusal(SqliteOptions::file(folder.0.path().join("none.db")).read_only(true)).await;
    assert!(missing.to_string().contains("does not exist"), "{missing}");
    fs::write(folder.0.path().join("text.db"), "not a database, but long enough to be looked at")
        .expect("a file");
    let other = refusal(SqliteOptions::file(folder.0.path().join("text.db")).read_only(true)).await;
    assert!(other.to_string().contains("is not a SQLite database"), "{other}");
}

#[tokio::test]
async fn a_reader_that_was_there_first_sees_what_a_later_writer_commits() {
    let folder = Folder::new();
    folder.ready().await.close().await.expect("closes");
    let reader = SqliteStore::open(folder.options().read_only(true)).await.expect("opens");
    let count = async || reader.count(9).await.expect("reads").values().sum::<u64>();
    assert_eq!(count().await, 0);

    // One that has ended before the reader looks again, and one that goes on.
    let short = folder.open().await;
    commit(&short, &[start(root("charge"))]).await;
    short.close().await.expect("closes");
    assert_eq!(count().await, 1);
    let long = folder.open().await;
    commit(&long, &[start(root("charge"))]).await;
    assert_eq!(count().await, 2);
    commit(&long, &[start(root("charge"))]).await;

    assert_eq!(count().await, 3);
    reader.close().await.expect("closes");
    long.close().await.expect("closes");
    let names =
        fs::read_dir(folder.0.path()).expect("the folder").map(|file| file.expect("a file").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["stent.db"]);
}

#[tokio::test]
async fn a_file_that_another_has_locked_is_waited_for_and_then_refused() {
    let folder = Folder::new();
    let holder = SqliteStore::open(folder.options()).await.expect("opens");
    let lock = &holder.connections().write;
    lock.execute_unprepared("PRAGMA journal_mode = DELETE").await.expect("switches");
    lock.execute_unprepared("BEGIN EXCLUSIVE").await.expect("locks");

    let error = refusal(folder.options().busy_timeout(Duration::from_millis(50))).await;

    assert_eq!(error.kind(), ErrorKind::Contended);
    assert!(error.is_transient());
    assert!(error.to_string().contains("busy_timeout"), "{error}");
}

#[tokio::test]
async fn a_writer_waits_for_another_no_longer_than_its_timeout() {
    let folder = Folder::new();
    let holder = folder.ready().await;
    let store =
        SqliteStore::open(folder.options().busy_timeout(Duration::from_millis(50))).await.expect("opens");
    holder.connections().write.execute_unprepared("BEGIN IMMEDIATE").await.expect("locks");

    let error = store.exchange(&[start(root("charge"))], None).await.expect_err("is locked");

    assert_eq!(error.kind(), ErrorKind::Contended);
    assert!(error.to_string().contains("busy_timeout"), "{error}");
    holder.connections().write.execute_unprepared("ROLLBACK").await.expect("unlocks");
    commit(&store, &[start(root("charge"))]).await;
}

#[tokio::test]
async fn a_store_without_tables_says_what_to_do() {
    let folder = Folder::new();
    let store = folder.open().await;

    let error = store.exchange(&[start(root("charge"))], None).await.expect_err("has no tables");

    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("migrate"), "{error}");
}

#[tokio::test]
async fn a_store_in_memory_holds_what_it_is_given() {
    let store = SqliteStore::open(SqliteOptions::memory()).await.expect("opens");
    store.migrate().await.expect("migrates");

    commit(&store, &[start(root("charge"))]).await;

    assert_eq!(crate::support::claim(&store, &["charge"], 9, crate::support::t(0)).await.len(), 1);
}

#[tokio::test]
async fn full_durability_is_what_one_gets_unasked() {
    let folder = Folder::new();
    for (options, synchronous) in
        [(folder.options(), 2), (folder.options().durability(stent_sqlite::Durability::Normal), 1)]
    {
        let store = SqliteStore::open(options).await.expect("opens");

        let read = |text: &'static str| {
            let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, text);
            let connection = store.connections().write.clone();
            async move { connection.query_one_raw(statement).await.expect("reads").expect("a row") }
        };

        assert_eq!(
            read("PRAGMA synchronous").await.try_get_by_index::<i64>(0).expect("a number"),
            synchronous
        );
        assert_eq!(read("PRAGMA journal_mode").await.try_get_by_index::<String>(0).expect("a word"), "wal");
    }
}
