//! Counted costs of exchanges: round trips and commands on the way to the server, and commands that scripts run there.
//!
//! A proxy between store and server counts round trips and commands. The server counts the commands that it runs, those of
//! scripts included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stent_core::Payload;
use stent_core::backend::{Backend, Claimed};
use stent_core::model::{Lane, NewTask, NewTaskState, Nonce, Seq, StepKind};
use stent_core::transition::{Commit, Next, Outcome, Transition};
use stent_redis::{RedisOptions, RedisStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Server, ask};
use crate::support::{NOW, claim, ended, new_id, open, start};
use crate::work::step;

/// Tasks of a large batch.
const MANY: usize = 200;

/// A dispatch expects that nothing is there, so its write finds out.
const DISPATCH_ROUND_TRIPS: u64 = 1;

/// The handle that has claimed a task knows its row, so its commit only writes.
const COMMIT_ROUND_TRIPS: u64 = 1;

/// So does its renewal.
const RENEW_ROUND_TRIPS: u64 = 1;

/// A claim of tasks that have no steps yet.
const CLAIM_ROUND_TRIPS: u64 = 1;

/// A claim of tasks of which some have steps: the script that claims does not read them.
const CLAIM_WITH_STEPS_ROUND_TRIPS: u64 = 2;

/// Commands that the server runs for each further task of a batch, reads and checks of types included.
/// Memberships of sets, and new rows, of a whole batch are a few commands.
const DISPATCH_COMMANDS: u64 = 1;
const CLAIM_COMMANDS: u64 = 2;
/// A claim looks for due tasks this many at a time.
const CLAIM_PAGE: u64 = 64;
const RENEW_COMMANDS: u64 = 2;
const COMMIT_COMMANDS: u64 = 3;

#[tokio::test]
async fn an_exchange_takes_as_many_round_trips_however_much_it_writes() {
    let bench = Bench::new().await;
    // First calls load their scripts, the first dispatch stores the lane, and the first claim reads it.
    bench.dispatch(1).await;
    let (_, claimed) = bench.claim(1).await;
    bench.renew(&claimed).await;
    bench.commit(claimed).await;

    let mut costs = Vec::new();
    for count in [1, MANY] {
        let (dispatch, _) = bench.dispatch(count).await;
        let (claim, claimed) = bench.claim(count).await;
        assert_eq!(claimed.len(), count);
        let renew = bench.renew(&claimed).await;
        let commit = bench.commit(claimed).await;
        println!("{count}: dispatch {dispatch:?}, claim {claim:?}, renew {renew:?}, commit {commit:?}");

        assert_eq!(dispatch.round_trips, DISPATCH_ROUND_TRIPS, "{count}: {dispatch:?}");
        assert_eq!(claim.round_trips, CLAIM_ROUND_TRIPS, "{count}: {claim:?}");
        assert_eq!(renew.round_trips, RENEW_ROUND_TRIPS, "{count}: {renew:?}");
        assert_eq!(commit.round_trips, COMMIT_ROUND_TRIPS, "{count}: {commit:?}");
        // Each script is one command.
        assert_eq!((dispatch.sent, claim.sent), (1, 1), "{count}: {dispatch:?}, {claim:?}");
        costs.push([dispatch, claim, renew, commit].map(|cost| cost.ran));
    }
    let each = [DISPATCH_COMMANDS, CLAIM_COMMANDS, RENEW_COMMANDS, COMMIT_COMMANDS];
    let pages = [0, MANY as u64 / CLAIM_PAGE, 0, 0];
    for (n, (each, pages)) in each.into_iter().zip(pages).enumerate() {
        let more = costs[1][n] - costs[0][n];
        let expected = each * (MANY as u64 - 1) + pages;
        assert_eq!(more, expected, "{costs:?}: call {n} runs as many commands for each task");
    }
}

#[tokio::test]
async fn the_steps_of_claimed_tasks_take_one_round_trip_however_many_there_are() {
    let bench = Bench::new().await;
    for (nonce, tasks) in [(1, 1), (2, 1), (3, MANY)] {
        bench.dispatch(tasks).await;
        let (_, claimed) = bench.claim(tasks).await;
        let turns: Vec<_> = claimed.iter().map(with_steps).collect();
        bench.exchange(&turns).await;

        let (cost, claimed) = bench.cost(claim(&bench.store, tasks, Nonce::new(nonce))).await;

        assert!(claimed.iter().all(|claimed| claimed.steps.len() == STEPS), "{claimed:?}");
        // The first round loads the scripts.
        if nonce > 1 {
            assert_eq!(cost.round_trips, CLAIM_WITH_STEPS_ROUND_TRIPS, "{tasks}: {cost:?}");
            assert_eq!(cost.sent, CLAIM_WITH_STEPS_ROUND_TRIPS, "{tasks}: {cost:?}");
        }
        bench.commit(claimed).await;
    }
}

/// The number of steps that a task records in one turn.
const STEPS: usize = 5;

/// Returns the commit that records steps of a claimed task and releases it.
fn with_steps(claimed: &Claimed) -> Transition {
    let step = |n: usize| NewTask {
        seq: Seq(u32::try_from(n).expect("few")),
        kind: StepKind::Inline,
        lane: Lane::new("", "step"),
        state: NewTaskState::Done { started_at: NOW, result: Ok(Payload::empty()) },
        ..step(&claimed.task)
    };
    let insert = (0..STEPS).map(step).collect();
    let commit = Commit::new(claimed.fence, claimed.task.tree, claimed.task.key, NOW, Next::Release);
    Commit { insert, ..commit }.into()
}

/// The cost of a call.
#[derive(Clone, Copy, Debug)]
struct Cost {
    round_trips: u64,
    /// Commands that the store sent.
    sent: u64,
    /// Commands that the server ran, those of scripts included.
    ran: u64,
}

