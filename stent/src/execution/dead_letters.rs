//! Dead letters: executions that failed for good and wait for someone to retry or discard them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{DeadLetter, DeadLetterStat, Purge};
use stent_core::duration::IntoDuration;
use stent_core::limits::PAGE_MAX;
use stent_core::model::{EndedClaim, RetryPolicy};
use stent_core::{ExecutionId, TaskId, decide};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::execution::request;
use crate::execution::retention;
use crate::function::BoxFuture;
use crate::names::check_name;

/// The dead letters of a store: see [`Stent::dead_letters`](crate::Stent::dead_letters).
///
/// An execution that fails for good becomes a dead letter. It keeps its arguments, its failure and the history of its
/// ended claims until it is [retried](Self::retry), [discarded](Self::discard) or purged. A failure that its parent's
/// code handled stays in the history and is no dead letter; neither are executions that were cancelled or timed out. A
/// fault yields one dead letter: that of the execution.
#[derive(Clone)]
pub struct DeadLetters {
    engine: Arc<Engine>,
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

impl DeadLetters {
    pub(crate) const fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Reads a page, newest first: dead letters dispatched before `before`, at most `max` of them, and never more than
    /// 1,000.
    ///
    /// # Errors
    /// Store errors.
    pub async fn list(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        let max = max.min(PAGE_MAX);
        Ok(self.engine.retrying(|| self.engine.store.dead_letters(before, max)).await?)
    }

    /// Reads one dead letter.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such dead letter; store errors.
    pub async fn show(&self, id: ExecutionId) -> Result<DeadLetter> {
        let letter = self.engine.retrying(|| self.engine.store.dead_letter(id)).await?;
        letter.ok_or(Error::NotFound(id))
    }

    /// Reads the claims of a task that ended badly, oldest first: failed attempts, crashes, and claims that were
    /// released. The root task of an execution has the execution's id.
    ///
    /// # Errors
    /// Store errors. The history of an unknown task is empty.
    pub async fn history(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        Ok(self.engine.retrying(|| self.engine.store.ended_claims(task)).await?)
    }

    /// Counts dead letters by function and by the kind of their failure. Returns at most 1,000 such pairs, those with
    /// the most dead letters.
    ///
    /// # Errors
    /// Store errors.
    pub async fn stats(&self) -> Result<Vec<DeadLetterStat>> {
        Ok(self.engine.retrying(|| self.engine.store.dead_letter_stats(PAGE_MAX)).await?)
    }

    /// Retries a dead letter from its failed step: completed steps keep their results, and the step whose failure the
    /// code observed last runs again. A function without steps runs again from the start. The attempt count restarts at
    /// zero, and the execution no longer has a deadline.
    ///
    /// Retrying does not help code that collects several failures and then fails by itself
    /// ([`Map::outcomes`](crate::Map::outcomes), a loop, [`join_all`](crate::join_all)): at most the last failed step
    /// runs again, usually none, so the function fails in the same way however often it is retried. The guide shows how
    /// to write such code instead.
    pub fn retry(&self, id: ExecutionId) -> RetryDeadLetter {
        RetryDeadLetter { engine: self.engine.clone(), id, policy: None, queue: None }
    }

    /// Removes a dead letter from the list. Its execution stays `failed` and is purged with other ended executions.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Ended`] if the execution is not a dead letter; store errors.
    pub async fn discard(&self, id: ExecutionId) -> Result<()> {
        let transition = decide::discard(id, self.engine.clock.now());
        if request::ask(&self.engine, transition).await? {
            return Ok(());
        }
        Err(request::ended(&self.engine, id, "it is not a dead letter, so it cannot be discarded").await?)
    }

    /// Deletes dead letters that failed longer ago than `age`, with their executions: oldest first, at most `max`.
    /// Returns how many it deleted.
    ///
    /// # Errors
    /// The text is not a duration, or the age is zero: elsewhere zero keeps things forever, here it could mean "all",
    /// for which there is [`purge_all`](Self::purge_all); store errors.
    pub async fn purge(&self, age: impl IntoDuration, max: u32) -> Result<u32> {
        let age = retention::aged(age)?;
        retention::purge_once(&self.engine, Purge::DeadLetters, age, max).await
    }

    /// Deletes dead letters of any age, with their executions: oldest first, at most `max`. Returns how many it
    /// deleted.
    ///
    /// # Errors
    /// Store errors.
    pub async fn purge_all(&self, max: u32) -> Result<u32> {
        retention::purge_once(&self.engine, Purge::DeadLetters, Duration::ZERO, max).await
    }
}

/// A retry of a dead letter: see [`DeadLetters::retry`].
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Ended`] if the execution is not a dead letter; an invalid policy; an invalid name of a queue; store
/// errors.
#[must_use = "nothing is retried until this is awaited"]
pub struct RetryDeadLetter {
    engine: Arc<Engine>,
    id: ExecutionId,
    policy: Option<RetryPolicy>,
    queue: Option<String>,
}

impl RetryDeadLetter {
    /// Retries its function by this policy from now on.
    pub fn policy(mut self, policy: RetryPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Runs the execution's own function on this queue from now on: only workers of this queue take it, and reads show this queue.
    /// Its tags, its priority and the limits of its function stay as they are.
    ///
    /// Steps do not move with it. A step that is asked for from now on, such as the failed one, has the queue of its call, else
    /// that of its function's attribute, else `default`, as ever. A dead letter that was retried before is not moved.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }
}

impl fmt::Debug for RetryDeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryDeadLetter")
            .field("id", &self.id)
            .field("policy", &self.policy)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl IntoFuture for RetryDeadLetter {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if let Some(Err(error)) = self.policy.as_ref().map(RetryPolicy::validate) {
                return Err(Error::Option { option: "policy", problem: error.to_string() });
            }
            self.queue.iter().try_for_each(|queue| check_name("queue", queue))?;
            let transition = decide::redrive(self.id, self.policy, self.queue, self.engine.clock.now());
            if request::ask(&self.engine, transition).await? {
                return Ok(());
            }
            Err(request::ended(&self.engine, self.id, "it is not a dead letter, so it cannot be retried")
                .await?)
        })
    }
}
