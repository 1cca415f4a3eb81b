//! Budgets of exchanges: a fixed number of statements, however much an exchange carries, and none if there is nothing
//! to do.

use stent_core::backend::{Backend, ClaimRequest, Claimed, Expired, Limit};
use stent_core::limits::EXCHANGE_TRANSITIONS_MAX;
use stent_core::model::{Keyed, NewTask, NewTaskState, Note, Said, Wait, WorkerRecord};
use stent_core::transition::{Action, Commit, Expire, Next, Outcome, Request, Transition};
use stent_core::{Failure, Key, TaskId, WorkerId};
use stent_sql::Counters;
use uuid::Uuid;

use crate::place::{COSTS, Place};
use crate::support::{claim, commit, end, exchange, payload, request, root, start, step, t, turn};

/// Beginning and end of the transaction, which are not counted as statements.
const FRAME: u64 = 2;

/// A number of statements, and their names.
#[derive(Clone, Copy)]
pub(crate) struct Cost(pub(crate) u64, pub(crate) &'static str);

/// The costs of exchanges on one database.
pub(crate) struct Costs {
    pub(crate) steps_end_and_parents_go_on: Cost,
    /// Everything that can happen, with the beginning and the end of the transaction.
    pub(crate) everything_at_once: Cost,
    pub(crate) leaf_claimed: Cost,
    pub(crate) roots_end: Cost,
    pub(crate) keyed_dispatched: Cost,
    /// Calls with keys end, and another call waits under each key.
    pub(crate) keyed_end: Cost,
    pub(crate) notes_of_every_kind: Cost,
    pub(crate) time_is_up: Cost,
    pub(crate) asked_to_end: Cost,
    /// A claim of a function with limits, and of a function without.
    pub(crate) limited_claimed: Cost,
}

impl Cost {
    /// Checks that each of several exchanges of different sizes had this cost.
    #[track_caller]
    fn is_each_of<const SIZES: usize>(self, costs: &[u64]) {
        let Self(statements, which) = self;
        assert_eq!(costs, [statements; SIZES], "{which}");
    }
}

#[tokio::test]
async fn an_exchange_takes_the_same_statements_for_one_and_for_many() {
    let place = Place::new();
    let store = place.ready().await;
    let mut costs = Vec::new();
    for size in [1, 100, EXCHANGE_TRANSITIONS_MAX] {
        // Parents with a step each: the exchange ends steps, parks parents, dispatches, and claims the woken parents.
        let dispatches: Vec<_> = (0..size).map(|_| start(root("checkout"))).collect();
        commit(&store, &dispatches).await;
        let parents = claim(&store, &["checkout"], size, t(0)).await;
        let parks: Vec<_> =
            parents.iter().map(|parent| parked_on(parent, step(parent, 0, "charge")).into()).collect();
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
    COSTS.steps_end_and_parents_go_on.is_each_of::<3>(&costs);
}

#[tokio::test]
async fn the_dearest_exchange_stays_within_its_budget() {
    let place = Place::new();
    let store = place.ready().await;
    commit(&store, &[start(root("checkout")), start(root("checkout"))]).await;
    let parents = claim(&store, &["checkout"], 2, t(0)).await;
    let mut timer = step(&parents[0], 0, "sleep");
    timer.kind = stent_core::model::StepKind::Sleep;
    timer.state = NewTaskState::Timer { due: t(20) };
    let mut park = parked_on(&parents[0], timer);
    let given_up = step(&parents[1], 0, "charge");
    let erased = step(&parents[1], 1, "charge");
    park.next = Next::Park(Wait::for_next(0).until(Some(t(20))));
    let keep = Commit { insert: vec![given_up.clone(), erased.clone()], ..turn(&parents[1], Next::Keep) };
    commit(&store, &[park.into(), keep.into()]).await;

    // Everything at once: rows read, a lane not seen before, rows written and changed, a tree swept and one erased, news to
    // complete, and a claim that reads its record and completes a sleep.
    let mut dearest = turn(&parents[1], Next::Keep);
    dearest.fence = dearest.fence.next();
    dearest.insert = vec![step(&parents[1], 2, "new")];
    dearest.cancel = vec![given_up.id];
    dearest.erase = vec![erased.id];
    dearest.seen = 5;
    let before = store.counters();
    let exchanged = exchange(&store, &[dearest.into()], &["checkout"], 1, t(21)).await;
    let cost = store.counters() - before;

    assert_eq!(exchanged.claimed.len(), 1);
    assert_eq!(exchanged.claimed[0].task.done, 1, "the sleep has ended");
    assert_eq!(cost.transactions, 1);
    COSTS.everything_at_once.is_each_of::<1>(&[cost.statements + FRAME]);
}

#[tokio::test]
async fn an_idle_claim_is_one_query_and_writes_nothing() {
    let place = Place::new();
    let store = place.ready().await;
    let mut later = root("charge");
    later.state = NewTaskState::Pending { ready_at: t(60) };
    commit(&store, &[start(later)]).await;

    let before = store.counters();
    let exchanged = exchange(&store, &[], &["charge"], 9, t(0)).await;

    assert_eq!(exchanged.next_due, Some(t(60)));
    assert_eq!(store.counters() - before, Counters { statements: 1, ..Counters::default() });
}

/// A worker reports twice a minute, and at each change of its state.
#[tokio::test]
async fn a_report_is_one_statement_and_one_row() {
    let place = Place::new();
    let store = place.ready().await;
    let id = WorkerId::from_uuid(Uuid::now_v7());
    let mut worker = WorkerRecord::new(id, "mailer".to_owned(), t(0));

    for n in 0..2 {
        worker.seen_at = t(n);
        let before = store.counters();
        store.report(&worker).await.expect("reports");

        let cost = store.counters() - before;
        assert_eq!(cost, Counters { statements: 1, transactions: 1, rows_written: 1 });
    }
}

#[tokio::test]
async fn what_is_refused_writes_nothing() {
    let place = Place::new();
    let store = place.ready().await;
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
    let place = Place::new();
    let store = place.ready().await;
    commit(&store, &[start(root("charge"))]).await;

    let before = store.counters();
    claim(&store, &["charge"], 1, t(0)).await;
    let cost = store.counters() - before;

    COSTS.leaf_claimed.is_each_of::<1>(&[cost.statements]);
}

#[tokio::test]
async fn a_step_is_three_rows_written() {
    let place = Place::new();
    let store = place.ready().await;
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

/// Statements of exchanges that carry this many of something.
async fn costs_of(
    mut prepare: impl AsyncFnMut(&stent_sql::SqlStore, usize) -> Vec<Transition>,
    check: impl Fn(&[Outcome]),
) -> Vec<u64> {
    let mut costs = Vec::new();
    for size in [1, 100, 500] {
        let place = Place::new();
        let store = place.ready().await;
        // Lanes that are seen for the first time are written; not here.
        commit(&store, &[start(root("charge")), start(root("checkout"))]).await;
        let warm = claim(&store, &["charge", "checkout"], 2, t(0)).await;
        let ends: Vec<_> = warm.iter().map(end).collect();
        commit(&store, &ends).await;
        let batch = prepare(&store, size).await;
        let before = store.counters();
        check(&commit(&store, &batch).await);
        let cost = store.counters() - before;
        assert_eq!(cost.transactions, 1);
        costs.push(cost.statements);
    }
    costs
}

fn all_applied(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied(_))), "{outcomes:?}");
}

