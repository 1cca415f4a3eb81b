//! Bounds: progress, counters, windows of a purge, pages of lists.

use sea_orm::ConnectionTrait;
use stent_core::backend::{Backend, Claimed, Filter, Inspect, Purge, PurgeRequest, SummaryView};
use stent_core::limits::PROGRESS_MAX;
use stent_core::model::{ExecutionStatus, Lane, NewTask, NewTaskState, Note, Said, StepKind, TaskStatus};
use stent_core::transition::{Commit, Next};
use stent_core::{ExecutionId, TaskId};
use stent_sql::SqlStore;
use uuid::Uuid;

use crate::place::Folder;
use crate::support::{claim, commit, end, payload, root, start, step, t, turn};

async fn running(store: &SqlStore) -> Claimed {
    commit(store, &[start(root("charge"))]).await;
    claim(store, &["charge"], 1, t(0)).await.remove(0)
}

/// Writes this many notes in one turn after the other.
async fn say(store: &SqlStore, claimed: &mut Claimed, notes: Vec<Note>) {
    let said = notes.into_iter().map(|note| Said { task: claimed.task.id, note }).collect();
    let keep = Commit { notes: said, ..turn(claimed, Next::Keep) }.into();
    assert!(commit(store, &[keep]).await.iter().all(stent_core::transition::Outcome::stands));
    claimed.fence = claimed.fence.next();
}

#[tokio::test]
async fn old_progress_goes_when_there_is_much() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let (mut one, mut other) = (running(&store).await, running(&store).await);
    let entry = |n: usize| Note::Progress { id: TaskId::from_uuid(Uuid::now_v7()), text: n.to_string() };

    say(&store, &mut other, vec![entry(0)]).await;
    for n in 0..3 {
        say(&store, &mut one, (0..500).map(|at| entry(n * 500 + at)).collect()).await;
    }

    let kept = store.notes(one.task.tree.execution).await.expect("reads").progress;
    let texts: Vec<_> = kept.iter().map(|entry| entry.text.parse::<usize>().expect("a number")).collect();
    assert_eq!(texts, (1_500 - PROGRESS_MAX..1_500).collect::<Vec<_>>());
    assert_eq!(store.notes(other.task.tree.execution).await.expect("reads").progress.len(), 1);
}

#[tokio::test]
async fn a_counter_stays_at_its_end() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let mut claimed = running(&store).await;
    let count = |name: &str, add| Note::Count { name: name.to_owned(), add };

    for _ in 0..2 {
        say(&store, &mut claimed, vec![count("up", i64::MAX), count("down", i64::MIN), count("both", 7)])
            .await;
    }
    say(&store, &mut claimed, vec![count("up", -1), count("down", 1), count("both", -20)]).await;

    let counters = store.notes(claimed.task.tree.execution).await.expect("reads").counters;
    let expected = [("both", -6), ("down", i64::MIN + 1), ("up", i64::MAX - 1)];
    assert_eq!(counters, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

#[tokio::test]
async fn a_large_state_comes_back_whole() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let mut claimed = running(&store).await;
    let large = payload(&vec![7; 1_000_000]);

    let set = |value| Note::Set { name: "draft".to_owned(), value };
    say(&store, &mut claimed, vec![set(payload(b""))]).await;
    say(&store, &mut claimed, vec![set(large.clone())]).await;

    let states = store.notes(claimed.task.tree.execution).await.expect("reads").states;
    assert_eq!(states, [("draft".to_owned(), large)].into());
}

