//! An exchange that the database interrupts at one of its statements, or at its commit, has no effect (G1).

use sea_orm::ConnectionTrait;
use stent_core::backend::{Backend, ClaimRequest, Limit};
use stent_core::model::{Keyed, NewTask, NewTaskState, Note, Said, StepKind};
use stent_core::transition::{Commit, Next, Outcome, Transition};
use stent_core::{Failure, Key, TaskId};
use stent_sql::SqlStore;
use uuid::Uuid;

use crate::place::{CUT_AT_COMMIT, Place, cut, dump, mend};
use crate::support::{claim, commit, end, payload, request, root, start, step, t, turn};

/// The point of the interruption: the first write of this kind, or the commit after it.
const CUTS: [(&str, &str); 12] = [
    ("stent_task", "INSERT"),
    ("stent_task", "UPDATE"),
    ("stent_task", "DELETE"),
    ("stent_lane", "INSERT"),
    ("stent_keys", "INSERT"),
    ("stent_keys", "UPDATE"),
    ("stent_note", "INSERT"),
    ("stent_note", "UPDATE"),
    ("stent_progress", "INSERT"),
    ("stent_ended_claims", "INSERT"),
    ("stent_ended_claims", "DELETE"),
    ("stent_rate", "INSERT"),
];

fn keyed(text: &str) -> NewTask {
    NewTask { keyed: Some(Keyed::new(Key::of_user("charge", None, text))), ..root("charge") }
}

fn said(task: TaskId, note: Note) -> Said {
    Said { task, note }
}

fn name() -> String {
    "items".to_owned()
}

/// The batch: it inserts, changes and deletes rows of every table.
pub(crate) async fn everything(store: &SqlStore) -> Vec<Transition> {
    commit(store, &[start(root("checkout")), start(keyed("held")), start(keyed("held"))]).await;
    let parent = claim(store, &["checkout"], 1, t(0)).await.remove(0);
    let holder = claim(store, &["charge"], 2, t(0)).await.remove(0);
    let (given_up, erased) = (step(&parent, 0, "ship"), step(&parent, 1, "ship"));
    let insert = vec![given_up.clone(), erased.clone(), step(&parent, 2, "pack")];
    let notes = vec![said(parent.task.id, Note::CountFrom { name: name(), value: 3 })];
    commit(store, &[Commit { insert, notes, ..turn(&parent, Next::Keep) }.into()]).await;
    // Each shipping step has failed once, so there is an ended claim to erase.
    let again = || Next::Retry { ready_at: t(9), failure: Failure::new("Flaky", "once") };
    let ships = claim(store, &["ship"], 2, t(0)).await;
    let retries: Vec<_> = ships.iter().map(|ship| turn(ship, again()).into()).collect();
    commit(store, &retries).await;
    let packs = claim(store, &["pack"], 1, t(0)).await.remove(0);
    commit(store, &[start(root("limited")), start(root("limited"))]).await;

    let mut parent = parent;
    parent.fence = parent.fence.next();
    let mut inline = step(&parent, 3, "inline");
    inline.kind = StepKind::Inline;
    inline.state = NewTaskState::Done { started_at: t(1), result: Ok(payload(b"done")) };
    let mut goes_on = turn(&parent, Next::Keep);
    goes_on.insert = vec![inline, step(&parent, 4, "new")];
    goes_on.cancel = vec![given_up.id];
    goes_on.erase = vec![erased.id];
    let progress = Note::Progress { id: TaskId::from_uuid(Uuid::now_v7()), text: "seen".to_owned() };
    let notes = [
        Note::CountFrom { name: "others".to_owned(), value: 1 },
        Note::Count { name: name(), add: 4 },
        Note::Set { name: "phase".to_owned(), value: payload(b"packed") },
        progress,
    ];
    goes_on.notes = notes.into_iter().map(|note| said(parent.task.id, note)).collect();
    let retried = turn(&packs, again()).into();
    vec![goes_on.into(), retried, end(&holder), start(keyed("new"))]
}

/// Sends the batch, and claims limited tasks in the same call.
async fn send(store: &SqlStore, batch: &[Transition]) -> stent_core::backend::Result<(Vec<Outcome>, usize)> {
    let limits = [Limit {
        function: "limited".to_owned(),
        max_concurrent: Some(1),
        rate: Some("300/s".parse().expect("a rate")),
    }];
    let functions = ["limited".to_owned()];
    let request = ClaimRequest { max: 9, limits: &limits, ..request(&functions, t(2)) };
    let exchanged = store.exchange(batch, Some(&request)).await?;
    Ok((exchanged.outcomes, exchanged.claimed.len()))
}

async fn run(store: &SqlStore, statements: &[String]) {
    for statement in statements {
        store.connections().write.execute_unprepared(statement).await.expect(statement);
    }
}

async fn is_cut_anywhere(when: &str) {
    let place = Place::new();
    let store = place.ready().await;
    let batch = everything(&store).await;
    let before = dump(&store).await;
    for (table, verb) in CUTS {
        run(&store, &cut(table, verb, when)).await;

        let sent = send(&store, &batch).await;

        assert!(sent.is_err(), "{verb} of {table} is not part of it: {sent:?}");
        run(&store, &mend(table)).await;
        let other = place.open().await;
        for store in [&store, &other] {
            assert_eq!(dump(store).await, before, "cut at {verb} of {table}, {when}");
        }
    }

    let (outcomes, claimed) = send(&store, &batch).await.expect("nothing is cut any more");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied(_))), "{outcomes:?}");
    assert_eq!(claimed, 1);
    assert_ne!(dump(&store).await, before);
    let (outcomes, _) = send(&store, &batch).await.expect("is sent again");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Already(_))), "{outcomes:?}");
}

#[tokio::test]
async fn an_exchange_that_is_cut_at_any_statement_leaves_nothing() {
    is_cut_anywhere("BEFORE").await;
}

#[tokio::test]
async fn an_exchange_that_is_cut_after_any_row_leaves_nothing() {
    is_cut_anywhere("AFTER").await;
}

#[tokio::test]
async fn an_exchange_whose_commit_is_refused_leaves_nothing() {
    let place = Place::new();
    let store = place.ready().await;
    let batch = everything(&store).await;
    let before = dump(&store).await;
    run(&store, &CUT_AT_COMMIT.map(str::to_owned)).await;

    let sent = send(&store, &batch).await;

    assert!(sent.is_err(), "{sent:?}");
    run(&store, &mend("stent_task")).await;
    for store in [&store, &place.open().await] {
        assert_eq!(dump(store).await, before);
    }
    let (outcomes, _) = send(&store, &batch).await.expect("nothing is cut any more");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied(_))), "{outcomes:?}");
}