#[tokio::test]
async fn roots_that_end_cost_what_they_did() {
    let costs = costs_of(
        async |store, size| {
            let dispatches: Vec<_> = (0..size).map(|_| start(root("charge"))).collect();
            commit(store, &dispatches).await;
            claim(store, &["charge"], size, t(0)).await.iter().map(end).collect()
        },
        all_applied,
    );
    COSTS.roots_end.is_each_of::<3>(&costs.await);
}

#[tokio::test]
async fn keys_cost_the_same_for_one_and_for_many() {
    // Half of the calls have keys of their own, the others wait under the same ones; all end at once.
    let keyed = |n: usize| {
        let keyed = Keyed::new(Key::of_user("charge", None, &(n / 2).to_string()));
        NewTask { keyed: Some(keyed), ..root("charge") }
    };
    let dispatched =
        costs_of(async |_, size| (0..2 * size.div_ceil(2)).map(|n| start(keyed(n))).collect(), all_applied);
    COSTS.keyed_dispatched.is_each_of::<3>(&dispatched.await);

    let ended = costs_of(
        async |store, size| {
            let dispatches: Vec<_> = (0..2 * size.div_ceil(2)).map(|n| start(keyed(n))).collect();
            commit(store, &dispatches).await;
            let claimed = claim(store, &["charge"], size, t(0)).await;
            assert_eq!(claimed.len(), size.div_ceil(2));
            claimed.iter().map(end).collect()
        },
        all_applied,
    );
    COSTS.keyed_end.is_each_of::<3>(&ended.await);
}

