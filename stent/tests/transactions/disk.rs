//! A full disk in a real process: every confirmed write is there.
//!
//! This needs no root: the process may not write files beyond a size (`RLIMIT_FSIZE`), a little above that of its log, and
//! gets an error instead of a signal. The process is this test program, started again for one test.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use stent::prelude::*;

use crate::World;

const TOLD: &str = "STENT_FULL_DISK";
const SAID: &str = "confirmed ";

/// Executions before the disk is full, and after it has room again.
const BEFORE: usize = 100;
const AFTER: usize = 20;

#[durable(name = "disk.nothing")]
async fn nothing(_weight: String) {}

#[derive(Debug, Serialize, Deserialize)]
struct Told {
    url: String,
    log: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Said {
    confirmed: Vec<stent::ExecutionId>,
    while_full: String,
}

#[test]
fn what_is_confirmed_around_a_full_disk_is_there_after_a_kill() {
    crate::run(World::sqlite(), async |world| {
        let told = Told { url: world.url.clone(), log: world.folder.path().join("shop.db-wal") };
        // An error as of a full disk, instead of a signal that ends the process.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["disk::a_process_whose_disk_is_full", "--exact", "--nocapture"])
            .env(TOLD, serde_json::to_string(&told).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let said = out.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let (_, said) = line.split_once(SAID)?;
            Some(serde_json::from_str::<Said>(said).unwrap())
        });
        let said = said.expect("the process says what was confirmed to it");
        println!("while the disk was full: {}", said.while_full);

        // Visible to others, and not only to the writer.
        assert_eq!(said.confirmed.len(), BEFORE + AFTER);
        let other = Stent::connect(&world.url).await.unwrap();
        for id in &said.confirmed {
            other.status(*id).await.unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let after = Stent::connect(&world.url).await.unwrap();
        for id in &said.confirmed {
            after.status(*id).await.unwrap();
        }
        after.dispatch(nothing(String::new())).await.unwrap();
    });
}

/// Not a test by itself: the process that the test starts.
#[test]
fn a_process_whose_disk_is_full() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let told: Told = serde_json::from_str(&told).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let said = runtime.block_on(async {
        let stent = Stent::connect(&told.url).await.unwrap();
        let mut confirmed = Vec::new();
        for _ in 0..BEFORE {
            confirmed.push(stent.dispatch(nothing(weight())).await.unwrap().id());
        }
        let room = std::fs::metadata(&told.log).unwrap().len() + 4_096;
        limit_files_to(&room.to_string());
        let full = stent.dispatch(nothing(weight())).await;
        limit_files_to("unlimited");
        let while_full = match full {
            Ok(run) => panic!("{} was confirmed on a full disk", run.id()),
            Err(error) => error.to_string(),
        };
        for _ in 0..AFTER {
            confirmed.push(stent.dispatch(nothing(weight())).await.unwrap().id());
        }
        let _open = stent;
        Said { confirmed, while_full }
    });
    println!("\n{SAID}{}", serde_json::to_string(&said).unwrap());
    // Runs until it is killed.
    std::io::stdin().lock().lines().for_each(drop);
}

/// More than one page, so that it does not fit into the remaining space.
fn weight() -> String {
    "x".repeat(20_000)
}

/// The soft limit of this process, which it may raise again.
fn limit_files_to(bytes: &str) {
    let limit = Command::new("prlimit")
        .args([&format!("--pid={}", std::process::id()), &format!("--fsize={bytes}:")])
        .status();
    assert!(limit.expect("prlimit, which is part of util-linux").success());
}
