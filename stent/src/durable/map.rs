//! Fan-out: one function over many items.

use std::fmt;
use std::future::Future;
use std::iter::Peekable;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use stent_core::duration::IntoDuration;
use stent_core::limits::{CHUNK_BYTES_MAX, EXCERPT_ITEMS_MAX, MAP_CHUNK, PAGE_MAX};
use stent_core::model::{NewTask, NewTaskState, RetryPolicy, Seq, StepKind, Tree};
use stent_core::replay::{Ask, StepSpec, Walk};
use stent_core::{Digest, Kind, TaskId, own_failure};

use crate::durable::context::{Durable, Pending};
use crate::durable::describe::{describe, digest_of};
use crate::durable::options::CallOptions;
use crate::durable::position::{Entered, Position};
use crate::durable::progress::{Progress, polled_after_completion};
use crate::error::{Error, Result};
use crate::function::state::Local;
use crate::function::values::decode_result;
use crate::function::{BoxFuture, Function, invoke_locally};

type Items<F> = Peekable<Box<dyn Iterator<Item = <F as Function>::Args> + Send>>;

/// A call of `F` for each item of an iterator: one step with one task per item. Returns the results in the order of the
/// items. The first failure ends the map and cancels its open items; with [`outcomes`](Self::outcomes), the map returns
/// the result or the failure of each item instead.
///
/// Items are written in chunks through a bounded window, so even hundreds of thousands of items only take memory for a
/// few chunks and for the results. After a crash the map resumes from its recorded items: the iterator runs again and
/// must yield the same items in the same order. A replay that yields different items fails with a mismatch.
///
/// Each item is a task of its own: any worker that knows `F` can claim it, and the policy of `F` retries it. If `F` is
/// idempotent or cached, items that were computed before are not computed again. To map a function of several
/// parameters, pass an iterator of tuples.
#[must_use = "a map does nothing until it is awaited"]
pub struct Map<F: Function> {
    fan: Fan<F>,
    reading: Reading<Vec<F::Output>>,
}

/// A map that continues when items fail and returns the outcome of each: see [`Map::outcomes`].
#[must_use = "a map does nothing until it is awaited"]
pub struct Outcomes<F: Function> {
    fan: Fan<F>,
    reading: Reading<Vec<Result<F::Output>>>,
}

/// Results that are being read from the store.
type Reading<T> = Option<BoxFuture<'static, Result<T>>>;

/// Items that are being written to the store.
struct Fan<F: Function> {
    /// A map or a gather.
    what: StepSpec,
    progress: Progress<Items<F>, Feeding<F>>,
    options: CallOptions,
    chunk: usize,
    position: Position,
    location: &'static Location<'static>,
}

enum Feeding<F: Function> {
    /// Writes to the store. `digest` covers the items fed so far, if arguments are compared.
    Stored { items: Items<F>, digest: Option<Digest>, pending: Pending },
    /// In a unit test, items are computed in place.
    Local(Option<(Arc<Local>, Items<F>)>),
}

/// The source of a fan-out's results.
enum Fanned<F: Function> {
    /// In the store, below this task.
    Stored(Arc<Durable>, TaskId),
    /// In a unit test: the items, not computed yet.
    Local(Arc<Local>, Items<F>),
}

impl<F: Function> Unpin for Map<F> {}
impl<F: Function> Unpin for Outcomes<F> {}

impl<F: Function> fmt::Debug for Map<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("function", &F::NAME).finish_non_exhaustive()
    }
}

impl<F: Function> fmt::Debug for Outcomes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes").field("function", &F::NAME).finish_non_exhaustive()
    }
}

#[track_caller]
pub(crate) fn map<F, I>(items: I) -> Map<F>
where
    F: Function,
    I: Iterator<Item = F::Args> + Send + 'static,
{
    let items: Box<dyn Iterator<Item = F::Args> + Send> = Box::new(items);
    let fan = Fan {
        what: StepSpec::Map,
        progress: Progress::Built(items.peekable()),
        options: CallOptions::default(),
        chunk: MAP_CHUNK,
        position: Position::here(),
        location: Location::caller(),
    };
    Map { fan, reading: None }
}

