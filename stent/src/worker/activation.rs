//! A task's code in memory, and how it is polled.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use stent_core::backend::Claimed;
use stent_core::model::{Mark, TaskResult};
use stent_core::replay::{CallSpec, Replay};
use stent_core::{Failure, Kind, Payload, Timestamp, own_failure};
use tracing::Span;

use super::host::Host;
use crate::durable::context::{Context, Durable, Place};
use crate::durable::stop::StopSign;
use crate::function::BoxFuture;
use crate::function::panics::{catch_panic, try_drop};
use crate::trace;

/// How often code that wakes itself is polled before other tasks get their turn.
const POLLS_MAX: usize = 128;

/// A task's code, its replay, and its waker. Abandoned code is destroyed on a thread that may block.
pub(super) struct Activation {
    pub(super) durable: Arc<Durable>,
    code: Code,
    /// The span of every event that the code logs.
    span: Span,
    pub(super) waker: Arc<TurnWaker>,
    host: Arc<Host>,
}

/// How far a task's code has come.
enum Code {
    /// Not built yet: the first poll decodes its arguments and enters it.
    Described { args: Payload },
    /// It has been entered.
    Entered(BoxFuture<'static, TaskResult>),
    /// It has ended, and its result has not been taken yet.
    Ended(TaskResult),
    /// It has ended or was dropped.
    Gone,
}

/// Code that was entered and is abandoned.
struct Remains {
    durable: Arc<Durable>,
    code: Option<BoxFuture<'static, TaskResult>>,
    span: Span,
}

impl Drop for Remains {
    fn drop(&mut self) {
        let (code, durable) = (self.code.take(), &self.durable);
        // Its destructors may log.
        let destroyed = self.span.in_scope(|| try_drop(code));
        if let Err(failure) = destroyed {
            tracing::warn!(
                execution = %durable.execution(),
                task = %durable.task,
                function = durable.function,
                panic = failure.message,
                "a destructor panicked when the code of `{}` was dropped; nothing else is affected",
                durable.function
            );
        }
    }
}

impl Activation {
    /// The code of a claimed task, from its first line.
    pub(super) fn of_claim(host: &Arc<Host>, claimed: Claimed) -> Self {
        let function = &claimed.task.lane.function;
        if !claimed.steps.is_empty()
            && host.fleet.unrecorded.replayed(function)
            && let Some(runs) = &host.engine.runs
        {
            runs.fault(format!(
                "`{function}` awaits non-durable work between its steps, and a replay ran that work again; wrap it in \
                 stent::step(…), or move it to a durable function"
            ));
        }
        let task = claimed.task;
        let started_at = task.started_at.unwrap_or(task.created_at);
        let replay = Replay::new(started_at, task.done, claimed.steps)
            .noted(task.noted)
            .redriven(task.marks.contains(Mark::Redrive))
            .sealed(host.engine.is_sealed);
        let function = task.lane.function;
        let place = Place { task: task.id, tree: task.tree, function, attempts: task.attempts };
        Self::new(host, place, task.args, task.trace.as_deref(), Arc::default(), replay)
    }

    /// The code of a step that its parent's turn runs. It is stopped together with its parent.
    pub(super) fn of_step(
        host: &Arc<Host>,
        place: Place,
        call: &CallSpec,
        stop: Arc<StopSign>,
        started_at: Timestamp,
    ) -> Self {
        let CallSpec { args, trace, .. } = call;
        Self::new(host, place, args.clone(), trace.as_deref(), stop, Replay::new(started_at, 0, Vec::new()))
    }

    pub(super) fn new(
        host: &Arc<Host>,
        place: Place,
        args: Payload,
        trace: Option<&str>,
        stop: Arc<StopSign>,
        replay: Replay,
    ) -> Self {
        let durable = Arc::new(Durable::new(place, host.engine.clone(), stop, replay));
        let Durable { task, tree, function, .. } = &*durable;
        let span = tracing::info_span!(
            target: "stent",
            "task",
            otel.kind = trace::CONSUMER,
            execution = %tree.execution,
            %task,
            worker = %host.worker,
            function,
        );
        trace::continue_from(&span, trace);
        let code = Code::Described { args };
        Self { durable, code, span, waker: TurnWaker::new(), host: host.clone() }
    }

