//! The result of a turn reaches the store in spite of all obstacles; only data that the store cannot hold ends a task.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stent::backend::ErrorKind;
use stent::backend::limits::PAGE_MAX;
use stent::prelude::*;
use stent::{Failure, Stent, Worker};

use crate::rigged::Rigged;
use crate::{Db, World, eventually, on_every_store, ran, unique, until};

/// A text that [`Rigged`] cannot hold, if so configured.
const UNHOLDABLE: &str = "cannot be held";
/// The same text in a dispatch, which the store can hold.
const UNHOLDABLE_BACKWARDS: &str = "dleh eb tonnac";

fn given(text: &str) -> String {
    if text == UNHOLDABLE_BACKWARDS { text.chars().rev().collect() } else { text.to_owned() }
}

#[durable(name = "sending.effect")]
async fn effect(key: u64) -> Result<u64, String> {
    ran::note(key, "effect");
    Ok(key)
}

#[durable(name = "sending.gated", retry(max_attempts = 1))]
async fn gated(key: u64, n: u64) -> Result<u64, String> {
    ran::note(key, format!("effect {n}"));
    until(|| ran::count(key, "open") > 0).await;
    Ok(n)
}

#[durable(name = "sending.gives")]
async fn gives(key: u64, text: String) -> Result<String, String> {
    ran::note(key, "effect");
    Ok(given(&text))
}

#[durable(name = "sending.calls")]
async fn calls(key: u64, text: String) -> Result<String, stent::Error> {
    let first = gives(key, "fits".to_owned()).await?;
    ran::note(key, first);
    gives(key, text).await
}

#[durable(name = "sending.says")]
async fn says(key: u64, text: String) -> Result<(), stent::Error> {
    ran::note(key, "effect");
    stent::execution()?.progress(given(&text))
}

#[durable(name = "sending.fails_with", retry(max_attempts = 3, initial_delay = "5ms"))]
async fn fails_with(key: u64, kind: String) -> Result<(), Failure> {
    ran::note(key, "effect");
    Err(Failure::new(kind, "a\0b").fatal())
}

#[durable(name = "sending.sleeps_between")]
async fn sleeps_between(key: u64, n: u64) -> Result<u64, stent::Error> {
    let got = gated(key, n).await?;
    stent::sleep("1ms").await?;
    gated(key, got + 100).await
}

#[durable(name = "sending.goes_on")]
async fn goes_on(key: u64) -> Result<u64, stent::Error> {
    gated(key, 1).await?;
    gated(key, 2).await
}

#[durable(name = "sending.interruptible", retry(max_attempts = 1))]
async fn interruptible(key: u64) -> Result<(), String> {
    struct Interrupted(u64);
    impl Drop for Interrupted {
        fn drop(&mut self) {
            ran::note(self.0, "interrupted");
        }
    }
    let _interrupted = Interrupted(key);
    ran::note(key, "effect");
    until(|| ran::count(key, "open") > 0).await;
    Ok(())
}

const LEASE: Duration = Duration::from_millis(900);

async fn rigged(world: &World) -> (std::sync::Arc<Rigged>, Stent, Worker) {
    rigged_for(world, LEASE).await
}

async fn rigged_for(world: &World, lease: Duration) -> (std::sync::Arc<Rigged>, Stent, Worker) {
    let rigged = Rigged::new(world.stent.store());
    let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
    let worker = stent.worker().state(Db).lease(lease).start().await.expect("starts");
    (rigged, stent, worker)
}

/// Waits until leases were renewed so often that without renewals they would have expired twice.
async fn two_leases(rigged: &Rigged) {
    let before = rigged.renewals.load(Ordering::SeqCst);
    until(|| rigged.renewals.load(Ordering::SeqCst) >= before + 8).await;
}

