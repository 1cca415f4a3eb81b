//! Files that are not the ones that are open: the process confirms nothing more, and says why.
//!
//! The other process is this test program, started again for one test.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use stent::StoreErrorKind;
use stent::prelude::*;
use stent::sea_orm::ConnectionTrait;

use crate::World;

const URL: &str = "STENT_OPENS_AND_CLOSES";

#[durable(name = "files.nothing")]
async fn nothing() {}

impl World {
    fn file(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }
}

#[track_caller]
fn says(error: &stent::Error, what: &str) {
    let stent::Error::Store(store) = error else { panic!("{error}") };
    assert_eq!(store.kind(), StoreErrorKind::Config, "{error}");
    assert!(error.to_string().contains(what) && error.to_string().contains("backup_to"), "{error}");
}

#[test]
fn a_store_whose_file_is_removed_stops_confirming() {
    crate::run(World::sqlite(), async |world| {
        world.stent.dispatch(nothing()).await.unwrap();

        fs::remove_file(world.file()).unwrap();

        says(&world.stent.dispatch(nothing()).await.unwrap_err(), "was removed or moved");
        says(&world.stent.inspect().count().await.unwrap_err(), "was removed or moved");
    });
}

#[test]
fn a_store_whose_file_is_moved_stops_confirming_until_it_is_back() {
    crate::run(World::sqlite(), async |world| {
        world.stent.dispatch(nothing()).await.unwrap();
        let elsewhere = world.folder.path().join("elsewhere.db");

        fs::rename(world.file(), &elsewhere).unwrap();
        says(&world.stent.dispatch(nothing()).await.unwrap_err(), "was removed or moved");
        fs::copy(&elsewhere, world.file()).unwrap();
        says(&world.stent.dispatch(nothing()).await.unwrap_err(), "was replaced");

        fs::rename(&elsewhere, world.file()).unwrap();
        world.stent.dispatch(nothing()).await.unwrap();
        assert_eq!(world.executions().await, 2);
    });
}

#[test]
fn a_store_whose_log_is_removed_stops_confirming() {
    crate::run(World::sqlite(), async |world| {
        world.stent.dispatch(nothing()).await.unwrap();

        // As a process with an SQLite older than 3.51 does when it closes a store whose other processes have lost their locks.
        fs::remove_file(world.folder.path().join("shop.db-wal")).unwrap();

        says(&world.stent.dispatch(nothing()).await.unwrap_err(), "removed its log");
        says(&world.stent.inspect().count().await.unwrap_err(), "removed its log");
    });
}

#[test]
fn what_is_confirmed_after_a_copy_by_hand_is_seen_by_others() {
    crate::run(World::sqlite(), async |world| {
        world.stent.dispatch(nothing()).await.unwrap();
        // The application's own pool has the file open, too, and must not disturb this test.
        world.database.clone().close().await.unwrap();

        // Drops the locks of this process, so that the next one may believe to be the last.
        fs::copy(world.file(), world.folder.path().join("copy.db")).unwrap();
        let opened = Command::new(std::env::current_exe().unwrap())
            .args(["files::a_process_that_opens_and_closes", "--exact"])
            .env(URL, &world.url)
            .status();
        assert!(opened.unwrap().success());

        let mut confirmed = Vec::new();
        for _ in 0..20 {
            match world.stent.dispatch(nothing()).await {
                Ok(run) => confirmed.push(run.id()),
                Err(error) => says(&error, "removed its log"),
            }
        }
        let other = Stent::connect(&world.url).await.unwrap();
        for id in confirmed {
            other.status(id).await.unwrap();
        }
    });
}

/// Not a test by itself: the process that a test starts.
#[test]
fn a_process_that_opens_and_closes() {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stent = Stent::connect(&url).await.unwrap();
        stent.inspect().count().await.unwrap();
        stent.close().await.unwrap();
    });
}

#[test]
fn a_backup_is_a_whole_store_and_work_goes_on_meanwhile() {
    crate::run(World::sqlite(), async |world| {
        world.database.execute_unprepared("INSERT INTO orders VALUES (7)").await.unwrap();
        for _ in 0..50 {
            world.stent.dispatch(nothing()).await.unwrap();
        }
        let path = world.folder.path().join("backup.db");

        let (backup, run) = tokio::join!(world.stent.backup_to(&path), world.stent.dispatch(nothing()));
        backup.unwrap();
        run.unwrap();

        let copy = Stent::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let count: u64 = copy.inspect().count().await.unwrap().values().sum();
        assert!(count == 50 || count == 51, "{count}");
        let worker = copy.worker().state(copy.clone()).state(crate::Tries::nowhere()).start().await.unwrap();
        copy.run(nothing()).await.unwrap();
        worker.drain().await.unwrap();
        world.stent.dispatch(nothing()).await.unwrap();
        assert_eq!(world.executions().await, 52);
        let left: Vec<_> = fs::read_dir(world.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("part"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_backup_overwrites_nothing_and_says_what_does_not_fit() {
    crate::run(World::sqlite(), async |world| {
        let error = world.stent.backup_to(world.file()).await.unwrap_err();
        assert!(error.to_string().contains("already exists"), "{error}");
        let nowhere = world.folder.path().join("nowhere").join("backup.db");
        let error = world.stent.backup_to(nowhere).await.unwrap_err();
        assert!(error.to_string().contains("create the directory first"), "{error}");

        let memory = Stent::connect("memory:").await.unwrap();
        let path = world.folder.path().join("memory.db");
        let error = memory.backup_to(&path).await.unwrap_err();
        assert!(error.to_string().contains("cannot copy itself to a file"), "{error}");

        let memory = Stent::connect("sqlite::memory:").await.unwrap();
        memory.dispatch(nothing()).await.unwrap();
        memory.backup_to(&path).await.unwrap();
        let copy = Stent::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        assert_eq!(copy.inspect().count().await.unwrap().values().sum::<u64>(), 1);
    });
}
