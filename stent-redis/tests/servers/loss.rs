//! Servers that lose the end of their history, as a power failure under `appendfsync everysec` or a failover does. The tests
//! cut the append-only file themselves.

use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Backend, Claimed, Renewal};
use stent_core::model::Nonce;
use stent_core::transition::Outcome;
use stent_redis::RedisStore;

use crate::server::{History, Server};
use crate::support::{NOW, claim, ended, exists, heals, new_id, open, start, write};

#[tokio::test]
async fn a_claim_number_that_comes_twice_after_a_loss_does_not_fool_the_fence() {
    let mut server = Server::start(&[]);
    let store = open(&server.options()).await;
    let (one, other) = (new_id(), new_id());
    write(&store, one).await.expect("writes");
    write(&store, other).await.expect("writes");
    let kept = History::of(&server);

    // The worker learns of claims that the server then forgets.
    let lost = claim(&store, 2, Nonce::new(1)).await;
    server.kill();
    kept.put_back();
    server.run().expect("it comes up again");
    heals(&store).await;
    let found = claim(&store, 2, Nonce::new(2)).await;

    for (lost, found) in lost.iter().zip(&found) {
        assert_eq!(lost.task.id, found.task.id);
        assert_eq!(lost.fence.epoch.count, found.fence.epoch.count, "the number comes twice");
        assert_ne!(lost.fence.epoch, found.fence.epoch, "the epoch does not");
        assert_eq!(renew(&store, lost).await, Renewal::Lost);
        assert_eq!(renew(&store, found).await, Renewal::Renewed);
    }
    let [first, second] = [0, 1].map(|n| (&lost[n], &found[n]));
    // Before the other worker's commit, and after it.
    assert_eq!(end(&store, first.0).await, Outcome::Fenced);
    assert!(matches!(end(&store, first.1).await, Outcome::Applied(_)));
    assert!(matches!(end(&store, second.1).await, Outcome::Applied(_)));
    assert_eq!(end(&store, second.0).await, Outcome::Gone, "it is not told that its own turn was stored");
}

#[tokio::test]
async fn a_history_that_is_cut_anywhere_ends_between_two_writes() {
    /// The number of places at which the batch's part of the file is cut.
    const CUTS: usize = 25;
    let mut server = Server::start(&[]);
    let store = open(&server.options()).await;
    let before = new_id();
    write(&store, before).await.expect("writes");
    let kept = History::of(&server);
    let batch = [(); 3].map(|()| new_id());
    store.exchange(&batch.map(start), None).await.expect("writes");
    let whole = History::of(&server);
    let added = whole.bytes.len() - kept.bytes.len();
    assert!(added > CUTS, "the batch is in the file, in {added} bytes");

    for cut in 0..CUTS {
        server.kill();
        whole.put_back_until(kept.bytes.len() + 1 + cut * (added - 1) / CUTS);
        let store = again(&mut server).await;

        assert!(exists(&store, before).await);
        for id in batch {
            assert!(!exists(&store, id).await, "cut {cut}: a part of a batch is there");
        }
    }
    let store = open(&server.options()).await;
    let outcomes = store.exchange(&batch.map(start), None).await.expect("writes");
    let is_new = |outcome: &Outcome| matches!(outcome, Outcome::Applied(_));
    assert!(outcomes.outcomes.iter().all(is_new), "nothing of the batch is in the way: {outcomes:?}");

    server.kill();
    whole.put_back();
    let store = again(&mut server).await;
    for id in batch {
        assert!(exists(&store, id).await, "the whole file has the whole batch");
    }
}

/// Starts the server again, and opens a store when the server has loaded its data.
async fn again(server: &mut Server) -> Arc<RedisStore> {
    server.run().expect("it comes up again");
    let store = open(&server.options()).await;
    while store.clock().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store
}

async fn renew(store: &RedisStore, claimed: &Claimed) -> Renewal {
    let leases = [claimed.lease];
    store.renew(&leases, NOW, NOW + Duration::from_secs(90)).await.expect("renews").remove(0)
}

async fn end(store: &RedisStore, claimed: &Claimed) -> Outcome {
    store.exchange(&[ended(claimed)], None).await.expect("writes").outcomes.remove(0)
}
