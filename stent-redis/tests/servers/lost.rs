//! Claims whose replies are lost: the worker's next claim takes their tasks back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Connection;
use stent_core::backend::{Backend, ClaimRequest, Claimed, NoStickyCache, Result};
use stent_core::model::{Epoch, Nonce};
use stent_core::transition::Outcome;
use stent_core::{Timestamp, WorkerId};
use stent_redis::{RedisOptions, RedisStore};
use uuid::Uuid;

use crate::between::{Then, between};
use crate::server::Server;
use crate::support::{new_id, open};
use crate::work::{cancel, commands, dispatch, end, lane, reset, send, t};

const ME: WorkerId = WorkerId::from_uuid(Uuid::from_u128(7));
const OTHER: WorkerId = WorkerId::from_uuid(Uuid::from_u128(8));

/// The fate of a claim. Claims after those with a fate go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The server runs it, and the connection ends before the reply.
    ReplyLost,
    /// The connection ends, and the server runs it when [`Losses::run_late`] says so.
    Late,
    /// The server runs it, and no reply comes.
    Silence,
}

/// The fates of claims through a proxy.
#[derive(Clone)]
struct Losses {
    fates: Arc<Mutex<Vec<Fate>>>,
    late: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
    admin: Arc<Mutex<Connection>>,
}

impl Losses {
    fn run(&self, words: &[Vec<u8>]) {
        let (name, args) = words.split_first().expect("a command");
        let mut cmd = redis::cmd(std::str::from_utf8(name).expect("a name"));
        args.iter().for_each(|arg| _ = cmd.arg(arg));
        cmd.exec(&mut *self.admin.lock().expect("nobody panics")).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Runs the claims that were late.
    fn run_late(&self) {
        let late = std::mem::take(&mut *self.late.lock().expect("nobody panics"));
        assert!(!late.is_empty());
        late.iter().for_each(|words| self.run(words));
    }

    fn then(&self, fate: Fate) {
        self.fates.lock().expect("nobody panics").push(fate);
    }
}

/// Whether a command is a claim: its first argument is a moment, and it has many.
fn is_claim(words: &[Vec<u8>]) -> bool {
    words.len() > 10 && words[0] == b"EVALSHA" && words[4].len() == 8 && words[5].len() == 8
}

/// Returns options of a store behind a proxy that loses replies of claims.
async fn losing(server: &Server) -> (RedisOptions, Losses) {
    let losses =
        Losses { fates: Arc::default(), late: Arc::default(), admin: Arc::new(Mutex::new(server.admin())) };
    let of_hook = losses.clone();
    let options = between(server, move |words| {
        let mut fates = of_hook.fates.lock().expect("nobody panics");
        let fate = (is_claim(&words) && !fates.is_empty()).then(|| fates.remove(0));
        drop(fates);
        match fate {
            Some(Fate::Late) => of_hook.late.lock().expect("nobody panics").push(words),
            Some(_) => of_hook.run(&words),
            None => {}
        }
        async move {
            match fate {
                None => Then::Forward,
                Some(Fate::Silence) => std::future::pending().await,
                Some(_) => Then::Close,
            }
        }
    });
    (options.await, losses)
}

async fn claim_as(store: &RedisStore, worker: WorkerId, max: usize, now: Timestamp) -> Result<Vec<Claimed>> {
    let functions = ["f".to_owned()];
    let request = ClaimRequest {
        worker,
        nonce: Nonce::new(u32::try_from(now.as_micros() / 1_000 % 1_000_000_007).expect("small")),
        now,
        until: now + Duration::from_secs(30),
        max,
        functions: &functions,
        queues: None,
        tags: &[],
        limits: &[],
        cache: &NoStickyCache,
    };
    // The link pauses after a lost connection.
    for _ in 0..1_000 {
        match store.exchange(&[], Some(&request)).await {
            Err(error) if error.to_string().contains("cannot connect") => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            exchanged => return Ok(exchanged?.claimed),
        }
    }
    panic!("the proxy accepts connections");
}

async fn started(store: &RedisStore, count: usize) {
    // The script of claims is loaded by the first one.
    assert_eq!(claim_as(store, OTHER, 1, t(0)).await.expect("claims"), []);
    let all: Vec<_> = (0..count).map(|_| dispatch(new_id(), lane(&[]), t(0))).collect();
    send(store, &all).await;
}

#[tokio::test]
async fn the_next_claim_takes_back_what_a_claim_without_a_reply_has_claimed() {
    let server = Server::start(&[]);
    let (options, losses) = losing(&server).await;
    let (store, other) = (open(&options).await, open(&server.options()).await);
    started(&store, 3).await;
    for fate in [Fate::ReplyLost, Fate::Late] {
        losses.then(fate);
    }

    claim_as(&store, ME, 2, t(1)).await.expect_err("its reply is lost");
    assert_eq!(claim_as(&other, OTHER, 2, t(2)).await.expect("claims").len(), 1, "two tasks are claimed");
    claim_as(&store, ME, 2, t(3))
        .await
        .expect_err("the reply is lost once more, after the tasks were taken back");
    let claimed = claim_as(&store, ME, 5, t(4)).await.expect("claims");

    assert_eq!(claimed.len(), 2, "{claimed:?}");
    for one in &claimed {
        assert_eq!(
            (one.task.epoch.count, one.task.uncommitted_claims, one.task.crashes),
            (1, 1, 0),
            "one claim"
        );
        assert_eq!((one.lease.until, one.lease.epoch), (t(34), one.fence.epoch));
    }
    let ends: Vec<_> = claimed.iter().map(end).collect();
    let ended = store.exchange(&ends, None).await.expect("writes").outcomes;
    assert!(ended.iter().all(|outcome| matches!(outcome, Outcome::Applied(_))), "{ended:?}");
    assert_eq!(claim_as(&store, ME, 5, t(5)).await.expect("claims"), []);
    assert_eq!(claim_as(&other, OTHER, 5, t(6)).await.expect("claims"), []);
}

#[tokio::test]
async fn a_claim_that_the_server_runs_late_is_taken_back_too() {
    let server = Server::start(&[]);
    let (options, losses) = losing(&server).await;
    let store = open(&options).await;
    started(&store, 0).await;
    losses.then(Fate::Late);
    claim_as(&store, ME, 2, t(1)).await.expect_err("the connection ends");
    assert_eq!(claim_as(&store, ME, 2, t(2)).await.expect("claims"), []);
    send(&store, &[dispatch(new_id(), lane(&[]), t(0))]).await;

    losses.run_late();

    assert_eq!(claim_as(&store, ME, 2, t(3)).await.expect("claims").len(), 1);
    assert_eq!(claim_as(&store, ME, 2, t(4)).await.expect("claims"), []);
}

/// A task that breaks each claim must not hold the others that were claimed with it.
#[tokio::test]
async fn tasks_that_were_taken_back_in_vain_are_left_to_others() {
    let server = Server::start(&[]);
    let (options, losses) = losing(&server).await;
    let (store, other) = (open(&options).await, open(&server.options()).await);
    started(&store, 1).await;
    (0..3).for_each(|_| losses.then(Fate::ReplyLost));

    for second in 1..=3 {
        claim_as(&store, ME, 2, t(second)).await.expect_err("claimed once, and taken back twice");
    }

    assert_eq!(claim_as(&store, ME, 2, t(4)).await.expect("claims"), []);
    let claimed = claim_as(&other, OTHER, 2, t(34)).await.expect("claims");
    assert_eq!(claimed.len(), 1, "the last lease ended at 33");
    assert_eq!(claimed[0].task.crashes, 1);
}

#[tokio::test]
async fn a_claim_that_its_caller_gives_up_is_taken_back() {
    let server = Server::start(&[]);
    let (options, losses) = losing(&server).await;
    let store = open(&options).await;
    started(&store, 1).await;
    losses.then(Fate::Silence);

    let given_up = tokio::time::timeout(Duration::from_millis(300), claim_as(&store, ME, 1, t(1))).await;
    given_up.expect_err("no reply comes");
    let _: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);

