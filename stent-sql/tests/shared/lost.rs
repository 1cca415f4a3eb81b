//! Lanes that are deleted while tasks and processes remain: by a `DELETE`, or by a restore of some tables and not of
//! others.

use sea_orm::ConnectionTrait;
use stent_core::backend::Inspect;
use stent_core::model::LaneKey;
use stent_sql::SqlStore;

use crate::place::Place;
use crate::support::{claim, commit, end, root, start, t};

async fn delete_lanes(store: &SqlStore) {
    store.connections().write.execute_unprepared("DELETE FROM stent_lane").await.expect("deletes");
}

#[tokio::test]
async fn a_lane_that_went_is_written_by_the_next_dispatch() {
    let place = Place::new();
    let store = place.ready().await;
    commit(&store, &[start(root("charge"))]).await;
    let claimed = claim(&store, &["charge"], 1, t(0)).await.remove(0);
    delete_lanes(&store).await;

    // One by one, and in a batch with others; by a handle that remembers the lane, and by one that does not.
    commit(&store, &[start(root("charge"))]).await;
    assert_eq!(claim(&store, &["charge"], 9, t(0)).await.len(), 1);
    delete_lanes(&store).await;
    let tagged = {
        let mut root = root("charge");
        root.lane.tags.insert("eu".to_owned());
        root
    };
    commit(&store, &[end(&claimed), start(root("charge")), start(root("ship")), start(tagged)]).await;

    let other = place.open().await;
    assert_eq!(claim(&other, &["charge", "ship"], 9, t(0)).await.len(), 3);
}

#[tokio::test]
async fn tasks_whose_lane_went_are_counted_and_run() {
    let place = Place::new();
    let store = place.ready().await;
    let mut tagged = root("mail");
    tagged.lane.tags.insert("eu".to_owned());
    let lanes = ["charge", "ship", "other"].map(|function| start(root(function)));
    commit(&store, &lanes).await;
    commit(&store, &[start(tagged.clone()), start(root("charge"))]).await;
    delete_lanes(&store).await;
    commit(&store, &[start(root("other"))]).await;
    assert_eq!(claim(&store, &["charge", "ship", "mail"], 9, t(0)).await.len(), 0, "no claim finds them");

    let shown = place.open().await.lanes(t(0), usize::MAX).await.expect("reads");

    let mut counted: Vec<_> = shown.iter().map(|view| (view.lane.function.as_str(), view.due)).collect();
    counted.sort_unstable();
    assert_eq!(counted, [("charge", 2), ("mail", 1), ("other", 2), ("ship", 1)]);
    let keys: Vec<LaneKey> = shown.iter().map(|view| view.lane.key()).collect();
    assert!(keys.contains(&tagged.lane.key()), "with its tags");
    assert_eq!(claim(&store, &["charge", "ship", "mail"], 9, t(0)).await.len(), 4);
}

#[tokio::test]
async fn looking_at_lanes_writes_nothing_where_none_is_lost() {
    let place = Place::new();
    let store = place.ready().await;
    commit(&store, &[start(root("charge"))]).await;

    let before = store.counters();
    store.lanes(t(0), usize::MAX).await.expect("reads");

    let cost = store.counters() - before;
    assert_eq!((cost.transactions, cost.rows_written, cost.statements), (0, 0, 2));
}
