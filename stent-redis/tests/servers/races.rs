//! Events between two commands of a store: other callers write, the server loses data, another caller takes the lock. A proxy lets a
//! test choose the moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use redis::Connection;
use stent_core::backend::{Backend, Migrate, Purge, PurgeRequest};
use stent_core::transition::{Next, Outcome};
use stent_core::{Failure, TaskId};
use tokio::sync::{Notify, watch};

use crate::between::{Then, between, mode};
use crate::server::Server;
use crate::support::{new_id, open};
use crate::work::{broad, cancel, claim, commit, dispatch, end, lane, send, t};

const LOCK: &str = "stent:{test}:lock";

/// The number of writes that a caller may lose before it takes the lock: `LOST_MAX` of the store.
const LOST_MAX: usize = 8;

/// A connection that bypasses the store, for the code of a proxy.
#[derive(Clone)]
struct Admin(Arc<Mutex<Connection>>);

impl Admin {
    fn new(server: &Server) -> Self {
        Self(Arc::new(Mutex::new(server.admin())))
    }

    fn run(&self, cmd: &redis::Cmd) {
        cmd.exec(&mut *self.0.lock().expect("nobody panics")).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Gives a row another revision, as a write of another caller does.
    fn touch(&self, task: TaskId) {
        self.run(
            redis::cmd("SETRANGE").arg(row(task)).arg(0).arg(uuid::Uuid::new_v4().as_bytes()[..8].to_vec()),
        );
    }
}

fn row(task: TaskId) -> Vec<u8> {
    [b"stent:{test}:t:".as_slice(), task.as_uuid().as_bytes()].concat()
}

fn takes_lock(words: &[Vec<u8>]) -> bool {
    words.first().is_some_and(|word| word == b"SET") && words.iter().any(|word| word == b"NX")
}

#[tokio::test]
async fn a_caller_that_loses_under_its_own_lock_keeps_it() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    let id = new_id();
    send(&store, &[dispatch(id, lane(&[]), t(0))]).await;
    let (admin, writes, locks) =
        (Admin::new(&server), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, taken) = (Arc::clone(&writes), Arc::clone(&locks));
    let losing = between(&server, move |words| {
        taken.fetch_add(usize::from(takes_lock(&words)), Ordering::SeqCst);
        // It loses until it takes the lock, and once more under the lock.
        if mode(&words) == Some("write") && count.fetch_add(1, Ordering::SeqCst) <= LOST_MAX {
            admin.touch(id.root());
        }
        async { Then::Forward }
    });

    send(&*open(&losing.await).await, &[cancel(id)]).await;

    assert_eq!(writes.load(Ordering::SeqCst), LOST_MAX + 2);
    assert_eq!(locks.load(Ordering::SeqCst), 1, "it takes the lock once");
    assert_eq!(server.ask::<usize>(&["EXISTS", LOCK]), 0);
}

#[tokio::test]
async fn a_lock_is_released_when_there_is_nothing_to_write() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    let id = new_id();
    send(&store, &[dispatch(id, lane(&[]), t(0))]).await;
    let admin = Admin::new(&server);
    let locks = Arc::new(AtomicUsize::new(0));
    let taken = Arc::clone(&locks);
    let losing = between(&server, move |words| {
        if takes_lock(&words) {
            taken.fetch_add(1, Ordering::SeqCst);
            admin.run(redis::cmd("DEL").arg(row(id.root())));
        } else if mode(&words) == Some("write") {
            admin.touch(id.root());
        }
        async { Then::Forward }
    });

    let losing = open(&losing.await).await;
    let outcomes = losing.exchange(&[cancel(id)], None).await.expect("it succeeds").outcomes;

    assert!(!matches!(outcomes[0], Outcome::Applied(_)), "the execution is gone: {outcomes:?}");
    assert_eq!(locks.load(Ordering::SeqCst), 1);
    assert_eq!(server.ask::<usize>(&["EXISTS", LOCK]), 0);
}

#[tokio::test]
async fn a_caller_behind_a_lock_takes_none_itself() {
    let server = Server::start(&[]);
    let (admin, writes, locks) =
        (Admin::new(&server), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    admin.run(redis::cmd("SET").arg(LOCK).arg("lanother caller!!"));
    let (count, taken) = (Arc::clone(&writes), Arc::clone(&locks));
    let waiting = between(&server, move |words| {
        taken.fetch_add(usize::from(takes_lock(&words)), Ordering::SeqCst);
        let is_last = mode(&words) == Some("write") && count.fetch_add(1, Ordering::SeqCst) == 3 * LOST_MAX;
        if is_last || takes_lock(&words) {
            admin.run(redis::cmd("DEL").arg(LOCK));
        }
        async { Then::Forward }
    });

    send(&*open(&waiting.await).await, &[dispatch(new_id(), lane(&[]), t(0))]).await;

    assert_eq!(writes.load(Ordering::SeqCst), 3 * LOST_MAX + 1);
    assert_eq!(locks.load(Ordering::SeqCst), 0);
}

/// A step below an ended root still runs, and writes a step of its own while the execution is purged.
#[tokio::test]
async fn a_purge_deletes_what_appears_meanwhile() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    let root = broad(&store, 1).await;
    let step = claim(&store, 1, t(10)).await.remove(0);
    send(&store, &[end(&root)]).await;
    let mut turn = commit(&step, Next::Keep);
    turn.insert.push(crate::work::step(&step.task));
    let late = turn.insert[0].id;
    let (other, writes) = (Arc::clone(&store), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&writes);
    let purging = between(&server, move |words| {
        let is_first = mode(&words) == Some("write") && count.fetch_add(1, Ordering::SeqCst) == 0;
        let (other, turn) = (Arc::clone(&other), turn.clone());
        async move {
            if is_first {
                send(&other, &[turn.into()]).await;
            }
            Then::Forward
        }
    });

    let request = PurgeRequest { what: Purge::Executions, before: t(50), now: t(50), max: 10 };
    let purged = open(&purging.await).await.purge(&request).await.expect("it succeeds");

    assert_eq!(purged.count, 1);
    assert!(writes.load(Ordering::SeqCst) > 1, "it was played again");
    for task in [root.task.id, step.task.id, late] {
        let mut admin = server.admin();
        assert!(!redis::cmd("EXISTS").arg(row(task)).query::<bool>(&mut admin).expect("a reply"), "{task}");
    }
}

