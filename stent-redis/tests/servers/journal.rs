//! Batches that are too large for one script: see `journal.rs` of the store.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stent_core::Failure;
use stent_core::backend::{Backend, Claimed, Inspect};
use stent_core::transition::{Next, Outcome, Transition};
use stent_redis::{RedisOptions, RedisStore};

use crate::between::{Then, between, mode};
use crate::server::Server;
use crate::support::{new_id, open};
use crate::work::{broad, cancel, claim, commit, counting, dispatch, lane, send, t};

/// The open tasks of an execution that is too large for one script.
const WIDTH: usize = 20_000;

const LOCK: &str = "stent:{test}:lock";

/// The number of words in the commands that a script may run, at most: a bound of time that does not depend on the machine.
const SCRIPT_MAX: usize = 7_500;

/// Returns the cancellation of an execution with many tasks, a commit of its root that counts, and the retry of another task, which
/// appends to a list. The last two show if they are written twice.
async fn large(store: &RedisStore) -> (Vec<Transition>, Claimed, Claimed) {
    let root = broad(store, WIDTH).await;
    send(store, &[dispatch(new_id(), lane(&[]), t(0))]).await;
    let other = claim(store, 1, t(0)).await.remove(0);
    let turn = counting(commit(&root, Next::Keep), root.task.id);
    let retry = commit(&other, Next::Retry { ready_at: t(100), failure: Failure::new("flaky", "it rains") });
    (vec![turn.into(), retry.into(), cancel(root.task.id.execution())], root, other)
}

/// Asserts that the batch of [`large`] was written once.
async fn is_written_once(server: &Server, store: &RedisStore, root: &Claimed, other: &Claimed) {
    assert_eq!(claim(store, 500, t(10)).await, [], "all tasks below the root have ended");
    assert_eq!(store.notes(root.task.id.execution()).await.expect("reads").counters["turns"], 1);
    assert_eq!(store.ended_claims(other.task.id).await.expect("reads").len(), 1);
    is_clean(server);
}

/// Asserts that no lock and no journal is left.
fn is_clean(server: &Server) {
    let left: Vec<String> =
        journals(server).into_iter().map(|key| String::from_utf8_lossy(&key).into_owned()).collect();
    assert_eq!((left, server.ask::<usize>(&["EXISTS", LOCK])), (vec![], 0));
}

fn journals(server: &Server) -> Vec<Vec<u8>> {
    server.ask(&["KEYS", "stent:{test}:journal:*"])
}

/// Waits until the journals that nobody decided have expired.
async fn journals_expire(server: &Server) {
    for journal in journals(server) {
        let mut admin = server.admin();
        let left: i64 = redis::cmd("PTTL").arg(&journal).query(&mut admin).expect("it is read");
        assert!((-2..=2_000).contains(&left) && left != -1, "a journal that nobody decided expires: {left}");
    }
    while !journals(server).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn no_script_of_a_large_batch_runs_for_long() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    let root = broad(&store, WIDTH).await;
    let scripts = Monitor::start(&server);

    send(&store, &[cancel(root.task.id.execution())]).await;

    let words = scripts.stop(&server);
    let sum: usize = words.iter().sum();
    assert!(sum > 8 * WIDTH, "the monitor saw the batch: {sum}");
    let longest = words.into_iter().max();
    assert!(longest <= Some(SCRIPT_MAX), "{longest:?}");
    is_clean(&server);
}

/// Returns options of a store whose connections all end when it sends the `nth` call of this mode.
async fn dying(server: &Server, at: &'static str, nth: usize) -> RedisOptions {
    let count = Arc::new(AtomicUsize::new(0));
    let hook = move |words: Vec<Vec<u8>>| {
        let before = count.fetch_add(usize::from(mode(&words) == Some(at)), Ordering::SeqCst);
        let is_dead = before + usize::from(mode(&words) == Some(at)) >= nth;
        async move { if is_dead { Then::Close } else { Then::Forward } }
    };
    between(server, hook).await
}

#[tokio::test]
async fn a_decided_batch_whose_caller_dies_is_finished_by_others() {
    let server = Server::start(&[]);
    let (dying, store) = (open(&dying(&server, "advance", 3).await).await, open(&server.options()).await);
    let (batch, root, other) = large(&store).await;

    dying.exchange(&batch, None).await.expect_err("it dies");
    let holder: String = server.ask(&["GETRANGE", LOCK, "0", "0"]);
    assert_eq!(holder, "j", "the batch is decided and not written");

    // A claim finishes the batch first, so it finds none of the tasks that have ended.
    is_written_once(&server, &store, &root, &other).await;
    let repeated = store.exchange(&batch, None).await.expect("it succeeds").outcomes;
    assert!(repeated.iter().all(|outcome| matches!(outcome, Outcome::Already(_))), "{repeated:?}");
    is_written_once(&server, &store, &root, &other).await;
}

