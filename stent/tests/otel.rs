//! Traces across processes: a dispatcher and a worker on one SQLite file, each with its own runtime, tracer and exporter, so
//! that nothing but the store is between them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use stent::prelude::*;
use stent::{ExecutionId, ExecutionStatus};
use tracing::Instrument as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

/// Runs a future like a separate process, and returns its output and the spans that it exported.
fn process<T: Send>(body: impl AsyncFnOnce() -> T + Send) -> (T, Vec<Span>) {
    let exporter = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer("test"));
    // The store's own spans are below that level.
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(LevelFilter::INFO));
    let output = thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // For this thread, which runs all tasks that are spawned here.
            let _subscriber = tracing::subscriber::set_default(subscriber);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(body())
        });
        thread.join().expect("it does not panic")
    });
    let spans = exporter.get_finished_spans().expect("they are kept");
    (output, spans.into_iter().map(Span).collect())
}

/// The same without any tracer.
fn plain_process<T: Send>(body: impl AsyncFnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(body())
        });
        thread.join().expect("it does not panic")
    })
}

async fn connect(folder: &Path) -> Stent {
    let url = format!("sqlite://{}?durability=normal", folder.join("test.db").display());
    Stent::connect(&url).await.expect("sqlite opens")
}

/// Dispatches inside a span named `request`.
async fn dispatch<F: stent::Function>(folder: &Path, call: stent::Call<F>) -> ExecutionId {
    let stent = connect(folder).await;
    let request = tracing::info_span!("request");
    let run = async { stent.dispatch(call).await }.instrument(request).await.expect("dispatched");
    stent.close().await.expect("closes");
    run.id()
}

/// Works until the execution has ended.
async fn work(folder: &Path, id: ExecutionId, cache: usize) -> ExecutionStatus {
    let stent = connect(folder).await;
    let worker = stent.worker().cache(cache).start().await.expect("a worker starts");
    let _ = stent.handle::<u64>(id).result().timeout("20s").await;
    worker.drain().await.expect("drains");
    let status = stent.inspect().describe(id).await.expect("known").status;
    stent.close().await.expect("closes");
    status
}

#[derive(Clone, Debug)]
struct Span(SpanData);

impl Span {
    fn id(&self) -> SpanId {
        self.0.span_context.span_id()
    }

    fn attribute(&self, key: &str) -> Option<String> {
        let found = self.0.attributes.iter().find(|attribute| attribute.key.as_str() == key)?;
        Some(found.value.as_str().into_owned())
    }

    fn is_of(&self, function: &str) -> bool {
        self.0.name == "task" && self.attribute("function").as_deref() == Some(function)
    }
}

/// The one span of this name.
#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.0.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

#[track_caller]
fn of<'a>(spans: &'a [Span], function: &str, count: usize) -> Vec<&'a Span> {
    let found: Vec<_> = spans.iter().filter(|span| span.is_of(function)).collect();
    assert_eq!(found.len(), count, "{function}: {spans:#?}");
    found
}

/// Every span is in the trace of the first.
#[track_caller]
fn in_one_trace(first: &Span, spans: &[Span]) {
    let trace = first.0.span_context.trace_id();
    for span in spans {
        assert_eq!(span.0.span_context.trace_id(), trace, "{span:#?}");
    }
}

#[durable(name = "otel.double")]
async fn double(n: u64) -> u64 {
    n * 2
}

#[durable(name = "otel.spawned")]
async fn spawned(n: u64) -> u64 {
    n
}

#[durable(name = "otel.mapped")]
async fn mapped(n: u64) -> u64 {
    n
}

#[durable(name = "otel.joined")]
async fn joined(n: u64) -> u64 {
    n
}

#[durable(name = "otel.every_way")]
async fn every_way() -> Result<u64, stent::Error> {
    let here = double(1).instrument(tracing::info_span!("inner")).await?;
    let (a, b) = stent::join!(joined(1), joined(2));
    let items: u64 = mapped::map([1, 2]).await?.into_iter().sum();
    let run = stent::spawn(spawned(4)).await?;
    Ok(here + a? + b? + items + run.result().await?)
}

#[test]
fn a_trace_goes_on_in_the_process_that_does_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let (id, dispatcher) = process(async || dispatch(folder.path(), every_way()).await);
    let (status, worker) = process(async || work(folder.path(), id, 100).await);
    assert_eq!(status, ExecutionStatus::Completed);

    let request = named(&dispatcher, "request");
    in_one_trace(request, &dispatcher);
    in_one_trace(request, &worker);

    let dispatch = named(&dispatcher, "stent.dispatch");
    assert_eq!(dispatch.0.parent_span_id, request.id());
    assert_eq!((&dispatch.0.span_kind, &dispatch.0.status), (&SpanKind::Producer, &Status::Ok));
    assert_eq!(dispatch.attribute("execution"), Some(id.to_string()));
    assert_eq!(dispatch.attribute("function").as_deref(), Some("otel.every_way"));

    let root = of(&worker, "otel.every_way", 1)[0];
    assert_eq!(root.0.parent_span_id, dispatch.id());
    assert!(root.0.parent_span_is_remote);
    assert_eq!((&root.0.span_kind, &root.0.status), (&SpanKind::Consumer, &Status::Ok));
    assert_eq!(root.attribute("execution"), Some(id.to_string()));
    assert_eq!(root.attribute("task"), Some(id.to_string()));
    assert!(root.attribute("worker").is_some());

    // A step that ran in its parent's turn, called in a span of the user's.
    let inner = named(&worker, "inner");
    assert_eq!(inner.0.parent_span_id, root.id());
    assert_eq!(of(&worker, "otel.double", 1)[0].0.parent_span_id, inner.id());
    for (function, count) in [("otel.joined", 2), ("otel.mapped", 2), ("otel.spawned", 1)] {
        for span in of(&worker, function, count) {
            assert_eq!(span.0.parent_span_id, root.id(), "{span:#?}");
            assert_eq!((&span.0.span_kind, &span.0.status), (&SpanKind::Consumer, &Status::Ok));
        }
    }
}

