//! What an exchange may cost: so many statements, however much it carries; nothing, when there is nothing to do.

use stent_core::limits::EXCHANGE_TRANSITIONS_MAX;
use stent_core::model::{NewTaskState, Wait};
use stent_core::transition::{Change, Transition};
use stent_sql::Counters;

use crate::support::{Folder, claim, commit, end, exchange, root, start, step, t, turn};

/// Beginning and end of the transaction, which are not counted as statements.
const FRAME: u64 = 2;

#[tokio::test]
async fn an_exchange_takes_the_same_statements_for_one_and_for_many() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let mut costs = Vec::new();
    for size in [1, 100, EXCHANGE_TRANSITIONS_MAX] {
        // Parents with a step each: what is sent ends steps, parks parents, dispatches, and claims what that wakes.
        let dispatches: Vec<_> = (0..size).map(|_| start(root("checkout"))).collect();
        commit(&store, &dispatches).await;
        let parents = claim(&store, &["checkout"], size, t(0)).await;
        let parks: Vec<_> =
            parents.iter().map(|parent| parked_on(parent, step(parent, 0, "charge"))).collect();
        commit(&store, &parks).await;
        let steps = claim(&store, &["charge"], size, t(0)).await;
        let batch: Vec<_> = steps.iter().map(end).collect();

        let before = store.counters();
        let exchanged = exchange(&store, &batch, &["checkout"], size, t(1)).await;
        let cost = store.counters() - before;

        assert_eq!(exchanged.claimed.len(), size);
        assert!(exchanged.claimed.iter().all(|claimed| claimed.steps.len() == 1));
        assert_eq!(cost.transactions, 1);
        assert_eq!(cost.rows_written, 3 * size as u64, "a step, its parent, and the claim of that");
        costs.push(cost.statements);
        let ends: Vec<_> = exchanged.claimed.iter().map(end).collect();
        commit(&store, &ends).await;
    }
    assert_eq!(costs, [6, 6, 6]);
}

#[tokio::test]
async fn the_dearest_exchange_stays_within_its_budget() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("checkout")), start(root("checkout"))]).await;
    let parents = claim(&store, &["checkout"], 2, t(0)).await;
    let mut timer = step(&parents[0], 0, "sleep");
    timer.kind = stent_core::model::StepKind::Sleep;
    timer.state = NewTaskState::Timer { due: t(20) };
    let mut park = parked_on(&parents[0], timer);
    let given_up = step(&parents[1], 0, "charge");
    let erased = step(&parents[1], 1, "charge");
    let Change::Park(wait) = &mut park.change else { unreachable!() };
    wait.until = Some(t(20));
    let keep =
        Transition { insert: vec![given_up.clone(), erased.clone()], ..turn(&parents[1], Change::Keep) };
    commit(&store, &[park, keep]).await;

    // Everything at once: rows read, a lane not seen before, rows written and changed, a tree swept and one erased, news to
    // complete, and a claim that reads its record and completes a sleep.
    let mut dearest = turn(&parents[1], Change::Keep);
    let stent_core::transition::Guard::Leased { fence, .. } = &mut dearest.guard else { unreachable!() };
    *fence = fence.next();
    dearest.insert = vec![step(&parents[1], 2, "new")];
    dearest.cancel = vec![given_up.id];
    dearest.erase = vec![erased.id];
    dearest.seen = 5;
    let before = store.counters();
    let exchanged = exchange(&store, &[dearest], &["checkout"], 1, t(21)).await;
    let cost = store.counters() - before;

    assert_eq!(exchanged.claimed.len(), 1);
    assert_eq!(exchanged.claimed[0].task.done, 1, "the sleep has ended");
    assert_eq!(cost.transactions, 1);
    assert_eq!(cost.statements + FRAME, 12);
}

#[tokio::test]
async fn an_idle_claim_is_one_query_and_writes_nothing() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let mut later = root("charge");
    later.state = NewTaskState::Pending { ready_at: t(60) };
    commit(&store, &[start(later)]).await;

    let before = store.counters();
    let exchanged = exchange(&store, &[], &["charge"], 9, t(0)).await;

    assert_eq!(exchanged.next_due, Some(t(60)));
    assert_eq!(store.counters() - before, Counters { statements: 1, ..Counters::default() });
}

#[tokio::test]
async fn what_is_refused_writes_nothing() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("charge"))]).await;
    let claimed = claim(&store, &["charge"], 1, t(0)).await;
    commit(&store, &[end(&claimed[0])]).await;

    let before = store.counters();
    commit(&store, &[end(&claimed[0])]).await;
    let cost = store.counters() - before;

    assert_eq!((cost.transactions, cost.rows_written), (0, 0));
}

#[tokio::test]
async fn a_leaf_is_claimed_without_looking_for_steps() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("charge"))]).await;

    let before = store.counters();
    claim(&store, &["charge"], 1, t(0)).await;
    let cost = store.counters() - before;

    assert_eq!(cost.statements, 4, "a look, the streams, the pick, the claim");
}

#[tokio::test]
async fn a_step_is_three_rows_written() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let mut costs = Vec::new();
    for _ in 0..2 {
        let before = store.counters();
        commit(&store, &[start(root("charge"))]).await;
        let claimed = claim(&store, &["charge"], 1, t(0)).await;
        commit(&store, &[end(&claimed[0])]).await;
        costs.push((store.counters() - before).rows_written);
    }
    assert_eq!(costs, [4, 3], "the first one brings its lane");
}

fn parked_on(parent: &stent_core::backend::Claimed, step: stent_core::model::NewTask) -> Transition {
    Transition { insert: vec![step], ..turn(parent, Change::Park(Wait::for_next(0))) }
}