    let mut claimed = Vec::new();
    while claimed.is_empty() {
        claimed = claim_as(&store, ME, 1, t(2)).await.unwrap_or_default();
    }
    assert_eq!(claimed[0].task.epoch.count, 1);
}

#[tokio::test]
async fn no_more_is_taken_back_than_a_claim_may_take_and_the_rest_later() {
    let server = Server::start(&[]);
    let (options, losses) = losing(&server).await;
    let store = open(&options).await;
    started(&store, 5).await;
    losses.then(Fate::ReplyLost);
    claim_as(&store, ME, 4, t(1)).await.expect_err("its reply is lost");

    let mut epochs: Vec<Epoch> = Vec::new();
    for (now, max, expected) in [(2, 0, 0), (3, 3, 3), (4, 3, 2), (5, 3, 0)] {
        let claimed = claim_as(&store, ME, max, t(now)).await.expect("claims");
        assert_eq!(claimed.len(), expected, "at {now}");
        epochs.extend(claimed.iter().map(|claimed| claimed.task.epoch));
    }
    assert!(epochs.iter().all(|epoch| epoch.count == 1), "every task was claimed once: {epochs:?}");
}

#[tokio::test]
async fn what_is_not_the_workers_any_more_is_not_taken_back() {
    let server = Server::start(&[]);
    let (options, losses) = losing(&server).await;
    let (store, other) = (open(&options).await, open(&server.options()).await);
    started(&store, 0).await;
    let (stopped, lost) = (new_id(), new_id());
    send(&store, &[dispatch(stopped, lane(&[]), t(0)), dispatch(lost, lane(&[]), t(0))]).await;
    losses.then(Fate::ReplyLost);
    claim_as(&store, ME, 2, t(1)).await.expect_err("its reply is lost");
    send(&other, &[cancel(stopped)]).await;

    assert_eq!(claim_as(&store, OTHER, 2, t(2)).await.expect("claims"), [], "another worker");
    // The lease of the lost claim ends at 31.
    let taken = claim_as(&other, OTHER, 2, t(31)).await.expect("claims");
    assert_eq!(taken.iter().map(|taken| taken.task.id).collect::<Vec<_>>(), [lost.root()]);
    assert_eq!(claim_as(&store, ME, 2, t(20)).await.expect("claims"), [], "one was stopped, one taken over");
}

#[tokio::test]
async fn a_claim_after_a_claim_with_a_reply_costs_nothing_more() {
    let server = Server::start(&[]);
    let (options, losses) = losing(&server).await;
    let store = open(&options).await;
    started(&store, 0).await;
    let counted = async |now: i64| {
        reset(&server);
        assert_eq!(claim_as(&store, ME, 2, t(now)).await.expect("claims"), []);
        commands(&server)
    };
    let usual = counted(1).await;
    losses.then(Fate::ReplyLost);
    send(&store, &[dispatch(new_id(), lane(&[]), t(0))]).await;
    claim_as(&store, ME, 2, t(2)).await.expect_err("its reply is lost");
    let taken = claim_as(&store, ME, 2, t(3)).await.expect("claims");
    send(&store, &[end(&taken[0])]).await;

    assert_eq!(counted(4).await, usual);
}
