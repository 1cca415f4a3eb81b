//! Futures dropped at any moment: their work is done wholly or not at all, and the store keeps working.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use stent_core::WorkerId;
use stent_core::backend::{Backend, ClaimRequest, NoStickyCache};
use stent_core::model::{Nonce, TaskStatus};
use stent_core::transition::{Commit, Next, Outcome};
use stent_sql::SqlStore;
use uuid::Uuid;

use crate::place::{DROPS, Place};
use crate::support::{claim, commit, end, root, start, step, t, turn};

/// Polls a future at most this many times, and drops it. Returns whether it completed.
///
/// Between polls the driver and the server get some time, so that it is dropped in any state, and not only at its start.
async fn poll_up_to(times: u32, pause: Duration, future: impl Future) -> bool {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled =
            std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if polled {
            return true;
        }
        tokio::task::yield_now().await;
        std::thread::sleep(pause);
    }
    false
}

/// Pseudo-random numbers, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(sides)) as u32
    }
}

pub(crate) async fn survives_drops(store: &SqlStore, seed: u64) {
    let mut dice = Dice(seed);
    let (mut finished, mut sent) = (0, Vec::new());
    for _ in 0..DROPS {
        // Two dispatches: rows of several tables that belong together.
        let batch = [start(root("checkout")), start(root("note"))];
        let functions = ["checkout".to_owned()];
        let request = ClaimRequest {
            worker: WorkerId::from_uuid(Uuid::from_u128(9)),
            nonce: Nonce::new(7),
            now: t(0),
            until: t(30),
            max: 1,
            functions: &functions,
            queues: None,
            tags: &[],
            limits: &[],
            cache: &NoStickyCache,
        };
        let exchange = store.exchange(&batch, Some(&request));
        let pause = Duration::from_micros(dice.roll(120).into());
        finished += u32::from(poll_up_to(dice.roll(40), pause, exchange).await);
        sent.push(batch);
    }
    assert!(finished > DROPS / 20 && finished < DROPS, "{finished} of {DROPS} came to their end");

    // A transition that is sent again is applied if it was not before, and is complete if it was.
    let mut known = 0;
    for batch in &sent {
        let outcomes = commit(store, batch).await;
        let was_known = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Already(_)));
        let was_known: Vec<_> = was_known.collect();
        assert_eq!(was_known[0], was_known[1], "a batch in halves");
        known += u32::from(was_known[0]);
        for dispatch in batch {
            let execution = dispatch.task().execution();
            let tasks = stent_core::backend::Inspect::tasks(store, execution, None, 9).await.expect("reads");
            assert_eq!(tasks.len(), 1, "an execution that is known has its root");
        }
    }
    assert!(known >= finished, "{known} stand, {finished} were told so");

    // A dropped claim leaves no lock, and no lease that lasts.
    let mut left = sent.len();
    while left > 0 {
        let claimed = claim(store, &["checkout"], 500, t(30)).await;
        assert!(!claimed.is_empty(), "{left} cannot be claimed");
        let ends: Vec<_> = claimed.iter().map(end).collect();
        assert!(commit(store, &ends).await.iter().all(Outcome::stands));
        left -= claimed.len();
    }
}

pub(crate) async fn many_tasks_that_are_aborted_leave_a_healthy_store() {
    let place = Place::new();
    let store = place.ready().await;
    let mut dice = Dice(3);
    for _ in 0..200 {
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let store = std::sync::Arc::clone(&store);
                tokio::spawn(async move { commit(&store, &[start(root("charge"))]).await })
            })
            .collect();
        for _ in 0..dice.roll(20) {
            tokio::task::yield_now().await;
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }

    commit(&store, &[start(root("checkout"))]).await;
    let claimed = claim(&store, &["checkout"], 1, t(0)).await;
    let insert = vec![step(&claimed[0], 0, "charge")];
    commit(&store, &[Commit { insert, ..turn(&claimed[0], Next::Keep) }.into()]).await;
    let tasks = stent_core::backend::Inspect::tasks(&*store, claimed[0].task.tree.execution, None, 9).await;
    let statuses: Vec<_> = tasks.expect("reads").iter().map(|task| task.status).collect();
    assert_eq!(statuses, [TaskStatus::Running, TaskStatus::Pending]);
    store.close().await.expect("closes");
}
