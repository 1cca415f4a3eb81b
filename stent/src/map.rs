//! Fan-out: one function over many items.

use std::fmt;
use std::future::Future;
use std::iter::Peekable;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use stent_core::limits::PAGE_MAX;
use stent_core::model::{NewTask, NewTaskState, Seq, StepKind, Tree};
use stent_core::{Failure, TaskId};

use crate::call::{decode_result, describe};
use crate::context::{Context, Durable, Hold, Pending, Wish};
use crate::function::{BoxFuture, Function, Overrides};
use crate::{Error, Result, ids};

/// Most bytes of arguments that are written in one chunk, so that large items make small chunks.
const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

type Items<F> = Peekable<Box<dyn Iterator<Item = <F as Function>::Args> + Send>>;

/// A call of `F` for every item of an iterator: one step with many tasks below it. Gives the results in the order of the
/// items, or the first failure, which cancels what is still open.
///
/// Items are written in chunks through a bounded window, so an iterator of hundreds of thousands of items costs memory for
/// a few chunks and for the results. After a crash it continues from what was recorded: the iterator is walked again, so
/// it must give the same items again.
///
/// Every item is a task of its own: claimed by any worker that knows `F`, retried by the policy of `F`.
#[must_use = "a map does nothing until it is awaited"]
pub struct Map<F: Function> {
    state: MapState<F>,
    overrides: Overrides,
    position: Option<(Arc<Durable>, Seq)>,
    location: &'static Location<'static>,
}

enum MapState<F: Function> {
    Described(Items<F>),
    Feeding { items: Items<F>, fed: u32, pending: Pending },
    Reading(BoxFuture<'static, Result<Vec<F::Output>>>),
    Local(BoxFuture<'static, Result<Vec<F::Output>>>),
    Used,
}

impl<F: Function> Unpin for Map<F> {}

impl<F: Function> fmt::Debug for Map<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("function", &F::NAME).finish_non_exhaustive()
    }
}

#[track_caller]
pub(crate) fn map<F, I>(items: I) -> Map<F>
where
    F: Function,
    I: Iterator<Item = F::Args> + Send + 'static,
{
    let items: Box<dyn Iterator<Item = F::Args> + Send> = Box::new(items);
    Map {
        state: MapState::Described(items.peekable()),
        overrides: Overrides::default(),
        position: Context::durable().map(|durable| {
            let seq = durable.reserve();
            (durable, seq)
        }),
        location: Location::caller(),
    }
}

impl<F: Function> Map<F> {
    /// Runs the items on this queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.overrides.queue = Some(queue.into());
        self
    }

    /// Runs the items before calls of lower priority that are due.
    pub fn priority(mut self, priority: i16) -> Self {
        self.overrides.priority = Some(priority);
        self
    }

    /// Retries each item by this policy.
    pub fn retry(mut self, policy: stent_core::model::RetryPolicy) -> Self {
        self.overrides.retry = Some(policy);
        self
    }

    fn start(&mut self, items: Items<F>) -> Result<MapState<F>> {
        match Context::require(F::NAME)? {
            Context::Local(states) => Ok(MapState::Local(Box::pin(async move {
                let mut outputs = Vec::new();
                for args in items {
                    outputs.push(F::invoke(args, &states).await.map_err(Error::Failed)?);
                }
                Ok(outputs)
            }))),
            Context::Durable(durable) => {
                durable.shared.registry.get(F::NAME)?;
                let (durable, seq) = self.position.take().unwrap_or_else(|| {
                    let seq = durable.reserve();
                    (durable, seq)
                });
                let wish = Wish {
                    kind: StepKind::Map,
                    name: F::NAME.to_owned(),
                    call: None,
                    due: None,
                    detached: false,
                    location: self.location,
                };
                Ok(MapState::Feeding { items, fed: 0, pending: Pending::ask(durable, seq, wish) })
            }
        }
    }
}

