//! duroxide on SQLite and Postgres.
//!
//! A job is an orchestration without an activity, as one of Stent's is an execution without a step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus};
use duroxide_pg::PostgresProvider;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::load::{self, Answer, Bench, Load, Spec, Store};

/// Orchestrations and activities that run at once: the fastest of twelve settings, on each store.
const fn dispatchers(store: Store) -> (usize, usize) {
    match store {
        Store::Postgres => (2, 4),
        Store::Sqlite | Store::Redis => (2, 2),
    }
}

/// How often a dispatcher looks for work.
const POLL: Duration = Duration::from_millis(5);
/// Orchestrations that are started at once.
const STARTS: usize = 8;
/// How long one orchestration may take.
const PATIENCE: Duration = Duration::from_secs(110);

pub(crate) async fn measure(load: Load, spec: &Spec) -> Result<Answer> {
    // On SQLite it sets `synchronous` itself, so commits do not wait for the disk, whatever is asked.
    let store: Arc<dyn Provider> = match spec.backend {
        Store::Sqlite => {
            let url = format!("{}?mode=rwc", spec.url);
            Arc::new(SqliteProvider::new(&url, None).await?)
        }
        Store::Postgres => Arc::new(PostgresProvider::new(&spec.url).await?),
        Store::Redis => anyhow::bail!("duroxide has no Redis"),
    };
    let runs = Runs { store, backend: spec.backend };
    match (load, spec.bench) {
        (Load::Bulk { n }, Bench::Workflows) => bulk(runs, "three_steps", n).await,
        (Load::Bulk { n }, Bench::Jobs | Bench::Latency) => bulk(runs, "job", n).await,
        (Load::OneByOne { n }, _) => one_by_one(runs, n).await,
    }
}

/// A store, and how it is worked on.
struct Runs {
    store: Arc<dyn Provider>,
    backend: Store,
}

impl Runs {
    fn client(&self) -> Client {
        Client::new(self.store.clone())
    }

    async fn start(self) -> Arc<Runtime> {
        let (activities, orchestrations) = registries();
        let (orchestration_concurrency, worker_concurrency) = dispatchers(self.backend);
        let options = RuntimeOptions {
            dispatcher_min_poll_interval: POLL,
            orchestration_concurrency,
            worker_concurrency,
            ..RuntimeOptions::default()
        };
        Runtime::start_with_options(self.store, activities, orchestrations, options).await
    }
}

fn registries() -> (ActivityRegistry, OrchestrationRegistry) {
    let activities = ActivityRegistry::builder()
        .register("add_one", |_: ActivityContext, n: String| async move {
            let n: u32 = n.parse().map_err(|_| "no number".to_owned())?;
            Ok((n + 1).to_string())
        })
        .build();
    let orchestrations = OrchestrationRegistry::builder()
        .register("job", |_: OrchestrationContext, n: String| async move { Ok::<_, String>(n) })
        .register("one_step", |context: OrchestrationContext, n: String| async move {
            context.schedule_activity("add_one", n).await
        })
        .register("three_steps", |context: OrchestrationContext, n: String| async move {
            let n = context.schedule_activity("add_one", n).await?;
            let n = context.schedule_activity("add_one", n).await?;
            context.schedule_activity("add_one", n).await
        })
        .build();
    (activities, orchestrations)
}

fn id(number: u32) -> String {
    format!("i{number}")
}

async fn bulk(runs: Runs, name: &str, n: u32) -> Result<Answer> {
    let client = &runs.client();
    load::begin()?;
    let dispatching = Instant::now();
    let starts =
        stream::iter(0..n).map(|number| client.start_orchestration(id(number), name, number.to_string()));
    starts.buffer_unordered(STARTS).try_collect::<Vec<()>>().await?;
    let dispatch_seconds = dispatching.elapsed().as_secs_f64();

    let working = Instant::now();
    let runtime = runs.start().await;
    loop {
        let metrics = client.get_system_metrics().await?;
        ensure!(metrics.failed_instances == 0, "{} orchestrations failed", metrics.failed_instances);
        if metrics.completed_instances >= u64::from(n) {
            break;
        }
        ensure!(working.elapsed() < PATIENCE, "{} of {n} have ended", metrics.completed_instances);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = working.elapsed().as_secs_f64();
    load::end()?;
    runtime.shutdown(Some(0)).await;
    Ok(Answer { seconds, dispatch_seconds: Some(dispatch_seconds), ..Answer::default() })
}

/// Until the result, as its client waits for one: a job queue has none.
async fn one_by_one(runs: Runs, n: u32) -> Result<Answer> {
    let client = &runs.client();
    let runtime = runs.start().await;
    let answer = load::one_by_one(n, |number| async move {
        client.start_orchestration(id(number), "one_step", number.to_string()).await?;
        let status = client.wait_for_orchestration(&id(number), PATIENCE).await?;
        ensure!(matches!(status, OrchestrationStatus::Completed { .. }), "{status:?}");
        load::one_more();
        Ok(())
    });
    let answer = answer.await?;
    runtime.shutdown(Some(0)).await;
    Ok(answer)
}