#[tokio::test]
async fn a_member_without_a_task_stops_no_claim() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    let (gone, left) = (new_id(), new_id());
    send(&store, &[dispatch(gone, lane(&[]), t(0)), dispatch(left, lane(&[]), t(1))]).await;
    Admin::new(&server).run(redis::cmd("DEL").arg(row(gone.root())));

    let claimed = claim(&store, 1, t(10)).await;

    assert_eq!(claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), [left.root()]);
}

#[tokio::test]
async fn a_lane_that_the_server_has_lost_is_registered_again() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    send(&store, &[dispatch(new_id(), lane(&[]), t(0))]).await;
    assert_eq!(claim(&store, 1, t(1)).await.len(), 1);
    server.ask::<()>(&["FLUSHALL"]);

    let id = new_id();
    send(&store, &[dispatch(id, lane(&[]), t(0))]).await;

    assert_eq!(claim(&store, 1, t(1)).await[0].task.id, id.root());
}

/// The row of a step's parent is missing at the moment at which it is read, so what was read contradicts itself.
#[tokio::test]
async fn reads_of_two_moments_are_repeated() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    let root = broad(&store, 1).await.task.id;
    let step = claim(&store, 1, t(10)).await.remove(0);
    let (admin, reads) = (Admin::new(&server), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&reads);
    let torn = between(&server, move |words| {
        if words.first().is_some_and(|word| word == b"GETRANGE") && words[1] == row(root) {
            let aside = [row(root), b"aside".to_vec()].concat();
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => admin.run(redis::cmd("RENAME").arg(row(root)).arg(aside)),
                1 => admin.run(redis::cmd("RENAME").arg(aside).arg(row(root))),
                _ => {}
            }
        }
        async { Then::Forward }
    });

    send(&*open(&torn.await).await, &[end(&step)]).await;

    assert_eq!(reads.load(Ordering::SeqCst), 2);
}

/// A redriven execution is claimed again, although its lane had left the registry when it failed.
#[tokio::test]
async fn a_redriven_execution_registers_its_lane() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    let id = new_id();
    send(&store, &[dispatch(id, lane(&["blue".to_owned()]), t(0))]).await;
    let claimed = claim(&store, 1, t(1)).await.remove(0);
    send(&store, &[commit(&claimed, Next::End(Err(Failure::new("broken", "it broke")))).into()]).await;
    assert_eq!(server.ask::<usize>(&["HLEN", "stent:{test}:lanes"]), 0);

    send(&store, &[crate::work::redrive(id)]).await;

    assert_eq!(claim(&store, 1, t(10)).await[0].task.id, id.root());
}

#[tokio::test]
async fn what_another_handle_has_changed_is_read_again() {
    let server = Server::start(&[]);
    let (first, second) = (open(&server.options()).await, open(&server.options()).await);
    let ids = [new_id(), new_id()];
    send(&first, &ids.map(|id| dispatch(id, lane(&[]), t(0)))).await;
    let lost = claim(&first, 2, t(0)).await;
    let taken = claim(&second, 2, t(60)).await;
    assert_eq!((lost.len(), taken.len()), (2, 2));

    // The first handle remembers its own claims: under those, these commits would be applied, and refused.
    let outcomes = |store: &Arc<stent_redis::RedisStore>, commit| {
        let store = Arc::clone(store);
        async move { store.exchange(&[commit], None).await.expect("it answers").outcomes }
    };
    assert!(matches!(outcomes(&first, end(&lost[0])).await[..], [Outcome::Fenced]));
    assert!(matches!(outcomes(&first, end(&taken[1])).await[..], [Outcome::Applied(_)]));
    assert!(matches!(outcomes(&second, end(&taken[1])).await[..], [Outcome::Already(_)]));
    assert!(matches!(outcomes(&second, end(&taken[0])).await[..], [Outcome::Applied(_)]));
}

#[tokio::test]
async fn closing_waits_for_calls_that_still_run() {
    let server = Server::start(&[]);
    let (sent, goes_on) = (Arc::new(Notify::new()), watch::Sender::new(false));
    let (tell, wait) = (Arc::clone(&sent), goes_on.subscribe());
    let slow = between(&server, move |words| {
        let (tell, mut wait, is_write) = (Arc::clone(&tell), wait.clone(), mode(&words) == Some("write"));
        async move {
            if is_write {
                tell.notify_one();
                drop(wait.wait_for(|goes_on| *goes_on).await);
            }
            Then::Forward
        }
    });
    let store = open(&slow.await).await;
    let (caller, closer) = (Arc::clone(&store), Arc::clone(&store));
    let call =
        tokio::spawn(async move { caller.exchange(&[dispatch(new_id(), lane(&[]), t(0))], None).await });
    sent.notified().await;

    let closing = tokio::spawn(async move { closer.close().await });
    // New calls are refused once it closes. This one asks the server nothing.
    while store.migrate().await.is_ok() {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!closing.is_finished(), "a call still runs");
    goes_on.send_replace(true);

    assert!(call.await.expect("it does not panic").is_ok());
    closing.await.expect("it does not panic").expect("it closes");
}
