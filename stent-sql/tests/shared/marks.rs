//! Tasks with several marks. No transition writes two, so each test writes the text of the column itself.

use sea_orm::{ConnectionTrait, Statement};
use stent_core::TaskId;
use stent_core::backend::{Filter, Inspect, Reads};
use stent_core::model::{ExecutionStatus, Mark, Marks, TaskStatus};
use stent_core::transition::{Action, Next, Outcome, Request, Transition};
use stent_sql::SqlStore;

use crate::place::{Place, id};
use crate::support::{claim, commit, end, exchange, root, start, step, t, turn};

async fn set(store: &SqlStore, task: TaskId, columns: &str) {
    let text = format!("UPDATE stent_task SET {columns} WHERE id = {}", id(task.as_uuid().as_u128()));
    let done = store.connections().write.execute_unprepared(&text).await.expect("writes");
    assert_eq!(done.rows_affected(), 1);
}

async fn marks(store: &SqlStore, task: TaskId, execution: TaskId) -> (TaskStatus, Marks) {
    let tasks = store.tasks(execution.execution(), None, 9).await.expect("reads");
    let view = tasks.into_iter().find(|view| view.id == task).expect("is there");
    (view.status, view.marks)
}

/// The status of an execution in the views, the list and the counts.
async fn status(store: &SqlStore, execution: TaskId) -> ExecutionStatus {
    let status = store.executions(&[execution.execution()]).await.expect("reads")[0].status;
    let listed = store.list(&Filter::default().status(status), None, 9).await.expect("reads");
    assert_eq!(listed.iter().map(|view| view.id.root()).collect::<Vec<_>>(), [execution]);
    assert_eq!(store.count(9).await.expect("counts"), [(status, 1)].into());
    let connection = &store.connections().read;
    let view =
        Statement::from_string(connection.get_database_backend(), "SELECT status FROM stent_execution_view");
    let row = connection.query_one_raw(view).await.expect("reads").expect("a row");
    assert_eq!(row.try_get_by_index::<String>(0).expect("a text"), status.as_str());
    status
}

fn cancel(execution: TaskId) -> Transition {
    let until = t(60);
    Request { execution: execution.execution(), at: t(1), action: Action::Cancel { until } }.into()
}

#[tokio::test]
async fn what_was_asked_to_end_is_so_whatever_other_mark_it_has() {
    let place = Place::new();
    let store = place.ready().await;
    commit(&store, &[start(root("charge"))]).await;
    let claimed = claim(&store, &["charge"], 1, t(0)).await.remove(0);
    let task = claimed.task.id;
    let asked = Marks::of(Mark::Redrive).with(Mark::Cancel);

    set(&store, task, "mark = 'cancel,redrive'").await;

    assert_eq!(marks(&store, task, task).await, (TaskStatus::Running, asked));
    assert_eq!(status(&store, task).await, ExecutionStatus::Cancelling);
    // Its worker learns of it, and nobody else claims it when its lease has expired.
    assert_eq!(exchange(&store, &[], &["charge"], 1, t(0)).await.stopping, [task]);
    assert!(claim(&store, &["charge"], 1, t(60)).await.is_empty());

    let ended = commit(&store, &[end(&claimed)]).await;

    assert!(ended.iter().all(Outcome::stands), "{ended:?}");
    assert_eq!(marks(&store, task, task).await, (TaskStatus::Cancelled, asked));
}

#[tokio::test]
async fn a_task_below_keeps_its_marks_when_it_is_asked_to_end() {
    for (before, after) in [
        ("NULL", Marks::of(Mark::Cancel)),
        ("'hit'", Marks::of(Mark::Hit).with(Mark::Cancel)),
        ("'cancel'", Marks::of(Mark::Cancel)),
        ("'cancel,hit'", Marks::of(Mark::Hit).with(Mark::Cancel)),
    ] {
        let place = Place::new();
        let store = place.ready().await;
        commit(&store, &[start(root("checkout"))]).await;
        let parent = claim(&store, &["checkout"], 1, t(0)).await.remove(0);
        let charge = step(&parent, 0, "charge");
        let (execution, task) = (parent.task.id, charge.id);
        let mut keep = turn(&parent, Next::Keep);
        keep.insert.push(charge);
        commit(&store, &[keep.into()]).await;
        let claimed = claim(&store, &["charge"], 1, t(1)).await.remove(0);
        set(&store, task, &format!("mark = {before}")).await;

        commit(&store, &[cancel(execution)]).await;

        assert_eq!(marks(&store, task, execution).await, (TaskStatus::Running, after));
        // The execution ends with the last task that was asked to.
        let parent = store.tasks(execution.execution(), None, 1).await.expect("reads").remove(0);
        assert_eq!((parent.id, parent.marks), (execution, Marks::of(Mark::Cancel)));
        commit(&store, &[end(&claimed)]).await;
        assert_eq!(marks(&store, task, execution).await, (TaskStatus::Cancelled, after));
    }
}

#[tokio::test]
async fn a_failed_root_with_marks_is_no_dead_letter() {
    let place = Place::new();
    let store = place.ready().await;
    commit(&store, &[start(root("charge"))]).await;
    let task = claim(&store, &["charge"], 1, t(0)).await.remove(0).task.id;
    let failed = "status = 'failed', ready_at = NULL, worker_id = NULL, ended_at = 1, reason = 'Declined', failure = \
        '{\"kind\":\"Declined\",\"message\":\"no funds\"}'";
    for (mark, is_dead_letter, expected) in [
        ("NULL", true, ExecutionStatus::Failed),
        ("'cancel,redrive'", false, ExecutionStatus::Failed),
        ("'redrive,discard'", false, ExecutionStatus::Failed),
        ("'expire'", false, ExecutionStatus::TimedOut),
        ("'cancel,expire'", false, ExecutionStatus::TimedOut),
        ("'expire,discard'", false, ExecutionStatus::TimedOut),
    ] {
        set(&store, task, &format!("mark = {mark}, {failed}")).await;

        assert_eq!(status(&store, task).await, expected, "{mark}");
        let letters = store.dead_letters(None, 9).await.expect("reads").len();
        let letter = store.dead_letter(task.execution()).await.expect("reads").is_some();
        assert_eq!((letters == 1, letter), (is_dead_letter, is_dead_letter), "{mark}");
    }
}