impl<F: Function> Future for Map<F> {
    type Output = Result<Vec<F::Output>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if matches!(this.state, MapState::Described(_))
            && let MapState::Described(items) = std::mem::replace(&mut this.state, MapState::Used)
        {
            this.state = this.start(items)?;
        }
        if let MapState::Feeding { items, fed, pending } = &mut this.state {
            match pending.poll(cx) {
                Poll::Ready((map, result)) => {
                    let durable = pending.durable().clone();
                    this.state = MapState::Used;
                    result.map_err(Error::Failed)?;
                    this.state =
                        MapState::Reading(Box::pin(read_all::<F>(durable.clone(), map, durable.hold())));
                }
                Poll::Pending => {
                    if feed::<F>(items, fed, pending, &this.overrides)? {
                        // The chunk may leave room for another.
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        }
        let (MapState::Reading(outputs) | MapState::Local(outputs)) = &mut this.state else {
            return Poll::Pending;
        };
        let outputs = ready!(outputs.as_mut().poll(cx));
        this.state = MapState::Used;
        Poll::Ready(outputs)
    }
}

/// Gives the map its next chunk if it has room for one. True if it did.
fn feed<F: Function>(
    items: &mut Items<F>,
    fed: &mut u32,
    pending: &Pending,
    overrides: &Overrides,
) -> Result<bool> {
    let durable = pending.durable();
    let Some((map, room, progress)) = durable.replay(|replay| replay.map_room(pending.seq())) else {
        return Ok(false);
    };
    if progress.total.is_some() {
        return Ok(false);
    }
    // After a crash: these are recorded.
    while *fed < progress.fed {
        if items.next().is_none() {
            return Err(Error::Failed(shorter_than_recorded::<F>(*fed, progress.fed)));
        }
        *fed += 1;
    }
    if room == 0 {
        return Ok(false);
    }
    let now = durable.shared.clock.now();
    let mut chunk = Vec::with_capacity(room.min(items.size_hint().0));
    let mut bytes = 0;
    while chunk.len() < room && bytes < CHUNK_BYTES_MAX {
        let Some(args) = items.next() else { break };
        let described = describe::<F>(&args, overrides.clone(), &durable.shared)?;
        bytes += described.args.len();
        chunk.push(NewTask {
            id: ids::task(),
            tree: Tree::item(durable.execution(), map, durable.task),
            seq: Seq(*fed),
            kind: StepKind::Call,
            lane: described.lane,
            priority: described.priority,
            args: described.args,
            retry: described.retry,
            attempts: 0,
            state: NewTaskState::Pending { ready_at: now },
        });
        *fed += 1;
    }
    let last = items.peek().is_none();
    durable.replay(|replay| replay.feed(pending.seq(), chunk, last));
    Ok(true)
}

fn shorter_than_recorded<F: Function>(given: u32, recorded: u32) -> Failure {
    Failure::new(
        Failure::MISMATCH,
        format!(
            "the code does not match its record: a map of `{}` was given {recorded} items before and gives {given} now; its \
             iterator must give the same items in every run",
            F::NAME
        ),
    )
    .fatal()
}

async fn read_all<F: Function>(durable: Arc<Durable>, map: TaskId, _hold: Hold) -> Result<Vec<F::Output>> {
    let mut outputs = Vec::new();
    loop {
        let from = Seq(u32::try_from(outputs.len()).unwrap_or(u32::MAX));
        let page = durable.shared.retrying(|| durable.shared.store.items(map, from, PAGE_MAX)).await?;
        let whole = page.len() == PAGE_MAX;
        for item in page {
            let result = item.result.unwrap_or_else(|| {
                Err(Failure::new(
                    "Missing",
                    format!("item {} of a finished map of `{}` has no result", item.seq, F::NAME),
                ))
            });
            outputs.push(decode_result(F::NAME, result)?);
        }
        if !whole {
            return Ok(outputs);
        }
    }
}
