//! Probes and metrics over HTTP, as `axum` routers. Reads the state of workers in memory, never the store.
//!
//! ```no_run
//! # async fn serve(render: impl Fn() -> String + Clone + Send + Sync + 'static) -> Result<(), Box<dyn std::error::Error>> {
//! let stent = stent::Stent::connect("sqlite://orders.db").await?;
//! let worker = stent.worker().start().await?;
//!
//! // `render` is, for example, `move || handle.render()` with a `metrics_exporter_prometheus::PrometheusHandle`.
//! let router = stent::http::router(&stent).merge(stent::http::metrics(render));
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:9090").await?;
//! axum::serve(listener, router).await?;
//! # worker.drain().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Requires the feature `http`. The routers are those of `axum` 0.8; merge them into yours, or serve them on a port of their
//! own. The bodies name workers, functions' errors and the store's host, so do not expose them to the internet.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use stent_core::model::WorkerState;

use crate::stent::Stent;
use crate::worker::{WorkerStatus, WorkersOverview};

/// The content type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns a router with two probes for the workers that were started from this `Stent` or a clone of it.
///
/// | Path | Answers 200 while | Otherwise, 503 |
/// |---|---|---|
/// | `/livez` | no worker has crashed, and no worker's loop is late by a whole [lease](crate::WorkerBuilder::lease), 30 s by default | restart the process |
/// | `/readyz` | at least one worker has reached its store, and none drains | send no work here |
///
/// A worker has crashed if its loop ended without being asked to. A loop is late when something holds up its runtime, such
/// as code that blocks. A store that is down fails no probe of a worker that was ready: the worker waits for it, and a restart
/// would not help.
///
/// The bodies are JSON: `status` is `ok` or `failed`, `problems` says which worker fails the probe and why, and `workers` is
/// [`WorkersOverview::workers`].
///
/// A process without workers is live but not ready. If the threads of the runtime that serves the probes are blocked
/// themselves, there is no answer, which a prober counts as a failure, too. Serve the probes from a runtime of their own
/// to get the reason even then.
///
/// The router holds a clone of the `Stent`.
pub fn router(stent: &Stent) -> Router {
    let (live, ready) = (stent.clone(), stent.clone());
    Router::new()
        .route("/livez", get(move || std::future::ready(answer(live.workers(), liveness_problems))))
        .route("/readyz", get(move || std::future::ready(answer(ready.workers(), readiness_problems))))
}

/// Returns a router whose `/metrics` answers with what `render` returns, in Prometheus' text format.
///
/// It takes a closure, so that Stent does not depend on one exporter. `render` runs on a thread of the runtime, so it should
/// take no longer than a few milliseconds.
pub fn metrics(render: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    let scraped = move || std::future::ready(([(header::CONTENT_TYPE, PROMETHEUS)], render()));
    Router::new().route("/metrics", get(scraped))
}

/// The body of a probe's answer.
#[derive(Debug, Serialize)]
struct Body {
    status: &'static str,
    problems: Vec<String>,
    workers: Vec<WorkerStatus>,
}

fn answer(overview: WorkersOverview, problems: fn(&WorkersOverview) -> Vec<String>) -> Response {
    let problems = problems(&overview);
    let (code, status) = match problems.is_empty() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    let body = Body { status, problems, workers: overview.workers };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_string(&body) {
        Ok(json) => (code, headers, json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn liveness_problems(overview: &WorkersOverview) -> Vec<String> {
    overview.workers.iter().filter_map(liveness_problem).collect()
}

/// Why a worker is not live.
fn liveness_problem(worker: &WorkerStatus) -> Option<String> {
    let WorkerStatus { id, name, late_ms, lease_ms, .. } = worker;
    if worker.is_live() {
        return None;
    }
    match worker.state {
        WorkerState::Crashed => Some(format!(
            "worker `{name}` ({id}) has crashed: its loop ended without being asked to; restart the process"
        )),
        _ => Some(format!(
            "worker `{name}` ({id}) hangs: its loop is {late_ms} ms late, and its leases last {lease_ms} ms; look for \
             code that blocks its runtime"
        )),
    }
}

fn readiness_problems(overview: &WorkersOverview) -> Vec<String> {
    if overview.ready && !overview.draining {
        return Vec::new();
    }
    let mut problems: Vec<_> = overview.workers.iter().filter_map(readiness_problem).collect();
    if overview.workers.is_empty() {
        problems.push("no worker runs in this process: none was started, or all have stopped".to_owned());
    }
    problems
}

/// Why a worker keeps the process from being ready.
fn readiness_problem(worker: &WorkerStatus) -> Option<String> {
    let WorkerStatus { id, name, running, .. } = worker;
    match worker.state {
        WorkerState::Starting => {
            let reason = worker.last_error.as_ref().map(|error| format!(": {}", error.message));
            let reason = reason.unwrap_or_default();
            Some(format!("worker `{name}` ({id}) is starting: it has not reached its store yet{reason}"))
        }
        WorkerState::Ready => None,
        WorkerState::Draining => Some(format!(
            "worker `{name}` ({id}) drains: it takes no more work, and waits for {running} running turns"
        )),
        WorkerState::Stopped => Some(format!("worker `{name}` ({id}) has stopped")),
        WorkerState::Crashed => liveness_problem(worker),
        other => Some(format!("worker `{name}` ({id}) is {other}")),
    }
}