#[tokio::test]
async fn an_undecided_batch_whose_caller_dies_leaves_nothing() {
    let server = Server::start(&[]);
    let (dying, store) = (open(&dying(&server, "decide", 1).await).await, open(&server.options()).await);
    let (batch, root, other) = large(&store).await;

    dying.exchange(&batch, None).await.expect_err("it dies");
    assert_eq!(server.ask::<usize>(&["EXISTS", LOCK]), 1, "its lock is left");

    // The claim waits until the lock expires.
    assert_eq!(claim(&store, 500, t(10)).await.len(), 500);
    is_clean(&server);
    assert!(store.notes(root.task.id.execution()).await.expect("reads").counters.is_empty());
    assert!(store.ended_claims(other.task.id).await.expect("reads").is_empty());
}

#[tokio::test]
async fn a_lock_that_expires_before_the_decision_is_taken_again() {
    for lost_at in ["stage", "decide"] {
        let server = Server::start(&[]);
        let (lost, admin) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(server.admin())));
        let count = Arc::clone(&lost);
        let losing = between(&server, move |words| {
            if mode(&words) == Some(lost_at) && count.fetch_add(1, Ordering::SeqCst) == 0 {
                let mut admin = admin.lock().expect("nobody panics");
                redis::cmd("DEL").arg(LOCK).exec(&mut *admin).expect("it is deleted");
            }
            async { Then::Forward }
        });
        let (losing, store) = (open(&losing.await).await, open(&server.options()).await);
        let (batch, root, other) = large(&store).await;

        send(&losing, &batch).await;

        assert!(lost.load(Ordering::SeqCst) > 1, "{lost_at} ran again");
        // The journal that was staged under the lost lock stays until it expires.
        journals_expire(&server).await;
        is_written_once(&server, &store, &root, &other).await;
    }
}

/// A change between the checks of a large batch and its decision: nothing is lost, and the batch is played again.
#[tokio::test]
async fn a_large_batch_that_loses_is_played_again() {
    let server = Server::start(&[]);
    let (staged, admin) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(server.admin())));
    let changed = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (count, key) = (Arc::clone(&staged), Arc::clone(&changed));
    let losing = between(&server, move |words| {
        if mode(&words) == Some("stage") && count.fetch_add(1, Ordering::SeqCst) == 0 {
            let key: Vec<u8> = key.lock().expect("nobody panics").clone();
            let mut admin = admin.lock().expect("nobody panics");
            redis::cmd("SETRANGE").arg(key).arg(0).arg("changed!").exec(&mut *admin).expect("it is changed");
        }
        async { Then::Forward }
    });
    let (losing, store) = (open(&losing.await).await, open(&server.options()).await);
    let (batch, root, other) = large(&store).await;
    *changed.lock().expect("nobody panics") =
        [b"stent:{test}:t:".as_slice(), other.task.id.as_uuid().as_bytes()].concat();

    send(&losing, &batch).await;

    is_written_once(&server, &store, &root, &other).await;
}

/// Counts the commands of each script, as the server reports them.
struct Monitor(std::thread::JoinHandle<Vec<usize>>);

impl Monitor {
    fn start(server: &Server) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server is there");
        stream.write_all(b"MONITOR\r\n").expect("it is sent");
        let mut lines = BufReader::new(stream).split(b'\n');
        let first = lines.next().expect("a reply").expect("a reply");
        assert_eq!(first, b"+OK\r");
        Self(std::thread::spawn(move || {
            let mut scripts = vec![0];
            for line in lines {
                let line = line.expect("the connection holds");
                let line = String::from_utf8_lossy(&line);
                if line.contains(" lua] ") {
                    // Each word is in quotation marks.
                    *scripts.last_mut().expect("it is not empty") += 1 + line.matches("\" \"").count();
                } else if line.contains("\"enough\"") {
                    break;
                } else {
                    scripts.push(0);
                }
            }
            scripts
        }))
    }

    fn stop(self, server: &Server) -> Vec<usize> {
        server.ask::<String>(&["ECHO", "enough"]);
        self.0.join().expect("it reads to the end")
    }
}
