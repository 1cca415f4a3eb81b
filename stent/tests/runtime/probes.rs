//! The probes over HTTP, on a real socket: what they answer in each state of a worker's life, and why.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use stent::WorkerState;
use stent::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::rigged::Rigged;
use crate::{Db, eventually, ran, unique, until};

#[durable(name = "probes.gated")]
async fn gated(key: u64) {
    ran::note(key, "started");
    until(|| ran::count(key, "open") == 1).await;
}

/// Blocks its thread.
#[durable(name = "probes.blocks")]
async fn blocks(key: u64) {
    ran::note(key, "started");
    while ran::count(key, "open") == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server with the routers of a `Stent`.
struct Server(std::net::SocketAddr);

impl Server {
    async fn of(stent: &Stent) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let router = stent::http::router(stent).merge(stent::http::metrics(|| "up 1\n".to_owned()));
        tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self(address)
    }

    /// The status, the headers and the body of an answer.
    async fn get(&self, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.0).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), head.to_lowercase(), body.to_owned())
    }

    /// The status of a probe, and its problems.
    async fn probe(&self, path: &str) -> (u16, Vec<String>) {
        let (status, head, body) = self.get(path).await;
        assert!(head.contains("content-type: application/json"), "{head}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["status"], if status == 200 { "ok" } else { "failed" });
        let problems = body["problems"].as_array().expect("a list");
        (status, problems.iter().map(|problem| problem.as_str().expect("a text").to_owned()).collect())
    }

    /// Asserts that a probe fails for one reason, which contains these texts.
    async fn assert_fails(&self, path: &str, parts: &[&str]) {
        let (status, problems) = self.probe(path).await;
        assert_eq!((status, problems.len()), (503, 1), "{problems:?}");
        assert!(parts.iter().all(|part| problems[0].contains(part)), "{parts:?}: {problems:?}");
    }
}

/// A `Stent` on a store in memory, with a switch.
async fn rigged() -> (std::sync::Arc<Rigged>, Stent) {
    let memory = Stent::connect("memory:").await.expect("memory opens");
    let rigged = Rigged::new(memory.store());
    let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
    (rigged, stent)
}

/// A runtime of its own, with one thread.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
}

#[tokio::test]
async fn readiness_follows_a_worker_from_its_start_to_its_end() {
    let (rigged, stent) = rigged().await;
    let server = Server::of(&stent).await;
    server.assert_fails("/readyz", &["no worker runs"]).await;
    assert_eq!(server.probe("/livez").await, (200, vec![]), "what has no workers is live");

    rigged.is_out.store(true, Ordering::SeqCst);
    let worker = stent.worker().state(Db).name("mailer").start().await.expect("starts");
    until(|| worker.status().last_error.is_some()).await;
    server.assert_fails("/readyz", &["`mailer`", "starting", "rigged"]).await;
    assert_eq!(server.probe("/livez").await, (200, vec![]), "it waits for its store");

    rigged.is_out.store(false, Ordering::SeqCst);
    worker.wait_until_ready().await.expect("becomes ready");
    assert_eq!(server.probe("/readyz").await, (200, vec![]));

    rigged.is_out.store(true, Ordering::SeqCst);
    assert_eq!(server.probe("/readyz").await, (200, vec![]), "a restart would not help");
    rigged.is_out.store(false, Ordering::SeqCst);

    let key = unique();
    stent.dispatch(gated(key)).await.expect("dispatched");
    until(|| ran::count(key, "started") == 1).await;
    let drained = tokio::spawn(worker.drain());
    until(|| stent.workers().draining).await;
    server.assert_fails("/readyz", &["`mailer`", "drains", "1 running"]).await;
    assert_eq!(server.probe("/livez").await, (200, vec![]), "a drain takes its time");

    ran::note(key, "open");
    drained.await.expect("no panic").expect("drains");
    server.assert_fails("/readyz", &["no worker runs"]).await;
    assert_eq!(server.probe("/livez").await, (200, vec![]), "it was asked to stop");
}

#[tokio::test]
async fn a_worker_whose_loop_hangs_is_not_live_until_it_goes_on() {
    let (_, stent) = rigged().await;
    let server = Server::of(&stent).await;
    let (key, runtime) = (unique(), runtime());
    let builder = stent.worker().state(Db).name("stuck").lease("100ms");
    let worker = runtime.spawn(builder.start()).await.expect("no panic").expect("starts");
    worker.wait_until_ready().await.expect("becomes ready");

    stent.dispatch(blocks(key)).await.expect("dispatched");
    eventually(async || server.probe("/livez").await.0 == 503).await;
    server.assert_fails("/livez", &["`stuck`", "hangs", "100 ms"]).await;

    ran::note(key, "open");
    eventually(async || server.probe("/livez").await.0 == 200).await;
    worker.drain().await.expect("drains");
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_worker_whose_loop_ended_unasked_is_not_live() {
    let (_, stent) = rigged().await;
    let server = Server::of(&stent).await;
    let runtime = runtime();
    let builder = stent.worker().state(Db).name("orphan");
    let worker = runtime.spawn(builder.start()).await.expect("no panic").expect("starts");
    worker.wait_until_ready().await.expect("becomes ready");

    runtime.shutdown_background();
    until(|| worker.status().state == WorkerState::Crashed).await;

    server.assert_fails("/livez", &["`orphan`", "ended without being asked to"]).await;
    server.assert_fails("/readyz", &["`orphan`", "crashed"]).await;
    drop(worker);
    assert_eq!(server.probe("/livez").await, (200, vec![]), "the program has given it up");
}

#[tokio::test]
async fn metrics_are_what_the_closure_renders() {
    let (_, stent) = rigged().await;
    let server = Server::of(&stent).await;
    let (status, head, body) = server.get("/metrics").await;
    assert_eq!((status, body.as_str()), (200, "up 1\n"));
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
}
