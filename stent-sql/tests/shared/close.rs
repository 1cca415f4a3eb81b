//! The end of a handle.

use stent_core::backend::{Backend, ErrorKind, Inspect, Migrate, Purge, PurgeRequest};

use crate::place::Place;
use crate::support::{commit, root, start, t};

pub(crate) async fn a_closed_handle_refuses_every_call() {
    let place = Place::new();
    let store = place.ready().await;
    store.close().await.expect("closes");

    let id = root("charge").id;
    let purge = PurgeRequest { what: Purge::Executions, now: t(0), before: t(0), max: 1 };
    let errors = [
        store.clock().await.err(),
        store.exchange(&[start(root("charge"))], None).await.err(),
        store.renew(&[], t(0), t(0)).await.err(),
        store.purge(&purge).await.err(),
        store.executions(&[id.execution()]).await.err(),
        store.tasks(id.execution(), None, 1).await.err(),
        store.migrate().await.err(),
        store.version().await.err(),
    ];

    let kinds = errors.map(|error| error.map(|error| error.kind()));
    assert_eq!(kinds, [Some(ErrorKind::Closed); 8]);
    store.close().await.expect("closes again");
}

pub(crate) async fn closing_waits_for_what_is_under_way() {
    let place = Place::new();
    let store = place.ready().await;
    let writes: Vec<_> = (0..20)
        .map(|_| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                let dispatch = start(root("charge"));
                (dispatch.guard.task(), store.exchange(&[dispatch], None).await.is_ok())
            })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.expect("closes");

    let again = place.open().await;
    for write in writes {
        let (task, told) = write.await.expect("ends");
        let there = !again.executions(&[task.execution()]).await.expect("reads").is_empty();
        assert_eq!(told, there, "a write that was told to stand does, and no other");
    }
}

pub(crate) async fn what_was_committed_is_there_when_it_is_opened_again() {
    let place = Place::new();
    let store = place.ready().await;
    let dispatch = start(root("charge"));
    let id = dispatch.guard.task().execution();
    commit(&store, &[dispatch]).await;
    store.close().await.expect("closes");

    let store = place.ready().await;

    assert_eq!(store.executions(&[id]).await.expect("reads").len(), 1);
}