#[tokio::test]
async fn what_is_to_be_compacted_is_found_behind_what_is_not() {
    let folder = Folder::new();
    let store = folder.ready().await;
    for _ in 0..5 {
        let dispatches: Vec<_> = (0..500).map(|_| start(root("charge"))).collect();
        commit(&store, &dispatches).await;
        let ends: Vec<_> = claim(&store, &["charge"], 500, t(0)).await.iter().map(end).collect();
        commit(&store, &ends).await;
    }
    let mut detailed = Vec::new();
    for _ in 0..3 {
        commit(&store, &[start(root("checkout"))]).await;
        let parent = claim(&store, &["checkout"], 1, t(0)).await.remove(0);
        let inline = |seq| NewTask {
            kind: StepKind::Inline,
            lane: Lane { queue: String::new(), ..Lane::new("", "render/all") },
            state: NewTaskState::Done { started_at: t(1), result: Ok(payload(b"page")) },
            ..step(&parent, seq, "render")
        };
        commit(
            &store,
            &[Commit {
                insert: vec![inline(0), inline(1)],
                ..turn(&parent, Next::End(Ok(payload(b"receipt"))))
            }
            .into()],
        )
        .await;
        detailed.push(parent.task.tree.execution);
    }
    let compact = async |max| {
        let request = PurgeRequest { what: Purge::Details, now: t(9), before: t(9), max };
        store.purge(&request).await.expect("purges").count
    };

    assert_eq!([compact(2).await, compact(2).await, compact(2).await], [2, 1, 0]);

    for execution in detailed {
        let notes = store.notes(execution).await.expect("reads");
        let line = SummaryView::new(StepKind::Inline, "render/all".to_owned(), TaskStatus::Completed, 2);
        assert_eq!(notes.summary, [line]);
        assert_eq!(store.tasks(execution, None, 9).await.expect("reads").len(), 1);
    }
    let purge = PurgeRequest { what: Purge::Executions, now: t(9), before: t(9), max: 9_999 };
    assert_eq!(store.purge(&purge).await.expect("purges").count, 2_503);
    for table in ["stent_task", "stent_note"] {
        let count = sea_orm::Statement::from_string(
            sea_orm::DbBackend::Sqlite,
            format!("SELECT COUNT(*) FROM {table}"),
        );
        let row = store.connections().read.query_one_raw(count).await.expect("reads").expect("a row");
        assert_eq!(row.try_get_by_index::<i64>(0).expect("a number"), 0, "{table}");
    }
}

#[tokio::test]
async fn lists_are_read_in_pages_whatever_stands_between() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let mut expected: Vec<(ExecutionId, ExecutionStatus)> = Vec::new();
    for n in 0..40 {
        let mut task = root(if n % 8 == 0 { "checkout" } else { "charge" });
        task.lane = task.lane.with_tags(if n % 5 == 0 { vec!["eu,", "a\"b"] } else { vec![] });
        let execution = task.id.execution();
        commit(&store, &[start(task)]).await;
        let status = match n % 4 {
            0 => {
                let claimed = claim(&store, &["charge", "checkout"], 1, t(0)).await.remove(0);
                assert_eq!(claimed.task.tree.execution, execution);
                commit(&store, &[end(&claimed)]).await;
                ExecutionStatus::Completed
            }
            1 => {
                claim(&store, &["charge"], 1, t(0)).await;
                ExecutionStatus::Running
            }
            _ => {
                let claimed = claim(&store, &["charge", "checkout"], 1, t(0)).await.remove(0);
                let failure = stent_core::Failure::new("Declined", "no funds");
                commit(&store, &[turn(&claimed, Next::End(Err(failure))).into()]).await;
                ExecutionStatus::Failed
            }
        };
        expected.push((execution, status));
    }
    expected.reverse();
    let pages = async |filter: &Filter| {
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = store.list(filter, before, 3).await.expect("lists");
            before = page.last().map(|view| view.id);
            if page.is_empty() {
                return listed;
            }
            listed.extend(page.into_iter().map(|view| (view.id, view.status)));
        }
    };

    assert_eq!(pages(&Filter::default()).await, expected);
    for status in ExecutionStatus::ALL {
        let filter = Filter::default().status(*status);
        let those: Vec<_> = expected.iter().filter(|(_, stands)| stands == status).copied().collect();
        assert_eq!(pages(&filter).await, those);
    }
    let of = async |tag: &str| pages(&Filter::default().tag(tag.to_owned())).await.len();
    assert_eq!([of("eu,").await, of("a\"b").await, of("eu").await, of(",").await], [8, 8, 0, 0]);
    let checkouts = Filter::default().function("checkout");
    assert_eq!(pages(&checkouts).await.len(), 5);
    let counts = store.count(usize::MAX).await.expect("counts");
    assert_eq!(counts.values().sum::<u64>(), 40);
    assert_eq!(
        store.dead_letters(None, 99).await.expect("reads").len() as u64,
        counts[&ExecutionStatus::Failed]
    );
}
