//! Hints from other handles.

use std::time::Duration;

use stent_core::backend::{Hints, Topic};

use crate::place::Place;
use crate::support::{commit, root, start};

/// Longer than a hint takes, by far.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn listening_anew_is_heard_again() {
    let place = Place::new();
    let (store, peer) = (place.ready().await, place.ready().await);
    for _ in 0..3 {
        let mut work = store.listen(Topic::Work);
        commit(&peer, &[start(root("charge"))]).await;
        tokio::time::timeout(DEADLINE, work.changed()).await.expect("a hint");
        drop(work);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
