//! Bytes come back unchanged, inline and as overflow.

use std::time::Duration;
use stent_core::backend::{Claimed, Reads};
use stent_core::limits::PAYLOAD_BYTES_MAX;
use stent_core::model::{Lane, NewTaskState, RetryPolicy, Seq, StepKind, StepState, TaskResult, Tree, Wait};
use stent_core::transition::{Commit, Feed, Next};
use stent_core::{Failure, Payload};

use crate::place::Folder;
use crate::support::{claim, commit, payload, root, start, step, t, turn};

/// Sizes around the limit between inline and overflow.
const SIZES: [usize; 7] = [0, 1, 4_095, 4_096, 4_097, 100_000, PAYLOAD_BYTES_MAX];

fn bytes(len: usize) -> Payload {
    let bytes: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
    payload(&bytes)
}

#[tokio::test]
async fn arguments_and_results_of_every_size_come_back() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("checkout"))]).await;
    let parent = claim(&store, &["checkout"], 1, t(0)).await.remove(0);
    let steps = SIZES.iter().enumerate().map(|(seq, len)| {
        let mut step = step(&parent, seq as u32, "charge");
        step.args = bytes(*len);
        step
    });
    let wait = Wait { done: SIZES.len() as u32, until: None, maps: Vec::new() };
    commit(&store, &[Commit { insert: steps.collect(), ..turn(&parent, Next::Park(wait)) }.into()]).await;

    let claimed = claim(&store, &["charge"], 9, t(0)).await;
    let ends: Vec<_> =
        claimed.iter().map(|step| turn(step, Next::End(Ok(step.task.args.clone()))).into()).collect();
    commit(&store, &ends).await;
    let woken = claim(&store, &["checkout"], 1, t(1)).await.remove(0);

    let sizes: Vec<_> = claimed.iter().map(|step| step.task.args.clone()).collect();
    assert_eq!(sizes, SIZES.map(bytes));
    let given: Vec<_> = results(&woken).into_iter().map(|result| result.expect("a result")).collect();
    assert_eq!(given, SIZES.map(bytes));
}

#[tokio::test]
async fn items_of_every_size_come_back_in_order() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("checkout"))]).await;
    let parent = claim(&store, &["checkout"], 1, t(0)).await.remove(0);
    let mut map = step(&parent, 0, "ship");
    (map.kind, map.lane, map.state) = (StepKind::Map, Lane::new("", "ship"), NewTaskState::Map);
    let items: Vec<_> = SIZES
        .iter()
        .rev()
        .enumerate()
        .map(|(seq, len)| {
            let mut item = step(&parent, seq as u32, "ship");
            item.tree = Tree::item(parent.task.tree.execution, map.id, parent.task.id);
            item.args = bytes(*len);
            item
        })
        .collect();
    let feed = Feed { map: map.id, fed: SIZES.len() as u32, total: Some(SIZES.len() as u32), digest: None };
    let insert = [vec![map.clone()], items].concat();
    let park = turn(&parent, Next::Park(Wait::for_next(0)));
    commit(&store, &[Commit { insert, feed: vec![feed], ..park }.into()]).await;

    let claimed = claim(&store, &["ship"], 9, t(0)).await;
    let ends: Vec<_> = claimed
        .iter()
        .map(|item| turn(item, Next::End(Ok(bytes(item.task.args.len() / 2)))).into())
        .collect();
    commit(&store, &ends).await;

    let views = store.items(map.id, Seq(1), 4).await.expect("reads");
    let sizes: Vec<_> = views.iter().map(|item| (item.seq, item.args.len())).collect();
    assert_eq!(sizes, [(Seq(1), 100_000), (Seq(2), 4_097), (Seq(3), 4_096), (Seq(4), 4_095)]);
    for item in views {
        assert_eq!(item.result, Some(Ok(bytes(item.args.len() / 2))));
        assert_eq!(item.args, bytes(item.args.len()));
    }
}

#[tokio::test]
async fn failures_keep_their_data() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("checkout"))]).await;
    let parent = claim(&store, &["checkout"], 1, t(0)).await.remove(0);
    let insert = vec![step(&parent, 0, "charge"), step(&parent, 1, "charge"), step(&parent, 2, "charge")];
    let wait = Wait { done: 3, until: None, maps: Vec::new() };
    commit(&store, &[Commit { insert, ..turn(&parent, Next::Park(wait)) }.into()]).await;
    let mut failures =
        [Failure::new("Declined", "no \u{0}\u{1f980} funds"), Failure::new("", ""), Failure::new("A", "b")];
    failures[0].data = Some(bytes(4_097));
    failures[1].data = Some(bytes(0));

    let steps = claim(&store, &["charge"], 3, t(0)).await;
    let ends =
        steps.iter().zip(&failures).map(|(step, failure)| turn(step, Next::End(Err(failure.clone()))).into());
    commit(&store, &ends.collect::<Vec<_>>()).await;
    let woken = claim(&store, &["checkout"], 1, t(1)).await.remove(0);

    assert_eq!(results(&woken), failures.map(Err));
}

#[tokio::test]
async fn a_retry_policy_comes_back_to_the_last_bit() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let policy = RetryPolicy::default()
        .max_attempts(u32::MAX)
        .initial_delay(Duration::new(1, 999_999_999))
        .backoff_factor(1.000_000_000_000_000_2)
        .max_delay(Duration::MAX)
        .jitter(0.1 + 0.2)
        .retry_for(["Timeout"]);
    let mut task = root("charge");
    task.retry = Some(policy.clone());
    task.priority = i16::MIN;
    commit(&store, &[start(task)]).await;

    let claimed = claim(&store, &["charge"], 1, t(0)).await.remove(0);

    assert_eq!(claimed.task.retry, Some(policy));
    assert_eq!(claimed.task.priority, i16::MIN);
}

fn results(claimed: &Claimed) -> Vec<TaskResult> {
    let mut results = Vec::new();
    for step in &claimed.steps {
        match &step.state {
            StepState::Done { result, .. } => results.push(result.clone()),
            state => panic!("{state:?} is not done"),
        }
    }
    results
}