impl<F: Function> Map<F> {
    /// Runs the items on this queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.fan.options.queue = Some(queue.into());
        self
    }

    /// Runs the items before calls of lower priority that are due.
    pub const fn priority(mut self, priority: i16) -> Self {
        self.fan.options.priority = Some(priority);
        self
    }

    /// Restricts the items to workers that have one of its tags, or that have no tags: see
    /// [`Call::tag`](crate::Call::tag).
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.fan.options.add_tag(tag);
        self
    }

    /// Retries each item by this policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.fan.options.retry = Some(policy);
        self
    }

    /// Ends an item that has not completed this long after it was written: see
    /// [`Call::max_duration`](crate::Call::max_duration).
    pub fn max_duration(mut self, limit: impl IntoDuration) -> Self {
        self.fan.options.set_max_duration(limit);
        self
    }

    /// Sets how many items are written at once, from 1 to 1000 (the default). Smaller chunks make smaller transactions.
    pub fn chunk(mut self, items: usize) -> Self {
        if !(1..=MAP_CHUNK).contains(&items) {
            let problem = format!("it is {items}; use 1 to {MAP_CHUNK}");
            self.fan.options.refuse(Error::Option { option: "chunk", problem });
        }
        self.fan.chunk = items;
        self
    }

    /// Continues when items fail, and returns the outcome of each in order. Use it to collect bad items without
    /// stopping the good ones.
    ///
    /// ```
    /// # use stent::prelude::*;
    /// #[durable]
    /// async fn parse(line: String) -> Result<u64, std::num::ParseIntError> {
    ///     line.parse()
    /// }
    ///
    /// #[durable]
    /// async fn total(lines: Vec<String>) -> Result<(u64, usize), stent::Error> {
    ///     let outcomes = parse::map(lines).outcomes().await?;
    ///     let bad = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    ///     Ok((outcomes.into_iter().flatten().sum(), bad))
    /// }
    /// ```
    ///
    /// If a function fails because of the outcomes it collected, [retrying its dead letter](crate::DeadLetters::retry)
    /// runs no item again: the map has completed, and its results come from the record. To be able to retry failed
    /// items by hand, await the map itself, or [spawn](crate::spawn()) an execution for each item.
    pub fn outcomes(self) -> Outcomes<F> {
        Outcomes { fan: Fan { what: StepSpec::Gather, ..self.fan }, reading: None }
    }
}

impl<F: Function> Fan<F> {
    /// Feeds the map until all of its items have ended.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Fanned<F>>> {
        let Self { what, progress, options, chunk, position, location } = self;
        let checked = options.check();
        let ask = |mut items| {
            checked?;
            match position.enter(F::NAME)? {
                Entered::Local(local) => Ok(Feeding::Local(Some((local, items)))),
                Entered::Durable(reserved) => {
                    reserved.durable.engine.registry.get(F::NAME)?;
                    let pending = reserved.ask(Ask::new(what.clone(), F::NAME, location))?;
                    let digest = walk::<F>(&mut items, &pending, location)?;
                    Ok(Feeding::Stored { items, digest, pending })
                }
            }
        };
        progress.poll("a map", ask, |feeding| match feeding {
            Feeding::Local(local) => match local.take() {
                Some((local, items)) => Poll::Ready(Ok(Fanned::Local(local, items))),
                None => polled_after_completion("a map"),
            },
            Feeding::Stored { items, digest, pending } => match pending.poll(cx) {
                Poll::Ready((map, result)) => {
                    let durable = pending.durable().clone();
                    Poll::Ready(result.map(|_| Fanned::Stored(durable, map)).map_err(Error::Failed))
                }
                Poll::Pending => {
                    if feed::<F>(items, digest, pending, options, *chunk)? {
                        // The chunk may leave room for another.
                        cx.waker().wake_by_ref();
                    }
                    Poll::Pending
                }
            },
        })
    }
}

/// Skips the items that are already recorded and compares them with the record. Returns their digest, if they are
/// compared.
fn walk<F: Function>(
    items: &mut Items<F>,
    pending: &Pending,
    location: &'static Location<'static>,
) -> Result<Option<Digest>> {
    let (durable, checked) = (pending.durable(), !F::options().unchecked_args);
    let Some((progress, recorded)) = durable.replay(|replay| replay.fed_before(pending.seq())) else {
        return Ok(checked.then_some(Digest::NO_ITEMS));
    };
    let mut digest = recorded.filter(|_| checked).map(|_| Digest::NO_ITEMS);
    if digest.is_none() && progress.total.is_some() {
        return Ok(None);
    }
    let (mut walked, mut first) = (0, Vec::new());
    while walked < progress.fed {
        let Some(args) = items.next() else { break };
        walked += 1;
        if let Some(before) = digest {
            digest = Some(before.then(digest_of::<F>(&args)?));
            if first.len() < EXCERPT_ITEMS_MAX {
                first.push(args);
            }
        }
    }
    let more = progress.total.is_some() && items.peek().is_some();
    if digest != recorded || walked < progress.fed || more {
        let first = first.iter().map(|args| durable.engine.codec.encode(args));
        let first = first
            .collect::<std::result::Result<_, _>>()
            .map_err(|source| Error::Codec { what: format!("item of a map of `{}`", F::NAME), source })?;
        let walk = Walk { name: F::NAME, location, items: walked, more, digest, first };
        durable.replay(|replay| replay.walked(pending.seq(), walk));
    }
    Ok(digest)
}

