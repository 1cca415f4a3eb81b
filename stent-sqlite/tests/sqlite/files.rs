//! The identity of files: a store behind a symbolic link, and connections that replace others.

use stent_core::backend::{Backend, ErrorKind, Inspect};
use stent_sqlite::{SqliteOptions, SqliteStore};

use crate::place::Folder;
use crate::support::{commit, root, start, t};

#[tokio::test]
#[cfg(unix)]
async fn the_log_of_a_store_behind_a_link_is_watched_too() {
    let folder = Folder::new();
    folder.ready().await.close().await.expect("closes");
    let link = folder.0.path().join("link.db");
    std::os::unix::fs::symlink(folder.0.path().join("stent.db"), &link).expect("a link");
    let store = SqliteStore::open(SqliteOptions::file(link)).await.expect("opens");
    commit(&store, &[start(root("charge"))]).await;

    std::fs::remove_file(folder.0.path().join("stent.db-wal")).expect("removed");

    let error = store.exchange(&[start(root("charge"))], None).await.expect_err("its log is gone");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("removed its log"), "{error}");
}

#[tokio::test]
async fn a_connection_that_takes_the_place_of_the_writer_has_its_files() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let write = store.connections().write.get_sqlite_connection_pool();
    for _ in 0..3 {
        commit(&store, &[start(root("charge"))]).await;
        write.acquire().await.expect("a connection").close().await.expect("closes");
    }
    commit(&store, &[start(root("charge"))]).await;
    assert_eq!(store.lanes(t(1), usize::MAX).await.expect("reads")[0].due, 4);
}