#[tokio::test]
async fn notes_cost_the_same_for_one_and_for_many() {
    let costs = costs_of(
        async |store, size| {
            let dispatches: Vec<_> = (0..size).map(|_| start(root("charge"))).collect();
            commit(store, &dispatches).await;
            let say = |claimed: &Claimed| {
                let said = |note| Said { task: claimed.task.id, note };
                let name = || "items".to_owned();
                let notes = vec![
                    said(Note::CountFrom { name: name(), value: 3 }),
                    said(Note::Count { name: name(), add: 4 }),
                    said(Note::Set { name: name(), value: payload(b"many") }),
                    said(Note::Progress { id: TaskId::from_uuid(Uuid::now_v7()), text: "seen".to_owned() }),
                ];
                Commit { notes, ..turn(claimed, Next::Keep) }.into()
            };
            claim(store, &["charge"], size, t(0)).await.iter().map(say).collect()
        },
        all_applied,
    );
    COSTS.notes_of_every_kind.is_each_of::<3>(&costs.await);
}

#[tokio::test]
async fn executions_whose_time_is_up_end_in_one_batch() {
    let costs = costs_of(
        async |store, size| {
            let over = || NewTask { expires_at: Some(t(1)), ..root("charge") };
            let dispatches: Vec<_> = (0..size).map(|_| start(over())).collect();
            commit(store, &dispatches).await;
            let told = exchange(store, &[], &["charge"], 1, t(2)).await;
            assert_eq!(told.claimed.len(), 0, "no code of them starts any more");
            let end = |expired: &Expired| {
                let Expired { task, tree, key, .. } = *expired;
                let failure = Failure::new(Failure::TIMED_OUT, "too late");
                Expire { task, tree, key, at: t(2), failure }.into()
            };
            told.expired.iter().map(end).collect()
        },
        all_applied,
    );
    COSTS.time_is_up.is_each_of::<3>(&costs.await);
}

#[tokio::test]
async fn executions_are_asked_to_end_in_one_batch() {
    let costs = costs_of(
        async |store, size| {
            let dispatches: Vec<_> = (0..size).map(|_| start(root("charge"))).collect();
            commit(store, &dispatches).await;
            let cancel = |dispatch: &Transition| {
                let execution = dispatch.task().execution();
                Request { execution, at: t(1), action: Action::Cancel { until: t(9) } }.into()
            };
            dispatches.iter().map(cancel).collect()
        },
        all_applied,
    );
    COSTS.asked_to_end.is_each_of::<3>(&costs.await);
}

#[tokio::test]
async fn limits_cost_the_same_for_one_and_for_many() {
    let mut costs = Vec::new();
    for size in [10, 400] {
        let place = Place::new();
        let store = place.ready().await;
        let dispatches: Vec<_> =
            (0..size).flat_map(|_| [start(root("charge")), start(root("checkout"))]).collect();
        for batch in dispatches.chunks(500) {
            commit(&store, batch).await;
        }
        let limits = [Limit {
            function: "charge".to_owned(),
            max_concurrent: Some(size as u32 / 2),
            rate: Some("300/s".parse().expect("a rate")),
        }];
        let functions = ["charge".to_owned(), "checkout".to_owned()];
        let request = ClaimRequest { max: size, limits: &limits, ..request(&functions, t(0)) };

        let before = store.counters();
        let exchanged = store.exchange(&[], Some(&request)).await.expect("exchanges");
        costs.push((store.counters() - before).statements);

        let of = |name: &str| {
            exchanged.claimed.iter().filter(|claimed| claimed.task.lane.function == name).count()
        };
        assert_eq!((of("charge"), of("checkout")), (size / 2, size / 2), "by age, as far as there is room");
        let again = store.exchange(&[], Some(&request)).await.expect("exchanges").claimed;
        assert!(again.iter().all(|claimed| claimed.task.lane.function == "checkout"));
    }
    COSTS.limited_claimed.is_each_of::<2>(&costs);
}

fn parked_on(parent: &stent_core::backend::Claimed, step: stent_core::model::NewTask) -> Commit {
    Commit { insert: vec![step], ..turn(parent, Next::Park(Wait::for_next(0))) }
}