    /// Polls the code until it ends or is quiet, that is, pending and not woken since.
    pub(super) async fn poll_until_quiet(&mut self) -> Option<TaskResult> {
        loop {
            for _ in 0..POLLS_MAX {
                if !self.waker.take_woken() {
                    return None;
                }
                if let Poll::Ready(result) = self.poll() {
                    return Some(self.durable.engine.checked(&self.durable.function, result));
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Replaces code that has ended: the next poll returns its result again.
    pub(super) fn has_ended(&mut self, result: TaskResult) {
        self.code = Code::Ended(result);
        self.waker.set_woken();
    }

    /// Records the attempt's outcome in its span.
    pub(super) fn report_end(&self, result: &TaskResult) {
        trace::attempt_ended(&self.span, result);
    }

    /// Whether something other than a durable future may wake the quiet code. Everything that can wake it holds a clone
    /// of its waker.
    ///
    /// Combinators that give their futures separate wakers, such as `FuturesUnordered`, hold a clone, too.
    pub(super) fn awaits_the_world(&self) -> bool {
        self.foreign_wakers().0 > 0
    }

    /// Whether something other than a durable future certainly may: there are more clones than such a combinator of
    /// durable futures would explain.
    pub(super) fn surely_awaits_the_world(&self) -> bool {
        let (foreign, wrapped) = self.foreign_wakers();
        foreign > usize::from(wrapped > 0)
    }

    /// Clones of the code's waker that are not Stent's, and durable futures that are woken through another waker.
    fn foreign_wakers(&self) -> (usize, usize) {
        let own = Waker::from(self.waker.clone());
        let (direct, wrapped) = self.durable.waits_with(&own);
        let others = Arc::strong_count(&self.waker).saturating_sub(2);
        (others.saturating_sub(direct), wrapped)
    }

    /// Drops the code where it is, and with it the steps that it waits for.
    pub(super) fn abandon(&mut self) {
        drop(self.remains());
    }

    /// Delivers the next known completion to the code and wakes its waiter. Returns false if the code has seen all
    /// completions.
    ///
    /// # Errors
    /// A panic of one of the code's own wakers.
    pub(super) fn deliver(&self) -> Result<bool, Failure> {
        catch_panic(|| self.durable.deliver())
    }

    fn remains(&mut self) -> Option<Remains> {
        match std::mem::replace(&mut self.code, Code::Gone) {
            Code::Entered(code) => {
                Some(Remains { durable: self.durable.clone(), code: Some(code), span: self.span.clone() })
            }
            Code::Described { .. } | Code::Ended(_) | Code::Gone => None,
        }
    }

    fn poll(&mut self) -> Poll<TaskResult> {
        let waker = Waker::from(self.waker.clone());
        let mut cx = TaskContext::from_waker(&waker);
        let (host, durable, code) = (&self.host, &self.durable, &mut self.code);
        durable.stop.polls.begin();
        let polled = self.span.in_scope(|| {
            catch_panic(|| {
                Context::Durable(durable.clone()).enter(|| poll_code(host, durable, code, &mut cx))
            })
        });
        self.host.fleet.blocking.polled(&durable.function, durable.stop.polls.end());
        let polled = polled.unwrap_or_else(|mut failure| {
            failure.trace.get_or_insert_with(|| format!("in `{}`", durable.function));
            Poll::Ready(Err(failure))
        });
        if polled.is_ready() {
            // A future that has ended or panicked must not be polled again.
            self.abandon();
        }
        polled
    }
}

/// Decodes the arguments and enters the code if that has not happened yet, and polls the code.
fn poll_code(host: &Host, durable: &Durable, code: &mut Code, cx: &mut TaskContext<'_>) -> Poll<TaskResult> {
    if let Code::Described { args } = code {
        let engine = &host.engine;
        // The code of a function with recorded steps runs again, its steps do not.
        if engine.runs.is_some() && !durable.replay(|replay| replay.has_steps()) {
            durable.begins(durable.task, 0, || format!("`{}`", durable.function));
        }
        *code = match engine.registry.invoke(&durable.function, args, &host.states, engine.codec) {
            Ok(body) => Code::Entered(body),
            Err(error) => Code::Ended(Err(own_failure(Kind::NOT_REGISTERED, error.text()).fatal())),
        };
    }
    match code {
        Code::Entered(entered) => entered.as_mut().poll(cx),
        Code::Ended(_) | Code::Gone | Code::Described { .. } => match std::mem::replace(code, Code::Gone) {
            Code::Ended(result) => Poll::Ready(result),
            Code::Entered(_) | Code::Gone | Code::Described { .. } => Poll::Pending,
        },
    }
}

impl Drop for Activation {
    fn drop(&mut self) {
        // Its destructors may wake it.
        self.waker.unpark();
        if let Some(remains) = self.remains() {
            self.host.drop_queue.push(remains);
        }
    }
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("task", &self.durable.task)
            .field("function", &self.durable.function)
            .finish()
    }
}

/// The waker of a task's code. It remembers whether it was woken, which distinguishes quiet code from code with work to
/// do.
pub(super) struct TurnWaker {
    woken: AtomicBool,
    turn: AtomicWaker,
    /// Unparks its task while the code is parked.
    unpark: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl TurnWaker {
    fn new() -> Arc<Self> {
        Arc::new(Self { woken: AtomicBool::new(true), turn: AtomicWaker::new(), unpark: Mutex::new(None) })
    }

    fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Makes the turn poll the code again.
    pub(super) fn set_woken(&self) {
        self.woken.store(true, Ordering::Release);
    }

    /// Waits until the code is woken.
    pub(super) async fn woken(&self) {
        std::future::poll_fn(|cx| {
            self.turn.register(cx.waker());
            if self.woken.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The code is parked: from now on, waking it unparks its task.
    pub(super) fn park(&self, unpark: impl Fn() + Send + 'static) {
        *self.unpark.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(unpark));
        if self.woken.load(Ordering::Acquire) {
            self.unpark_task();
        }
    }

    /// The code is in a turn again.
    pub(super) fn unpark(&self) {
        *self.unpark.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn unpark_task(&self) {
        if let Some(unpark) = &*self.unpark.lock().unwrap_or_else(PoisonError::into_inner) {
            unpark();
        }
    }
}

impl Wake for TurnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.turn.wake();
            self.unpark_task();
        }
    }
}