impl<F: Function> Fanned<F> {
    /// Passes each outcome to `take`, in order, until `take` returns an error.
    async fn each(self, mut take: impl FnMut(Result<F::Output>) -> Result<()> + Send) -> Result<()> {
        match self {
            Self::Stored(durable, map) => {
                let hold = durable.hold();
                read_each::<F>(&durable, map, take).await?;
                drop(hold);
            }
            Self::Local(local, items) => {
                for args in items {
                    take(invoke_locally::<F>(args, &local)?.await)?;
                }
            }
        }
        Ok(())
    }
}

impl<F: Function> Future for Map<F> {
    type Output = Result<Vec<F::Output>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.reading.is_none() {
            let fanned = ready!(this.fan.poll(cx))?;
            this.reading = Some(Box::pin(async move {
                let mut outputs = Vec::new();
                let all = fanned.each(|outcome| {
                    outputs.push(outcome?);
                    Ok(())
                });
                all.await?;
                Ok(outputs)
            }));
        }
        poll_once(&mut this.reading, cx)
    }
}

impl<F: Function> Future for Outcomes<F> {
    type Output = Result<Vec<Result<F::Output>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.reading.is_none() {
            let fanned = ready!(this.fan.poll(cx))?;
            this.reading = Some(Box::pin(async move {
                let mut outcomes = Vec::new();
                let all = fanned.each(|outcome| {
                    outcomes.push(outcome);
                    Ok(())
                });
                all.await?;
                Ok(outcomes)
            }));
        }
        poll_once(&mut this.reading, cx)
    }
}

fn poll_once<T: 'static>(reading: &mut Reading<T>, cx: &mut TaskContext<'_>) -> Poll<Result<T>> {
    let Some(future) = reading else { return Poll::Pending };
    let output = ready!(future.as_mut().poll(cx));
    *reading = Some(Box::pin(async { polled_after_completion("a map") }));
    Poll::Ready(output)
}

/// Feeds the next chunk to the map if the window has room. Returns whether it did.
fn feed<F: Function>(
    items: &mut Items<F>,
    digest: &mut Option<Digest>,
    pending: &Pending,
    options: &CallOptions,
    most: usize,
) -> Result<bool> {
    let durable = pending.durable();
    let Some((map, room, progress)) = durable.replay(|replay| replay.map_room(pending.seq())) else {
        return Ok(false);
    };
    if progress.total.is_some() || room == 0 {
        return Ok(false);
    }
    let now = durable.engine.clock.now();
    let room = room.min(most);
    let mut chunk = Vec::with_capacity(room.min(items.size_hint().0));
    let (mut bytes, mut seq) = (0, progress.fed);
    while chunk.len() < room && bytes < CHUNK_BYTES_MAX {
        let Some(args) = items.next() else { break };
        let described = describe::<F>(args, options, &durable.engine)?;
        *digest = digest.and_then(|before| Some(before.then(described.digest?)));
        bytes += described.args.len();
        chunk.push(NewTask {
            id: TaskId::of_item(map, Seq(seq)),
            tree: Tree::item(durable.execution(), map, durable.task),
            seq: Seq(seq),
            kind: StepKind::Call,
            lane: described.lane,
            priority: described.priority,
            args: described.args,
            retry: described.retry,
            attempts: 0,
            failure: None,
            keyed: described.keyed,
            expires_at: described.max_duration.map(|limit| now + limit),
            trace: described.trace,
            digest: None,
            state: NewTaskState::Pending { ready_at: now },
        });
        seq += 1;
    }
    let last = items.peek().is_none();
    durable.replay(|replay| replay.feed(pending.seq(), chunk, last, *digest));
    Ok(true)
}

/// Reads the items of a completed map, page by page.
async fn read_each<F: Function>(
    durable: &Durable,
    map: TaskId,
    mut take: impl FnMut(Result<F::Output>) -> Result<()> + Send,
) -> Result<()> {
    let mut from = 0;
    loop {
        let page = durable.engine.retrying(|| durable.engine.store.items(map, Seq(from), PAGE_MAX)).await?;
        let whole = page.len() == PAGE_MAX;
        for item in page {
            from = item.seq.0 + 1;
            let result = item.result.unwrap_or_else(|| {
                Err(own_failure(
                    Kind::MISSING,
                    format!("item {} of a finished map of `{}` has no result", item.seq, F::NAME),
                ))
            });
            take(decode_result(F::NAME, result))?;
        }
        if !whole {
            return Ok(());
        }
    }
}
