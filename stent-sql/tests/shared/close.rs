//! The end of a handle.

use std::time::Duration;

use stent_core::WorkerId;
use stent_core::backend::{
    Backend, ErrorKind, Filter, Inspect, Migrate, Purge, PurgeRequest, Reads, Transactions,
};
use stent_core::model::{Seq, WorkerRecord};

use crate::place::Place;
use crate::support::{commit, root, start, t};

pub(crate) async fn a_closed_handle_refuses_every_call() {
    let place = Place::new();
    let store = place.ready().await;
    store.close().await.expect("closes");

    let id = root("charge").id;
    let execution = id.execution();
    let worker = WorkerRecord::new(WorkerId::from_uuid(*id.as_uuid()), "mailer".to_owned(), t(0));
    let purge = PurgeRequest { what: Purge::Executions, now: t(0), before: t(0), max: 1 };
    let errors = [
        store.clock().await.err(),
        store.exchange(&[start(root("charge"))], None).await.err(),
        store.renew(&[], t(0), t(0)).await.err(),
        store.report(&worker).await.err(),
        store.purge(&purge).await.err(),
        store.executions(&[execution]).await.err(),
        store.tasks(execution, None, 1).await.err(),
        store.items(id, Seq(0), 1).await.err(),
        store.completions(&[(id, 0)]).await.err(),
        store.list(&Filter::default(), None, 1).await.err(),
        store.count(usize::MAX).await.err(),
        store.lanes(t(0), usize::MAX).await.err(),
        store.running(1).await.err(),
        store.ended_claims(id).await.err(),
        store.notes(execution).await.err(),
        store.dead_letters(None, 1).await.err(),
        store.dead_letter(execution).await.err(),
        store.dead_letter_stats(usize::MAX).await.err(),
        store.workers(None, 1).await.err(),
        store.begin_for(Duration::from_secs(1)).await.err(),
        store.migrate().await.err(),
        store.version().await.err(),
    ];

    let kinds = errors.map(|error| error.map(|error| error.kind()));
    assert_eq!(kinds, [Some(ErrorKind::Closed); 22]);
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
                (dispatch.task(), store.exchange(&[dispatch], None).await.is_ok())
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
    let id = dispatch.task().execution();
    commit(&store, &[dispatch]).await;
    store.close().await.expect("closes");

    let store = place.ready().await;

    assert_eq!(store.executions(&[id]).await.expect("reads").len(), 1);
}
