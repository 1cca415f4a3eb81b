//! Assertions about the executions that were dispatched. Reads the store only.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use stent_core::ExecutionId;
use stent_core::backend::Filter;
use stent_core::duration::{DurationError, IntoDuration};
use stent_core::limits::PAGE_MAX;
use stent_core::model::ExecutionStatus;

use crate::error::{Error, Result};
use crate::function::{BoxFuture, Function, arguments};
use crate::stent::Stent;

/// The most by which a delay may differ from the expected one.
const DELAY_SLACK: Duration = Duration::from_secs(1);

/// An execution that was dispatched or spawned: see [`Testing::dispatched`](super::Testing::dispatched).
#[non_exhaustive]
pub struct Dispatched<F: Function> {
    /// Its id.
    pub id: ExecutionId,
    /// Its arguments, as a tuple.
    pub args: F::Args,
    /// Its queue.
    pub queue: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Its priority.
    pub priority: i16,
    /// How long after its dispatch it may start. `None` once it has started.
    pub delay: Option<Duration>,
    /// Its status.
    pub status: ExecutionStatus,
}

impl<F: Function> fmt::Debug for Dispatched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", F::NAME)?;
        // Arguments need not be `Debug`, but serde can write all of them.
        match serde_json::to_value(&self.args) {
            Ok(serde_json::Value::Array(args)) => {
                let args: Vec<_> = args.iter().map(ToString::to_string).collect();
                write!(f, "({})", args.join(", "))?;
            }
            _ => write!(f, "(…)")?,
        }
        write!(f, " on queue {:?}, {}", self.queue, self.status)?;
        if self.priority != 0 {
            write!(f, ", priority {}", self.priority)?;
        }
        if !self.tags.is_empty() {
            write!(f, ", tags {:?}", self.tags)?;
        }
        match self.delay.filter(|delay| !delay.is_zero()) {
            Some(delay) => write!(f, ", delayed by {delay:?}"),
            None => Ok(()),
        }
    }
}

/// Reads the executions of a function, oldest first.
pub(super) async fn dispatched<F: Function>(stent: &Stent) -> Result<Vec<Dispatched<F>>> {
    let inspect = stent.inspect();
    let mut found = Vec::new();
    for view in list(stent, &Filter::default().function(F::NAME)).await? {
        let args = inspect.args(view.id.root()).await?.ok_or(Error::NotFound(view.id))?;
        let args = args.decode().map_err(|source| Error::Codec { what: arguments::<F>(), source })?;
        let mut delay = None;
        if view.status == ExecutionStatus::Pending && view.attempts == 0 {
            let tasks = inspect.tasks(view.id, None, PAGE_MAX).await?;
            let root = tasks.iter().find(|task| task.parent.is_none());
            delay = root.and_then(|root| Some(root.ready_at?.since(root.created_at)));
        }
        let stent_core::backend::ExecutionView { id, queue, tags, priority, status, .. } = view;
        found.push(Dispatched { id, args, queue, tags, priority, delay, status });
    }
    Ok(found)
}

/// All executions that match, oldest first.
async fn list(stent: &Stent, filter: &Filter) -> Result<Vec<stent_core::backend::ExecutionView>> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = stent.inspect().list(filter, before, PAGE_MAX).await?;
        let is_last = page.len() < PAGE_MAX;
        before = page.last().map(|view| view.id);
        all.extend(page);
        if is_last {
            all.reverse();
            return Ok(all);
        }
    }
}

type Check<F> = Box<dyn Fn(&Dispatched<F>) -> bool + Send + Sync>;

/// An assertion that a function was dispatched: see [`Testing::assert_dispatched`](super::Testing::assert_dispatched). Each
/// method narrows it. Awaiting it panics unless an execution matches, and lists the executions that there are.
#[must_use = "an assertion checks nothing until it is awaited"]
pub struct AssertDispatched<F: Function> {
    stent: Stent,
    /// How many executions must match; `None` for at least one.
    times: Option<usize>,
    checks: Vec<(String, Check<F>)>,
    key: Option<String>,
    invalid: Option<DurationError>,
    location: &'static Location<'static>,
    function: PhantomData<fn() -> F>,
}

