//! Records of workers: written whole, read in pages, and purged once their workers are over.

use stent_core::WorkerId;
use stent_core::backend::{Purge, PurgeRequest};
use stent_core::model::{WorkerRecord, WorkerState};

use super::words::*;

list! { worker:
    G14 a_worker_is_read_as_it_was_written,
    G1 the_last_record_of_a_worker_stands,
    G1 workers_of_all_handles_are_read_in_pages_oldest_first,
    G16 workers_that_have_stopped_or_died_are_purged_and_others_stay,
    G16 no_more_workers_are_purged_than_asked_for_and_the_longest_unseen_first,
    G16 a_purge_of_other_kinds_keeps_workers_and_theirs_keeps_everything_else,
}

/// A worker that was seen at this moment.
fn seen(world: &World, name: &str, state: WorkerState, at: Timestamp) -> WorkerRecord {
    let id = WorkerId::from_uuid(*world.id().as_uuid());
    let mut record = WorkerRecord::new(id, name.to_owned(), t(-9_999));
    (record.state, record.seen_at) = (state, at);
    record
}

async fn report(world: &World, record: &WorkerRecord) {
    world.note(format_args!("report {} {} seen {}", record.name, record.state, record.seen_at));
    world.store().report(record).await.expect("report");
}

async fn workers(world: &World) -> Vec<WorkerRecord> {
    world.store().workers(None, limits::PAGE_MAX).await.expect("workers")
}

async fn names(world: &World) -> Vec<String> {
    workers(world).await.into_iter().map(|worker| worker.name).collect()
}

async fn purge(world: &World, before: Timestamp, now: Timestamp, max: u32) -> u32 {
    world.purge_as(PurgeRequest { what: Purge::Workers, before, now, max }).await
}

async fn a_worker_is_read_as_it_was_written(world: World) {
    same("of an empty store", workers(&world).await, []);
    let mut record = seen(&world, "mailer \u{1f980}\0", WorkerState::Draining, t(7));
    record.host = "böx-1".to_owned();
    record.pid = u32::MAX;
    record.program = "orders".to_owned();
    record.version = Some("1.2.3-rc.1+7".to_owned());
    record.stent = "0.1.0".to_owned();
    record.queues = Some(vec!["mail".to_owned(), "e'u".to_owned(), String::new()]);
    record.tags = vec!["gpu".to_owned(), "\"quoted\"".to_owned()];
    record.functions = (0..limits::WORKER_NAMES_MAX).map(|n| format!("shop::mail::{n}")).collect();
    (record.slots, record.used) = (64, 63);
    record.drift_us = i64::MIN;
    record.started_at = t(-3);
    let plain = seen(&world, "plain", WorkerState::Starting, t(8));

    report(&world, &record).await;
    report(&world, &plain).await;
    same("read", workers(&world).await, [record.clone(), plain.clone()]);
    let world = world.crash().await;
    same("read after a crash", workers(&world).await, [record, plain]);
}

async fn the_last_record_of_a_worker_stands(world: World) {
    let peer = world.peer().await;
    let mut record = seen(&world, "mailer", WorkerState::Ready, t(30));
    record.queues = Some(vec!["mail".to_owned()]);
    report(&world, &record).await;
    let mut later = record.clone();
    (later.state, later.seen_at, later.queues) = (WorkerState::Draining, t(31), None);

    report(&peer, &later).await;
    same("as it was written last", workers(&world).await, [later.clone()]);
    report(&peer, &later).await;
    same("and again", workers(&world).await, [later]);
    // Whatever an earlier record said: a clock may have been set back, and a worker may be seen again.
    report(&world, &record).await;
    same("the same as before", workers(&peer).await, [record]);
}

