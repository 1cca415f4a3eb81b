//! Claims on a store with a hundred thousand tasks.

use stent_sql::SqlStore;

use crate::support::{claim, t};

/// The store is filled with tasks of `charge` that are due, and with others of it that are not and have a higher priority.
pub(crate) async fn what_is_due_is_found_behind_what_is_not(store: &SqlStore) {
    let claimed = claim(store, &["charge"], 100, t(0)).await;

    let due: Vec<_> = claimed.iter().map(|claimed| claimed.task.priority).collect();
    assert_eq!(due, [0; 100]);
    assert!(claimed.iter().all(|claimed| claimed.task.lane.function == "charge"));
}
