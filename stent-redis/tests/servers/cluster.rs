//! Nodes of a cluster, and a namespace that moves between nodes while work runs.

use std::time::{Duration, Instant};

use redis::Connection;
use stent_redis::RedisOptions;

use crate::server::{Server, ask, free_port};
use crate::support::{exists, fails, heals, new_id, open, refused, works, write};

#[tokio::test]
async fn a_node_of_a_cluster_is_refused_unless_a_cluster_is_meant() {
    let node = Server::start(&[("cluster-enabled", "yes"), ("cluster-port", &free_port().to_string())]);

    let said = refused(&node.options()).await;

    assert!(said.contains("is a node of a cluster; add cluster=true"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_refused_if_one_is_meant() {
    let server = Server::start(&[]);

    let said = refused(&server.options().cluster(true)).await;

    assert!(said.contains("is not a cluster; remove cluster=true"), "{said}");
}

#[tokio::test]
async fn any_node_leads_to_the_one_that_serves_the_namespace() {
    let cluster = Cluster::start();

    for node in &cluster.nodes {
        for namespace in ["test", "a", "b", "c"] {
            works(&*open(&node.options().cluster(true).namespace(namespace)).await).await;
        }
    }

    let keys = cluster.nodes.iter().map(|node| node.ask::<i64>(&["DBSIZE"])).collect::<Vec<_>>();
    assert!(keys.iter().all(|keys| *keys > 0), "namespaces spread: {keys:?}");
}

#[tokio::test]
async fn a_namespace_that_moves_is_followed_and_loses_nothing() {
    let cluster = Cluster::start();
    let store = open(&cluster.options()).await;
    let before = new_id();
    write(&store, before).await.expect("writes");
    let home = cluster.home("test");
    let target = &cluster.nodes[(home + 1) % 3];
    let (mut from, mut to) = (cluster.nodes[home].admin(), target.admin());

    let (slot, from_id, to_id) = (slot(&mut from, "test"), id(&mut from), id(&mut to));
    let slot = slot.to_string();
    let () = ask(&mut to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    let () = ask(&mut from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    migrate(&mut from, &slot, target.port(), 1);
    // Each node has only some of the keys, so the store must decide nothing.
    fails(&store, "moves to another node").await;
    migrate(&mut from, &slot, target.port(), usize::MAX);
    fails(&store, "moves to another node").await;
    for node in [&mut to, &mut from] {
        let () = ask(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }

    heals(&store).await;
    assert!(exists(&store, before).await);
}

#[tokio::test]
async fn a_replica_that_takes_over_is_found() {
    let mut cluster = Cluster::start();
    let home = cluster.home("test");
    let replica = cluster.add(&[("cluster-replica-validity-factor", "0")]);
    let primary = id(&mut cluster.nodes[home].admin());
    until("the replica knows its primary", || {
        ask::<String>(&mut replica.admin(), &["CLUSTER", "NODES"]).contains(&primary)
    });
    let () = replica.ask(&["CLUSTER", "REPLICATE", &primary]);
    until("the replica follows", || replica.ask::<String>(&["INFO"]).contains("master_link_status:up"));
    until("all nodes know the replica", || {
        let nodes = cluster.nodes.iter();
        nodes.map(|node| node.ask::<String>(&["CLUSTER", "NODES"])).all(|nodes| nodes.contains("slave"))
    });
    // The URL names only the node that will be stopped.
    let store = open(&cluster.nodes[home].options().cluster(true)).await;
    let before = new_id();
    write(&store, before).await.expect("writes");
    until("the write has arrived", || ask::<i64>(&mut replica.admin(), &["DBSIZE"]) > 0);
    let offset = |node: &Server| {
        let info: String = node.ask(&["INFO", "replication"]);
        info.lines().find_map(|line| line.strip_prefix("master_repl_offset:").map(str::to_owned))
    };
    until("the replica is not behind", || offset(&replica) == offset(&cluster.nodes[home]));

    cluster.nodes[home].kill();

    heals(&store).await;
    assert!(exists(&store, before).await);
    assert!(replica.ask::<String>(&["INFO", "replication"]).contains("role:master"));
}

/// Three primaries that share the slots.
struct Cluster {
    nodes: [Server; 3],
}

const RANGES: [[u16; 2]; 3] = [[0, 5_460], [5_461, 10_922], [10_923, 16_383]];

impl Cluster {
    fn start() -> Self {
        let node = |[first, last]: [u16; 2]| {
            let node = start(&[]);
            let () = node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            let () = node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(first + 1).to_string()]);
            node
        };
        let cluster = Self { nodes: RANGES.map(node) };
        let [first, others @ ..] = &cluster.nodes;
        for other in others {
            meet(first, other);
        }
        until("the nodes meet", || {
            cluster.nodes.iter().all(|node| {
                let info: String = node.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
        cluster
    }

    /// Adds a node without slots.
    fn add(&self, settings: &[(&str, &str)]) -> Server {
        let node = start(settings);
        meet(&self.nodes[0], &node);
        node
    }

    fn options(&self) -> RedisOptions {
        let [first, others @ ..] = &self.nodes;
        let options = first.options().cluster(true);
        others.iter().fold(options, |options, node| options.node("127.0.0.1", node.port()))
    }

    /// Returns the index of the node that serves a namespace.
    fn home(&self, namespace: &str) -> usize {
        let slot = slot(&mut self.nodes[0].admin(), namespace);
        let home = RANGES.iter().position(|[first, last]| (*first..=*last).contains(&slot));
        home.expect("every slot is served")
    }
}

fn start(settings: &[(&str, &str)]) -> Server {
    let bus = free_port().to_string();
    let cluster =
        [("cluster-enabled", "yes"), ("cluster-port", bus.as_str()), ("cluster-node-timeout", "2000")];
    Server::start(&[&cluster[..], settings].concat())
}

fn meet(first: &Server, other: &Server) {
    // An address ends with the port of the cluster bus: 127.0.0.1:7001@17001.
    let nodes: String = other.ask(&["CLUSTER", "NODES"]);
    let bus = nodes
        .split_once('@')
        .and_then(|(_, rest)| rest.split([' ', ',']).next())
        .expect("a node names its bus");
    let () = first.ask(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), bus]);
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn slot(node: &mut Connection, namespace: &str) -> u16 {
    ask(node, &["CLUSTER", "KEYSLOT", &format!("{{{namespace}}}")])
}

fn id(node: &mut Connection) -> String {
    ask(node, &["CLUSTER", "MYID"])
}

/// Moves at most `max` keys of a slot.
fn migrate(from: &mut Connection, slot: &str, to: u16, max: usize) {
    let keys: Vec<Vec<u8>> = ask(from, &["CLUSTER", "GETKEYSINSLOT", slot, "1000"]);
    let mut migrate = redis::cmd("MIGRATE");
    migrate.arg("127.0.0.1").arg(to).arg("").arg(0).arg(5_000).arg("KEYS");
    for key in keys.iter().take(max) {
        migrate.arg(key);
    }
    let () = migrate.query(from).expect("moves");
}