#[test]
fn code_that_is_started_again_from_its_record_is_in_the_same_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let (id, dispatcher) = process(async || dispatch(folder.path(), every_way()).await);
    let (status, worker) = process(async || work(folder.path(), id, 0).await);
    assert_eq!(status, ExecutionStatus::Completed);

    in_one_trace(named(&dispatcher, "request"), &worker);
    let dispatch = named(&dispatcher, "stent.dispatch");
    let roots: Vec<_> = worker.iter().filter(|span| span.is_of("otel.every_way")).collect();
    assert!(roots.len() > 1, "{roots:#?}");
    assert!(roots.iter().all(|root| root.0.parent_span_id == dispatch.id()), "{roots:#?}");
    for span in worker.iter().filter(|span| span.is_of("otel.joined") || span.is_of("otel.mapped")) {
        assert!(roots.iter().any(|root| root.id() == span.0.parent_span_id), "{span:#?}");
    }
}

static HAS_FAILED: AtomicBool = AtomicBool::new(false);
static STEP_HAS_FAILED: AtomicBool = AtomicBool::new(false);

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the line is down")]
    Down,
}

#[durable(name = "otel.flaky_step", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn flaky_step() -> Result<u64, Fault> {
    if STEP_HAS_FAILED.swap(true, Ordering::Relaxed) { Ok(1) } else { Err(Fault::Down) }
}

#[durable(name = "otel.flaky", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn flaky() -> Result<u64, stent::Error> {
    let n = flaky_step().await?;
    if HAS_FAILED.swap(true, Ordering::Relaxed) {
        Ok(n)
    } else {
        Err(stent::Failure::new("Busy", "come again").into())
    }
}

#[test]
fn an_attempt_that_is_made_again_is_a_span_beside_the_one_that_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (id, dispatcher) = process(async || dispatch(folder.path(), flaky()).await);
    let (status, worker) = process(async || work(folder.path(), id, 100).await);
    assert_eq!(status, ExecutionStatus::Completed);

    in_one_trace(named(&dispatcher, "request"), &worker);
    let dispatch = named(&dispatcher, "stent.dispatch");
    let [failed, good] = of(&worker, "otel.flaky", 2)[..] else { unreachable!("there are two") };
    assert_eq!((failed.0.parent_span_id, good.0.parent_span_id), (dispatch.id(), dispatch.id()));
    assert_eq!((&failed.0.status, &good.0.status), (&Status::error("Busy: come again"), &Status::Ok));

    // The first attempt ran in its parent's turn, the second was claimed.
    let [failed_step, good_step] = of(&worker, "otel.flaky_step", 2)[..] else {
        unreachable!("there are two")
    };
    assert_eq!((failed_step.0.parent_span_id, good_step.0.parent_span_id), (failed.id(), failed.id()));
    assert_eq!(
        (&failed_step.0.status, &good_step.0.status),
        (&Status::error("Fault: the line is down"), &Status::Ok)
    );
    assert_eq!(failed_step.attribute("error.type").as_deref(), Some("otel::Fault"));
}

#[test]
fn without_a_tracer_work_is_the_same_and_whoever_has_one_begins_a_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let id = plain_process(async || dispatch(folder.path(), double(2)).await);
    let (status, worker) = process(async || work(folder.path(), id, 100).await);
    assert_eq!(status, ExecutionStatus::Completed);
    assert_eq!(of(&worker, "otel.double", 1)[0].0.parent_span_id, SpanId::INVALID);

    let (id, _) = process(async || dispatch(folder.path(), double(2)).await);
    let status = plain_process(async || work(folder.path(), id, 100).await);
    assert_eq!(status, ExecutionStatus::Completed);
}

#[test]
fn a_dispatch_that_fails_says_why_in_its_span() {
    let ((), spans) = process(async || {
        let stent =
            Stent::builder().registry(stent::Registry::new()).connect("memory:").await.expect("memory opens");
        stent.dispatch(double(1)).await.expect_err("nobody has it");
    });
    let Status::Error { description } = &named(&spans, "stent.dispatch").0.status else {
        panic!("{spans:#?}")
    };
    assert!(description.contains("otel.double"), "{description}");
}

#[test]
fn many_dispatches_at_once_are_one_span() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ids, dispatcher) = process(async || {
        let stent = connect(folder.path()).await;
        let runs = stent.dispatch_all((0..3).map(double)).await.expect("dispatched");
        stent.close().await.expect("closes");
        runs.iter().map(stent::Handle::id).collect::<Vec<_>>()
    });
    let (_, worker) = process(async || {
        for id in &ids {
            work(folder.path(), *id, 100).await;
        }
    });

    let dispatch = named(&dispatcher, "stent.dispatch");
    for span in of(&worker, "otel.double", 3) {
        assert_eq!(span.0.parent_span_id, dispatch.id());
    }
}
