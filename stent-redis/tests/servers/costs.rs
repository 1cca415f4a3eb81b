//! The costs of calls for the server, counted in commands, so that a slow machine does not matter.

use std::collections::BTreeMap;

use stent_core::backend::Claimed;
use stent_redis::RedisStore;

use crate::server::Server;
use crate::support::open;
use crate::work::{claim, commands, dispatch_in, dispatch_until, end, lane, limited, reset, send, t};

/// Returns the commands of a claim of at most one task, which must or must not find one.
async fn cost(server: &Server, store: &RedisStore, finds: bool) -> (BTreeMap<String, u64>, Vec<Claimed>) {
    reset(server);
    let claimed = claim(store, 1, t(10)).await;
    assert_eq!(claimed.len(), usize::from(finds));
    (commands(server), claimed)
}

#[tokio::test]
async fn lanes_that_were_used_once_cost_a_claim_nothing() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    assert_eq!(claim(&store, 1, t(10)).await, []); // Loads the script.
    let (before, _) = cost(&server, &store, false).await;

    for nth in 0..20 {
        let lanes = (0..500).map(|customer| lane(&[format!("customer-{}", nth * 500 + customer)]));
        dispatch_in(&store, lanes, t(1)).await;
        let claimed = claim(&store, 500, t(10)).await;
        assert_eq!(claimed.len(), 500);
        send(&store, &claimed.iter().map(end).collect::<Vec<_>>()).await;
    }

    let (after, _) = cost(&server, &store, false).await;
    assert_eq!(before, after);
    for key in ["stent:{test}:lanes", "stent:{test}:due"] {
        assert_eq!(server.ask::<usize>(&["EXISTS", key]), 0, "{key} is empty");
    }
}

#[tokio::test]
async fn a_claim_costs_the_same_with_few_and_many_lanes() {
    for due in [t(1), t(100)] {
        let mut costs = Vec::new();
        for count in [100, 2_000] {
            let server = Server::start(&[]);
            let store = open(&server.options()).await;
            dispatch_in(&store, (0..count).map(|tag| lane(&[tag.to_string()])), due).await;
            costs.push(cost(&server, &store, due < t(10)).await.0);
        }
        assert_eq!(costs[0], costs[1], "due at {due:?}");
    }
}

#[tokio::test]
async fn a_claim_costs_the_same_with_few_and_many_waiting_tasks() {
    let mut costs = Vec::new();
    for count in [100, 10_000] {
        let server = Server::start(&[]);
        let store = open(&server.options()).await;
        dispatch_in(&store, (0..count).map(|_| lane(&[])), t(1)).await;
        let (claiming, claimed) = cost(&server, &store, true).await;
        reset(&server);
        send(&store, &[end(&claimed[0])]).await;
        costs.push((claiming, commands(&server)));
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn a_claim_looks_at_a_bounded_number_of_tasks_whose_deadline_has_passed() {
    let mut costs = Vec::new();
    for overdue in [2_000, 4_000] {
        let server = Server::start(&[]);
        let store = open(&server.options()).await;
        dispatch_until(&store, overdue, t(5)).await;
        dispatch_in(&store, [lane(&[])], t(2)).await;
        costs.push(cost(&server, &store, false).await.0);

        let found = limited(&store, 1, t(10), None).await;
        assert!(found.next_due.is_some_and(|due| due <= t(10)), "the caller comes back at once: {found:?}");
        assert!(!found.expired.is_empty(), "and ends some of them first");
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn a_full_limit_costs_a_claim_one_look_at_each_lane() {
    let mut costs = Vec::new();
    for count in [100, 300] {
        let server = Server::start(&[]);
        let store = open(&server.options()).await;
        dispatch_in(&store, [lane(&[])], t(0)).await;
        assert_eq!(limited(&store, 1, t(1), Some(1)).await.claimed.len(), 1);
        dispatch_in(&store, (0..count).map(|tag| lane(&[tag.to_string()])), t(1)).await;
        reset(&server);
        assert_eq!(limited(&store, 1, t(10), Some(1)).await.claimed, []);
        costs.push(commands(&server)["zrangebylex"]);
    }
    // One look for the next moment in each lane, and the pages of the index.
    assert!(costs[1] - costs[0] <= 200 + 4, "{costs:?}");
}