async fn workers_of_all_handles_are_read_in_pages_oldest_first(world: World) {
    let peer = world.peer().await;
    let mut records: Vec<_> =
        (0..7).map(|n| seen(&world, &format!("w{n}"), WorkerState::Ready, t(100 - n))).collect();
    for (n, record) in records.iter().enumerate().rev() {
        report(if n % 2 == 0 { &world } else { &peer }, record).await;
    }
    let page = async |after, max| world.store().workers(after, max).await.expect("a page");

    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = page(after, 3).await;
        let is_last = page.len() < 3;
        after = page.last().map(|worker| worker.id);
        read.extend(page);
        if is_last {
            break;
        }
    }
    same("read in pages", read, records.clone());
    same("none", page(None, 0).await, []);
    same("as many as there may be", page(None, usize::MAX).await.len(), 7);
    // The worker at the end of the last page may be gone.
    let gone = records.remove(3);
    let mut stopped = gone.clone();
    stopped.state = WorkerState::Stopped;
    report(&world, &stopped).await;
    same("purged", purge(&world, t(200), t(100), 9).await, 1);
    same("after what is gone", page(Some(gone.id), 2).await, &records[3..5]);
}

async fn workers_that_have_stopped_or_died_are_purged_and_others_stay(world: World) {
    use WorkerState::{Crashed, Draining, Ready, Starting, Stopped};
    let now = t(1_000);
    let silent = now - limits::WORKER_SILENCE_MAX;
    let micro = Duration::from_micros(1);
    for (name, state, at) in [
        ("stopped", Stopped, t(900)),
        ("stopped at the bound", Stopped, t(950)),
        ("stopped just before it", Stopped, t(950) - micro),
        ("crashed", Crashed, t(0)),
        ("ready", Ready, silent),
        ("dead", Ready, silent - micro),
        ("dead in a drain", Draining, t(0)),
        ("dead at its start", Starting, t(1)),
        ("draining", Draining, t(999)),
        ("from the future", Ready, t(9_999)),
    ] {
        report(&world, &seen(&world, name, state, at)).await;
    }

    same("purged", purge(&world, t(950), now, 99).await, 6);
    let left = ["stopped at the bound", "ready", "draining", "from the future"];
    same("left", names(&world).await, left.map(str::to_owned));
    same("purged again", purge(&world, t(950), now, 99).await, 0);
    // A moment later, one more of them is dead.
    same("purged later", purge(&world, t(950), now + micro, 99).await, 1);
    same("left", names(&world).await, [left[0], left[2], left[3]].map(str::to_owned));
}

async fn no_more_workers_are_purged_than_asked_for_and_the_longest_unseen_first(world: World) {
    for (n, second) in [5, 1, 4, 2, 3].into_iter().enumerate() {
        let state = if n % 2 == 0 { WorkerState::Stopped } else { WorkerState::Ready };
        report(&world, &seen(&world, &format!("seen {second}"), state, t(second))).await;
    }
    // A worker that lives does not stand before those that do not.
    report(&world, &seen(&world, "alive", WorkerState::Ready, t(900))).await;

    same("none", purge(&world, t(9_000), t(901), 0).await, 0);
    same("two", purge(&world, t(9_000), t(901), 2).await, 2);
    same("left", names(&world).await, ["seen 5", "seen 4", "seen 3", "alive"].map(str::to_owned));
    same("the rest", purge(&world, t(9_000), t(901), 9).await, 3);
    same("left", names(&world).await, ["alive".to_owned()]);
}

async fn a_purge_of_other_kinds_keeps_workers_and_theirs_keeps_everything_else(world: World) {
    report(&world, &seen(&world, "stopped", WorkerState::Stopped, t(0))).await;
    let claimed = world.running("charge").await;
    world.apply(claimed.complete("receipt")).await;
    let dead = world.running("charge").await;
    world.apply(dead.fail(declined())).await;

    same("workers", purge(&world, t(9), t(9), 9).await, 1);
    same("no worker is left", names(&world).await.len(), 0);
    let views = [claimed.task.id, dead.task.id].map(TaskId::execution);
    same("executions", world.store().executions(&views).await.expect("read").len(), 2);
    report(&world, &seen(&world, "stopped", WorkerState::Stopped, t(0))).await;
    for what in [Purge::Details, Purge::Results, Purge::Executions, Purge::DeadLetters] {
        world.purge_of(what, t(9), 9).await;
    }
    same("executions are gone", world.store().executions(&views).await.expect("read").len(), 0);
    same("and the worker stays", names(&world).await, ["stopped".to_owned()]);
}