impl<F: Function> AssertDispatched<F> {
    pub(super) fn new(stent: Stent, times: Option<usize>, location: &'static Location<'static>) -> Self {
        Self { stent, times, checks: Vec::new(), key: None, invalid: None, location, function: PhantomData }
    }

    /// With these arguments, as a tuple: `.args((order, 1999))`.
    pub fn args(self, args: F::Args) -> Self
    where
        F::Args: PartialEq + Sync,
    {
        let what = serde_json::to_string(&args).unwrap_or_else(|_| "…".to_owned());
        self.check(format!("args {what}"), move |dispatched| dispatched.args == args)
    }

    /// With arguments for which this returns true.
    pub fn args_matching(self, matches: impl Fn(&F::Args) -> bool + Send + Sync + 'static) -> Self {
        self.check("args that match".to_owned(), move |dispatched| matches(&dispatched.args))
    }

    /// On this queue.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        let queue = queue.into();
        self.check(format!("queue {queue:?}"), move |dispatched| dispatched.queue == queue)
    }

    /// With this tag, perhaps among others.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        let tag = tag.into();
        self.check(format!("tag {tag:?}"), move |dispatched| dispatched.tags.contains(&tag))
    }

    /// With this priority.
    pub fn priority(self, priority: i16) -> Self {
        self.check(format!("priority {priority}"), move |dispatched| dispatched.priority == priority)
    }

    /// With this delay, within a second. Only executions that have not started match.
    pub fn delay(mut self, delay: impl IntoDuration) -> Self {
        match delay.into_duration() {
            Ok(delay) => self.check(format!("delay {delay:?}"), move |dispatched| {
                dispatched.delay.is_some_and(|is| is.abs_diff(delay) <= DELAY_SLACK)
            }),
            Err(error) => {
                self.invalid = Some(error);
                self
            }
        }
    }

    /// Under this idempotency key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Exactly this many times. Without it, at least once.
    pub const fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    fn check(mut self, what: String, check: impl Fn(&Dispatched<F>) -> bool + Send + Sync + 'static) -> Self {
        self.checks.push((what, Box::new(check)));
        self
    }

    async fn run(self) -> std::result::Result<(), String> {
        let function = F::NAME;
        if let Some(error) = self.invalid {
            return Err(format!("`delay`: {error}"));
        }
        let read = |error: Error| format!("cannot read what was dispatched: {error}");
        let all = dispatched::<F>(&self.stent).await.map_err(read)?;
        let mut under_key = None;
        if let Some(key) = &self.key {
            let found = list(&self.stent, &Filter::default().key(function, key)).await.map_err(read)?;
            under_key = Some(found.into_iter().map(|view| view.id).collect::<BTreeSet<_>>());
        }
        let matches = |dispatched: &&Dispatched<F>| {
            under_key.as_ref().is_none_or(|ids| ids.contains(&dispatched.id))
                && self.checks.iter().all(|(_, check)| check(dispatched))
        };
        let matching = all.iter().filter(matches).count();
        if self.times.map_or(matching > 0, |times| matching == times) {
            return Ok(());
        }
        let mut wanted: Vec<_> = self.checks.iter().map(|(what, _)| what.clone()).collect();
        wanted.extend(self.key.map(|key| format!("key {key:?}")));
        let wanted = if wanted.is_empty() { String::new() } else { format!(" with {}", wanted.join(", ")) };
        let times = self.times.map_or("at least once".to_owned(), |times| format!("{times} times"));
        let listed: String = all.iter().map(|dispatched| format!("\n  {dispatched:?}")).collect();
        let listed = if listed.is_empty() { " none".to_owned() } else { listed };
        Err(format!(
            "expected that `{function}` was dispatched {times}{wanted}; {matching} matched\nexecutions of \
             `{function}`:{listed}"
        ))
    }
}

impl<F: Function> IntoFuture for AssertDispatched<F> {
    type Output = ();
    type IntoFuture = BoxFuture<'static, ()>;

    fn into_future(self) -> Self::IntoFuture {
        let location = self.location;
        Box::pin(async move {
            if let Err(problem) = self.run().await {
                panic!("{problem}\nasserted at {location}");
            }
        })
    }
}

impl<F: Function> fmt::Debug for AssertDispatched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertDispatched").field("function", &F::NAME).finish_non_exhaustive()
    }
}