on_every_store! {
    async fn a_store_that_does_not_answer_is_asked_again(world) {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().call_timeout("500ms").open(rigged.clone()).await.expect("opens");
        let worker = stent.worker().state(Db).start().await.expect("starts");
        let key = unique();
        let gated = stent.dispatch(gated(key, 1)).await.expect("dispatched");
        until(|| ran::count(key, "effect 1") == 1).await;

        rigged.hangs.store(true, Ordering::SeqCst);
        ran::note(key, "open");
        let sent = tokio::spawn(stent.dispatch(effect(key)).into_future());
        until(|| rigged.hanging.load(Ordering::SeqCst) >= 2).await;
        rigged.hangs.store(false, Ordering::SeqCst);

        let sent = tokio::time::timeout(Duration::from_secs(30), sent).await.expect("it is sent again");
        let sent = sent.expect("no panic").expect("accepted");
        sent.result().timeout("20s").await.expect("runs");
        assert_eq!(gated.result().timeout("20s").await.expect("runs"), 1);
        assert_eq!((ran::count(key, "effect 1"), ran::count(key, "effect")), (1, 1));
        worker.drain().await.expect("drains");
    }

    async fn a_result_is_sent_until_it_stands_whatever_the_store_says_meanwhile(world) {
        for kind in [ErrorKind::Config, ErrorKind::Corrupt, ErrorKind::Schema, ErrorKind::Unavailable, ErrorKind::Contended] {
            let (rigged, stent, worker) = rigged(&world).await;
            let key = unique();
            let runs = stent.dispatch_all((0..3).map(move |n| gated(key, n))).await.expect("dispatched");
            until(|| ran::list(key).len() == 3).await;
            // This worker would take over if the leases were not kept.
            let other = world.worker_with(|worker| worker.lease(LEASE)).await;

            *rigged.fails_with.lock().expect("whole") = Some(kind);
            ran::note(key, "open");
            until(|| rigged.failed.load(Ordering::SeqCst) > 0).await;
            two_leases(&rigged).await;
            *rigged.fails_with.lock().expect("whole") = None;

            for (n, run) in runs.iter().enumerate() {
                assert_eq!(run.result().timeout("20s").await.expect("runs"), n as u64);
                assert_eq!(ran::count(key, &format!("effect {n}")), 1, "{kind:?}");
                assert_eq!(stent.store().ended_claims(run.id().root()).await.expect("known"), [], "{kind:?}");
            }
            worker.stop().await.expect("stops");
            other.stop().await.expect("stops");
        }
    }

    async fn a_step_that_ran_in_its_parents_turn_is_kept_in_the_same_way(world) {
        let (rigged, stent, worker) = rigged(&world).await;
        let key = unique();
        let run = stent.dispatch(sleeps_between(key, 1)).await.expect("dispatched");
        until(|| ran::count(key, "effect 1") == 1).await;
        let other = world.worker_with(|worker| worker.lease(LEASE)).await;

        *rigged.fails_with.lock().expect("whole") = Some(ErrorKind::Config);
        ran::note(key, "open");
        until(|| rigged.failed.load(Ordering::SeqCst) > 0).await;
        two_leases(&rigged).await;
        *rigged.fails_with.lock().expect("whole") = None;

        assert_eq!(run.result().timeout("20s").await.expect("runs"), 101);
        assert_eq!((ran::count(key, "effect 1"), ran::count(key, "effect 101")), (1, 1));
        worker.stop().await.expect("stops");
        other.stop().await.expect("stops");
    }

    async fn what_the_store_cannot_hold_ends_the_task_after_one_run(world) {
        let (rigged, stent, worker) = rigged(&world).await;
        *rigged.cannot_hold.lock().expect("whole") = Some(UNHOLDABLE);
        let key = unique();
        let others = stent.dispatch_all((0..20).map(effect)).await.expect("dispatched");

        let (leaf, step, note) = (unique(), unique(), unique());
        let failed = [
            (leaf, stent.dispatch(gives(leaf, UNHOLDABLE_BACKWARDS.to_owned())).await.expect("dispatched").id()),
            (step, stent.dispatch(calls(step, UNHOLDABLE_BACKWARDS.to_owned())).await.expect("dispatched").id()),
            (note, stent.dispatch(says(note, UNHOLDABLE_BACKWARDS.to_owned())).await.expect("dispatched").id()),
        ];

        for (key, id) in failed {
            let error = stent.wait_for(id).timeout("20s").await.expect_err("it cannot be held");
            let stent::Error::Failed(failure) = error else { panic!("{error}") };
            assert_eq!(failure.kind, Failure::REFUSED);
            assert!(failure.message.contains("the store cannot hold") && failure.message.contains("limit"), "{failure}");
            assert!(ran::count(key, "effect") <= 2, "{:?}", ran::list(key));
        }
        assert_eq!((ran::count(leaf, "effect"), ran::count(note, "effect")), (1, 1));
        assert_eq!((ran::count(step, "fits"), ran::count(step, "effect")), (1, 2), "each step ran once");
        for run in others {
            run.result().timeout("20s").await.expect("what is beside it is written");
        }
        let _ = key;
        worker.drain().await.expect("drains");
    }

    async fn a_batch_that_does_not_fit_is_halved_until_it_does(world) {
        let (rigged, stent, worker) = rigged(&world).await;
        rigged.fits.store(3, Ordering::SeqCst);
        let key = unique();
        ran::note(key, "open");
        let mut runs = Vec::new();
        for n in 0..100 {
            runs.push(stent.dispatch(gated(key, n)).await.expect("dispatched"));
        }

        for (n, run) in runs.iter().enumerate() {
            assert_eq!(run.result().timeout("40s").await.expect("runs"), n as u64);
            assert_eq!(ran::count(key, &format!("effect {n}")), 1);
        }
        worker.drain().await.expect("drains");
    }

    async fn one_task_that_another_transaction_holds_delays_no_other_and_runs_once(world) {
        let (rigged, stent, worker) = rigged(&world).await;
        let key = unique();
        let runs = stent.dispatch_all((0..7).map(move |n| gated(key, n))).await.expect("dispatched");
        until(|| ran::list(key).len() == 7).await;

        rigged.held.lock().expect("whole").insert(runs[3].id().root());
        ran::note(key, "open");
        for (n, run) in runs.iter().enumerate().filter(|(n, _)| *n != 3) {
            assert_eq!(run.result().timeout("20s").await.expect("runs"), n as u64);
        }
        // Its lease expires in the store, so that the same worker claims it again.
        two_leases(&rigged).await;
        assert!(!stent.status(runs[3].id()).await.expect("known").is_terminal());
        rigged.held.lock().expect("whole").clear();

        assert_eq!(runs[3].result().timeout("20s").await.expect("runs"), 3);
        for n in 0..7 {
            assert_eq!(ran::count(key, &format!("effect {n}")), 1, "{n}");
        }
        worker.drain().await.expect("drains");
    }

    async fn a_commit_to_a_corrupt_row_is_reported_and_kept_and_delays_no_other(world) {
        let (rigged, stent, worker) = rigged(&world).await;
        let key = unique();
        let runs = stent.dispatch_all((0..7).map(move |n| gated(key, n))).await.expect("dispatched");
        until(|| ran::list(key).len() == 7).await;

        // All seven end at once, so their commits share batches.
        let corrupt = runs[3].id().root();
        rigged.corrupt.lock().expect("whole").insert(corrupt);
        ran::note(key, "open");
        for (n, run) in runs.iter().enumerate().filter(|(n, _)| *n != 3) {
            assert_eq!(run.result().timeout("20s").await.expect("runs"), n as u64);
        }
        until(|| worker.status().last_error.is_some()).await;
        let trouble = worker.status().last_error.expect("it is there").message;
        assert!(trouble.contains("corrupt"), "{trouble}");
        assert!(!stent.status(runs[3].id()).await.expect("known").is_terminal());

        // Now it is alone, and fails again and again. Other work is claimed and committed meanwhile.
        let failed = rigged.failed.load(Ordering::SeqCst);
        until(|| rigged.failed.load(Ordering::SeqCst) >= failed + 2).await;
        let later = stent.dispatch(gated(key, 7)).await.expect("dispatched");
        assert_eq!(later.result().timeout("20s").await.expect("runs"), 7);

        // Somebody repairs the store: the result is still there.
        rigged.corrupt.lock().expect("whole").clear();
        assert_eq!(runs[3].result().timeout("20s").await.expect("runs"), 3);
        for n in 0..8 {
            assert_eq!(ran::count(key, &format!("effect {n}")), 1, "{n}");
        }
        worker.drain().await.expect("drains");
    }

    async fn a_turn_whose_lease_ran_out_in_the_store_goes_on_once_it_is_renewed(world) {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        // The worker has no room to claim the task a second time.
        let worker = stent.worker().state(Db).lease(LEASE).concurrency(1).start().await.expect("starts");
        let key = unique();
        let run = stent.dispatch(goes_on(key)).await.expect("dispatched");
        until(|| ran::count(key, "effect 1") == 1).await;

        let root = run.id().root();
        rigged.held.lock().expect("whole").insert(root);
        rigged.not_renewed.lock().expect("whole").insert(root);
        ran::note(key, "open");
        eventually(async || {
            let running = stent.store().running(PAGE_MAX).await.expect("read");
            let now = stent.store().clock().await.expect("read");
            running.iter().all(|task| task.id != root || task.lease_until.is_none_or(|until| until <= now))
        }).await;
        let before = rigged.written.load(Ordering::SeqCst);
        rigged.held.lock().expect("whole").clear();
        until(|| rigged.written.load(Ordering::SeqCst) > before).await;

        let before = rigged.renewals.load(Ordering::SeqCst);
        until(|| rigged.renewals.load(Ordering::SeqCst) >= before + 8 || ran::count(key, "effect 2") > 0).await;
        assert_eq!(ran::count(key, "effect 2"), 0, "others may have the task by now");
        rigged.not_renewed.lock().expect("whole").clear();

        assert_eq!(run.result().timeout("20s").await.expect("runs"), 2);
        assert_eq!((ran::count(key, "effect 1"), ran::count(key, "effect 2")), (1, 1));
        worker.drain().await.expect("drains");
    }

    async fn an_outage_that_is_over_is_not_slept_through(world) {
        let (rigged, stent, worker) = rigged(&world).await;
        let key = unique();
        let run = stent.dispatch(gated(key, 1)).await.expect("dispatched");
        until(|| ran::list(key).len() == 1).await;
        rigged.is_out.store(true, Ordering::SeqCst);
        ran::note(key, "open");

        // Pauses that doubled up to five seconds would take more than the minute that a test has.
        until(|| rigged.failed.load(Ordering::SeqCst) >= 24).await;
        rigged.is_out.store(false, Ordering::SeqCst);

        assert_eq!(run.result().timeout("20s").await.expect("runs"), 1);
        assert_eq!(ran::count(key, "effect 1"), 1);
        worker.drain().await.expect("drains");
    }

    async fn outages_that_the_worker_survives_are_no_crashes(world) {
        let (rigged, stent, worker) = rigged_for(&world, Duration::from_millis(200)).await;
        let key = unique();
        let run = stent.dispatch(interruptible(key)).await.expect("dispatched");
        for outage in 1..=11 {
            until(|| ran::count(key, "effect") == outage).await;
            rigged.is_out.store(true, Ordering::SeqCst);
            rigged.failing_renewals.store(u64::MAX, Ordering::SeqCst);
            until(|| ran::count(key, "interrupted") == outage).await;
            rigged.failing_renewals.store(0, Ordering::SeqCst);
            rigged.is_out.store(false, Ordering::SeqCst);
        }
        until(|| ran::count(key, "effect") == 12).await;
        ran::note(key, "open");

        run.result().timeout("20s").await.expect("it is healthy");
        worker.drain().await.expect("drains");
    }

    async fn large_dispatches_at_once_are_all_accepted(world) {
        let rigged = Rigged::new(world.stent.store());
        rigged.bytes_fit.store(16 * 1024 * 1024, Ordering::SeqCst);
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        let text = "x".repeat(1024 * 1024);

        let sent = (0..64).map(|_| stent.dispatch(gives(0, text.clone())).into_future());

        for sent in futures::future::join_all(sent).await {
            sent.expect("accepted");
        }
    }

    async fn a_write_that_is_refused_fails_alone(world) {
        let rigged = Rigged::new(world.stent.store());
        *rigged.cannot_hold.lock().expect("whole") = Some(UNHOLDABLE);
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");

        let texts = (0..40).map(|n| if n == 17 { UNHOLDABLE } else { "fits" });
        let sent = texts.map(|text| stent.dispatch(gives(0, text.to_owned())).into_future());
        let sent = futures::future::join_all(sent).await;

        let refused: Vec<_> = (0..40).filter(|n| sent[*n].is_err()).collect();
        assert_eq!(refused, [17]);
    }

    async fn a_write_that_waits_for_a_row_holds_no_other_up(world) {
        let (rigged, stent, worker) = rigged(&world).await;
        let key = unique();
        let held = stent.dispatch(gated(key, 1)).await.expect("dispatched");
        until(|| ran::list(key).len() == 1).await;
        rigged.held.lock().expect("whole").insert(held.id().root());

        let signal = tokio::spawn(held.signal("go", &1_u64).into_future());
        for n in 0..20 {
            stent.dispatch(effect(n)).await.expect("accepted").result().timeout("20s").await.expect("runs");
        }
        assert!(!signal.is_finished(), "it is sent again for a while");
        rigged.held.lock().expect("whole").clear();

        signal.await.expect("no panic").expect("sent in the end");
        ran::note(key, "open");
        held.result().timeout("20s").await.expect("runs");
        worker.drain().await.expect("drains");
    }

    async fn a_dispatch_is_sent_again_whatever_the_store_says_meanwhile(world) {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        for kind in [ErrorKind::Config, ErrorKind::Unavailable, ErrorKind::Corrupt] {
            *rigged.fails_with.lock().expect("whole") = Some(kind);
            let before = rigged.failed.load(Ordering::SeqCst);
            let sent = tokio::spawn(stent.dispatch(effect(1)).into_future());
            until(|| rigged.failed.load(Ordering::SeqCst) > before + 2).await;
            *rigged.fails_with.lock().expect("whole") = None;

            sent.await.expect("no panic").expect("accepted");
        }
    }

    async fn a_failure_of_any_kind_is_stored_as_it_is_or_visibly_cut(world) {
        let worker = world.worker().await;
        for (kind, stored) in [
            ("Declined".to_owned(), "Declined".to_owned()),
            ("a\0b".to_owned(), "a␀b".to_owned()),
            ("k".repeat(10_000), format!("{}… (truncated; 10000 bytes in total)", "k".repeat(218))),
        ] {
            let key = unique();
            let run = world.stent.dispatch(fails_with(key, kind)).await.expect("dispatched");
            let error = run.result().timeout("20s").await.expect_err("it fails");
            let stent::Error::Failed(failure) = error else { panic!("{error}") };
            assert_eq!((failure.kind.as_str(), failure.message.as_str()), (stored.as_str(), "a\0b"));
            assert_eq!(ran::count(key, "effect"), 1);
        }
        worker.drain().await.expect("drains");
    }

    async fn progress_with_a_zero_character_is_stored_with_a_picture_of_it(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(says(key, "a\0b".to_owned())).await.expect("dispatched");

        run.result().timeout("20s").await.expect("runs");

        let notes = world.stent.notes(run.id()).await.expect("known");
        assert_eq!(notes.progress.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["a␀b"]);
        assert_eq!(ran::count(key, "effect"), 1);
        worker.drain().await.expect("drains");
    }
}
