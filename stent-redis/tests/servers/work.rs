//! Executions for tests of costs and of interleavings: dispatches, claims and ends, with as few words as possible.

use std::collections::BTreeMap;

use stent_core::backend::{Backend, ClaimRequest, Claimed, Exchanged, Limit, NoStickyCache};
use stent_core::model::{Lane, NewTask, NewTaskState, Nonce, Note, Said, Seq, StepKind, Task, Tree};
use stent_core::transition::{Action, Commit, Dispatch, Next, Outcome, Request, Transition};
use stent_core::{ExecutionId, Payload, TaskId, Timestamp, WorkerId};
use stent_redis::RedisStore;
use uuid::Uuid;

use crate::server::Server;
use crate::support::new_id;

/// The most transitions that a test sends in one exchange.
const BATCH: usize = 500;

/// Returns a moment, in seconds after the beginning of a test.
pub(crate) fn t(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_763_683_200_000_000 + seconds * 1_000_000)
}

pub(crate) fn lane(tags: &[String]) -> Lane {
    Lane { tags: tags.iter().cloned().collect(), ..Lane::new(Lane::DEFAULT_QUEUE, "f") }
}

/// Returns a new call that is due at a moment.
pub(crate) fn task(id: TaskId, tree: Tree, lane: Lane, ready_at: Timestamp) -> NewTask {
    NewTask {
        id,
        tree,
        seq: Seq(0),
        kind: StepKind::Call,
        lane,
        priority: 0,
        args: Payload::empty(),
        retry: None,
        attempts: 0,
        failure: None,
        keyed: None,
        expires_at: None,
        trace: None,
        digest: None,
        state: NewTaskState::Pending { ready_at },
    }
}

/// Returns the dispatch of an execution in a lane.
pub(crate) fn dispatch(id: ExecutionId, lane: Lane, ready_at: Timestamp) -> Transition {
    Dispatch { root: task(id.root(), Tree::root(id), lane, ready_at), key: None, at: t(0) }.into()
}

/// Dispatches executions that are due at `t(1)`, with a deadline.
pub(crate) async fn dispatch_until(store: &RedisStore, count: usize, expires_at: Timestamp) {
    let root = |id: ExecutionId| NewTask {
        expires_at: Some(expires_at),
        ..task(id.root(), Tree::root(id), lane(&[]), t(1))
    };
    let all: Vec<Transition> =
        (0..count).map(|_| Dispatch { root: root(new_id()), key: None, at: t(0) }.into()).collect();
    send(store, &all).await;
}

/// Dispatches one execution in each of these lanes.
pub(crate) async fn dispatch_in(
    store: &RedisStore,
    lanes: impl IntoIterator<Item = Lane>,
    ready_at: Timestamp,
) {
    let all: Vec<_> = lanes.into_iter().map(|lane| dispatch(new_id(), lane, ready_at)).collect();
    send(store, &all).await;
}

/// Sends transitions, many in one exchange. All of them must be applied.
pub(crate) async fn send(store: &RedisStore, all: &[Transition]) {
    for some in all.chunks(BATCH) {
        let exchanged = store.exchange(some, None).await.expect("the exchange succeeds");
        for outcome in exchanged.outcomes {
            assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
        }
    }
}

/// Claims tasks of the function `f` until `t(60)`.
pub(crate) async fn claim(store: &RedisStore, max: usize, now: Timestamp) -> Vec<Claimed> {
    limited(store, max, now, None).await.claimed
}

/// Claims tasks of the function `f` until `t(60)`, of which at most so many may run. Returns the whole answer.
pub(crate) async fn limited(
    store: &RedisStore,
    max: usize,
    now: Timestamp,
    max_concurrent: Option<u32>,
) -> Exchanged {
    let limits: Vec<_> = max_concurrent
        .map(|max| Limit { function: "f".to_owned(), max_concurrent: Some(max), rate: None })
        .into_iter()
        .collect();
    let request = ClaimRequest {
        worker: WorkerId::from_uuid(Uuid::from_u128(7)),
        nonce: Nonce::new(7),
        now,
        until: t(60),
        max,
        functions: &["f".to_owned()],
        queues: None,
        tags: &[],
        limits: &limits,
        cache: &NoStickyCache,
    };
    store.exchange(&[], Some(&request)).await.expect("the claim succeeds")
}

/// Returns the commit of a claimed task.
pub(crate) fn commit(claimed: &Claimed, next: Next) -> Commit {
    Commit::new(claimed.fence, claimed.task.tree, claimed.task.key, t(1), next)
}

/// Returns the commit that ends a claimed task.
pub(crate) fn end(claimed: &Claimed) -> Transition {
    commit(claimed, Next::End(Ok(Payload::empty()))).into()
}

/// Returns the request to cancel an execution.
pub(crate) fn cancel(execution: ExecutionId) -> Transition {
    Request { execution, at: t(2), action: Action::Cancel { until: t(30) } }.into()
}

/// Returns the request to redrive an execution.
pub(crate) fn redrive(execution: ExecutionId) -> Transition {
    Request { execution, at: t(2), action: Action::Redrive { retry: None, queue: None } }.into()
}

/// Returns a new step of a task.
pub(crate) fn step(parent: &Task) -> NewTask {
    task(TaskId::from_uuid(Uuid::now_v7()), Tree::step(parent.tree.execution, parent.id), lane(&[]), t(1))
}

/// Starts an execution whose root runs, with this many open tasks below it. Returns the root's claim, without the commits since.
pub(crate) async fn broad(store: &RedisStore, width: usize) -> Claimed {
    let id = new_id();
    send(store, &[dispatch(id, lane(&[]), t(0))]).await;
    let mut root = claim(store, 1, t(0)).await.remove(0);
    assert_eq!(root.task.id, id.root());
    for from in (0..width).step_by(BATCH) {
        let mut turn = commit(&root, Next::Keep);
        for position in from..width.min(from + BATCH) {
            let position = Seq(u32::try_from(position).expect("small"));
            turn.insert.push(NewTask { seq: position, ..step(&root.task) });
        }
        root.fence.commit += 1;
        send(store, &[turn.into()]).await;
    }
    root
}

/// Adds a counter's increase to a commit.
pub(crate) fn counting(mut commit: Commit, task: TaskId) -> Commit {
    let note = Note::Count { name: "turns".to_owned(), add: 1 };
    commit.notes.push(Said { task, note });
    commit
}

/// Counts the commands that the server has run since its counters were reset, by name, without those of readers of hints and of
/// the test itself. Commands that scripts run count, too.
pub(crate) fn commands(server: &Server) -> BTreeMap<String, u64> {
    let info: String = server.ask(&["INFO", "commandstats"]);
    let stats = info.lines().filter_map(|line| {
        let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let calls = stats.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
        Some((name.to_owned(), calls))
    });
    let others = [
        "xread",
        "info",
        "config|resetstat",
        "config",
        "client|setinfo",
        "client",
        "hello",
        "ping",
        "auth",
        "select",
    ];
    stats.filter(|(name, _)| !others.contains(&name.as_str())).collect()
}

/// Resets the counters of [`commands`].
pub(crate) fn reset(server: &Server) {
    server.ask::<()>(&["CONFIG", "RESETSTAT"]);
}