struct Bench {
    server: Server,
    store: Arc<RedisStore>,
    counted: Arc<Counted>,
}

impl Bench {
    async fn new() -> Self {
        let server = Server::start(&[]);
        let (options, counted) = proxy(&server).await;
        let store = open(&options).await;
        Self { server, store, counted }
    }

    async fn dispatch(&self, count: usize) -> (Cost, ()) {
        let batch: Vec<_> = (0..count).map(|_| start(new_id())).collect();
        self.exchange(&batch).await
    }

    async fn claim(&self, count: usize) -> (Cost, Vec<Claimed>) {
        self.cost(claim(&self.store, count, Nonce::new(1))).await
    }

    async fn renew(&self, claimed: &[Claimed]) -> Cost {
        let leases: Vec<_> = claimed.iter().map(|claimed| claimed.lease).collect();
        let until = NOW + std::time::Duration::from_secs(90);
        let (cost, renewed) = self.cost(self.store.renew(&leases, NOW, until)).await;
        renewed.expect("renews");
        cost
    }

    async fn commit(&self, claimed: Vec<Claimed>) -> Cost {
        let batch: Vec<_> = claimed.iter().map(ended).collect();
        self.exchange(&batch).await.0
    }

    async fn exchange(&self, batch: &[Transition]) -> (Cost, ()) {
        let (cost, exchanged) = self.cost(self.store.exchange(batch, None)).await;
        assert!(exchanged.expect("writes").outcomes.iter().all(Outcome::stands));
        (cost, ())
    }

    async fn cost<T>(&self, call: impl Future<Output = T>) -> (Cost, T) {
        let read = || (self.counted.round_trips(), self.counted.sent(), ran(&self.server));
        let before = read();
        let output = call.await;
        let after = read();
        let [round_trips, sent, ran] = [after.0 - before.0, after.1 - before.1, after.2 - before.2];
        (Cost { round_trips, sent, ran }, output)
    }
}

/// Commands that the server has run for calls of the store.
fn ran(server: &Server) -> u64 {
    /// Commands of this test, and of the connection for hints.
    const OTHERS: [&str; 2] = ["info", "xread"];
    let stats: String = ask(&mut server.admin(), &["INFO", "commandstats"]);
    let calls = stats.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let is_other = OTHERS.contains(&name) || name.starts_with("client");
        if is_other { None } else { rest.split(',').next()?.parse::<u64>().ok() }
    });
    calls.sum()
}

/// Counts the traffic through a proxy, without the connection for hints.
#[derive(Debug, Default)]
struct Counted {
    round_trips: AtomicU64,
    sent: AtomicU64,
}

impl Counted {
    fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::SeqCst)
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

/// Serves on a port of loopback in front of a server.
async fn proxy(server: &Server) -> (RedisOptions, Arc<Counted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let (own, port) = (listener.local_addr().expect("it is bound").port(), server.port());
    let counted = Arc::new(Counted::default());
    let counting = Arc::clone(&counted);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.expect("the server runs");
            tokio::spawn(pass(client, server, Arc::clone(&counting)));
        }
    });
    (RedisOptions::server("127.0.0.1", own).namespace("test"), counted)
}

/// Passes bytes in both directions. A round trip begins with a command that is sent after a reply.
async fn pass(mut client: TcpStream, mut server: TcpStream, counted: Arc<Counted>) {
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let (mut commands, mut is_answered, mut is_for_hints) = (Commands::default(), true, false);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Some(bytes) = read.ok().filter(|length| *length > 0).map(|length| &from_client[..length])
                else { return };
                let is_new = commands.is_between();
                let begun = commands.take(bytes);
                is_for_hints |= bytes.windows(5).any(|word| word == b"XREAD");
                if !is_for_hints {
                    counted.sent.fetch_add(begun, Ordering::SeqCst);
                    if is_new && is_answered {
                        counted.round_trips.fetch_add(1, Ordering::SeqCst);
                    }
                }
                is_answered = false;
                if server.write_all(bytes).await.is_err() { return }
            }
            read = server.read(&mut from_server) => {
                let Some(bytes) = read.ok().filter(|length| *length > 0).map(|length| &from_server[..length])
                else { return };
                is_answered = true;
                if client.write_all(bytes).await.is_err() { return }
            }
        }
    }
}

/// Finds where commands begin in a stream: each is `*` and its number of words, then each word after `$` and its length.
#[derive(Debug, Default)]
struct Commands {
    /// Words of the present command that are still to come.
    words: u64,
    /// Bytes of the present word that are still to come, with the end of its line.
    bytes: usize,
    line: Vec<u8>,
}

impl Commands {
    fn is_between(&self) -> bool {
        self.words == 0 && self.bytes == 0 && self.line.is_empty()
    }

    /// Reads on. Returns the number of commands that begin.
    fn take(&mut self, mut input: &[u8]) -> u64 {
        let mut begun = 0;
        while let Some((first, rest)) = input.split_first() {
            if self.bytes > 0 {
                let skipped = self.bytes.min(input.len());
                self.bytes -= skipped;
                input = &input[skipped..];
                continue;
            }
            input = rest;
            self.line.push(*first);
            let Some(line) = self.line.strip_suffix(b"\r\n") else { continue };
            let number = std::str::from_utf8(&line[1..]).expect("a number").parse().expect("a number");
            match line[0] {
                b'*' => {
                    self.words = number;
                    begun += 1;
                }
                b'$' => {
                    self.words -= 1;
                    self.bytes = usize::try_from(number).expect("a length") + 2;
                }
                other => panic!("a command has {other} at the start of a line"),
            }
            self.line.clear();
        }
        begun
    }
}
