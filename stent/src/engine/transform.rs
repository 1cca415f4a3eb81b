//! Payload transforms: compression or encryption of the user's, between the codec and the store.
//!
//! A transform sits at the one edge that every payload crosses, in front of the store, so nothing else in the runtime knows
//! of it. Every field that may hold a payload is named here, and structs are taken apart without `..`: a new field does not
//! compile until it is decided whether it is sealed.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stent_core::backend::{
    ClaimRequest, Claimed, DeadLetter, Error as StoreError, ErrorKind, Exchanged, ExecutionView, Filter,
    Forward, HostTransaction, ItemView, NotesView, Result as StoreResult, Store, Transactions,
};
use stent_core::model::{
    EndedClaim, NewTask, NewTaskState, Note, Said, Seq, Step, StepState, Task, TaskResult,
};
use stent_core::transition::{
    Action, Commit, Dispatch, Expire, News, Next, Outcome, Postpone, Request, Transition, Unpark,
};
use stent_core::{ExecutionId, Failure, Payload, TaskId};

use crate::error::{Error, Result};
use crate::function::panics::catch_panic;

/// What a transform may fail with.
pub type TransformError = Box<dyn StdError + Send + Sync>;

/// A transform of encoded payloads on their way to the store and back: compression, encryption.
///
/// It is given to [`StentBuilder::transform`](crate::StentBuilder::transform). What it has sealed carries its name as the
/// suffix of its content type, such as `application/cbor+zstd`, and is opened by that name; payloads without a suffix are read
/// as they are. So a transform can be introduced, replaced and retired while work is under way, as long as every process
/// that reads can open: give it to all of them with [`StentBuilder::decode_with`](crate::StentBuilder::decode_with) first.
///
/// Sealed are arguments, results, values of signals, states, and the data that an error of the user's own type carries. **Not**
/// sealed are names, queues, tags, counters, progress, trace contexts, and the kinds, messages and causes of failures: people
/// read those where no key is at hand. So a mismatch of arguments names the step, and shows arguments only in a process that has no
/// transform.
///
/// ```
/// use stent::{PayloadTransform, TransformError};
///
/// struct Reversed;
///
/// impl PayloadTransform for Reversed {
///     fn name(&self) -> &str {
///         "reversed"
///     }
///
///     fn seal(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
///         bytes.reverse();
///         Ok(bytes)
///     }
///
///     fn open(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
///         bytes.reverse();
///         Ok(bytes)
///     }
/// }
///
/// let builder = stent::Stent::builder().transform(Reversed);
/// # let _ = builder;
/// ```
pub trait PayloadTransform: Send + Sync + 'static {
    /// Its name, for ever: what it has sealed is found by it. Letters, digits, `.`, `-` and `_`. A new key or another
    /// parameter that `open` cannot tell from the bytes needs a new name.
    fn name(&self) -> &str;

    /// What is stored in place of these bytes. Need not give the same each time. It is called on the way to the store, for
    /// every payload, so it should take microseconds.
    ///
    /// # Errors
    /// Only what cannot be helped: a dispatch fails with it, and a turn whose result cannot be sealed is done again.
    fn seal(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError>;

    /// The bytes that were sealed.
    ///
    /// # Errors
    /// When these are not bytes that it has sealed. It is logged, and whoever decodes the payload is told that it is still
    /// sealed.
    fn open(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError>;
}

/// The transforms of one `Stent`.
#[derive(Clone, Default)]
pub(crate) struct Transforms {
    seals: Option<Arc<dyn PayloadTransform>>,
    opens: Vec<Arc<dyn PayloadTransform>>,
}

impl fmt::Debug for Transforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.opens.iter().map(|transform| transform.name())).finish()
    }
}

impl Transforms {
    pub(crate) fn seal_with(&mut self, transform: impl PayloadTransform) {
        let transform: Arc<dyn PayloadTransform> = Arc::new(transform);
        self.seals = Some(transform.clone());
        self.opens.push(transform);
    }

    pub(crate) fn open_with(&mut self, transform: impl PayloadTransform) {
        self.opens.push(Arc::new(transform));
    }

    /// The store behind these transforms; the store itself if there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.opens.is_empty()
    }

    pub(crate) fn in_front_of(self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>> {
        for (n, transform) in self.opens.iter().enumerate() {
            let name = transform.name();
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let problem = if name.is_empty() || !name.chars().all(fits) {
                format!("the name {name:?} is not valid; use letters, digits, `.`, `-` and `_`")
            } else if self.opens[..n].iter().any(|other| other.name() == name) {
                format!("two transforms are named {name:?}; give each its own name")
            } else {
                continue;
            };
            return Err(Error::Option { option: "transform", problem });
        }
        if self.opens.is_empty() {
            Ok(store)
        } else {
            Ok(Arc::new(Transformed { inner: store, transforms: self }))
        }
    }

    fn seal(&self, payload: &mut Payload) -> StoreResult<()> {
        // What has no content type holds nothing: a sleep's result.
        let Some(transform) = self.seals.as_ref().filter(|_| !payload.content_type().is_empty()) else {
            return Ok(());
        };
        let sealed = transformed(|| transform.seal(payload.bytes().to_vec())).map_err(|source| {
            StoreError::new(ErrorKind::Config, "seal")
                .with_message(format!("transform {} failed: {source}", transform.name()))
                .with_source(source)
        })?;
        *payload = Payload::new(format!("{}+{}", payload.content_type(), transform.name()), sealed);
        Ok(())
    }

    /// Opens a payload. One that cannot be opened stays sealed: whoever decodes it is told.
    fn open(&self, payload: &mut Payload) {
        let Some((content_type, name)) = payload.content_type().rsplit_once('+') else { return };
        let Some(transform) = self.opens.iter().find(|transform| transform.name() == name) else { return };
        match transformed(|| transform.open(payload.bytes().to_vec())) {
            Ok(opened) => *payload = Payload::new(content_type, opened),
            Err(error) => {
                tracing::error!(%error, transform = name, "transform {name} cannot open a payload, which \
                     stays sealed: {error}");
            }
        }
    }

    fn seal_failure(&self, failure: &mut Failure) -> StoreResult<()> {
        let Failure { kind: _, message: _, causes: _, trace: _, data, data_type: _, fatal: _ } = failure;
        data.as_mut().map_or(Ok(()), |data| self.seal(data))
    }

    fn seal_result(&self, result: &mut TaskResult) -> StoreResult<()> {
        match result {
            Ok(payload) => self.seal(payload),
            Err(failure) => self.seal_failure(failure),
        }
    }

    fn seal_row(&self, row: &mut NewTask) -> StoreResult<()> {
        let NewTask {
            id: _,
            tree: _,
            seq: _,
            kind: _,
            lane: _,
            priority: _,
            args,
            retry: _,
            attempts: _,
            failure,
            keyed: _,
            expires_at: _,
            trace: _,
            digest: _,
            state,
        } = row;
        self.seal(args)?;
        failure.as_mut().map_or(Ok(()), |failure| self.seal_failure(failure))?;
        match state {
            NewTaskState::Done { started_at: _, result } => self.seal_result(result),
            NewTaskState::Pending { ready_at: _ }
            | NewTaskState::Leased { started_at: _, worker: _, nonce: _, until: _ }
            | NewTaskState::Timer { due: _ }
            | NewTaskState::Map
            | NewTaskState::Signal
            | NewTaskState::Join { execution: _ } => Ok(()),
        }
    }

    fn seal_note(&self, said: &mut Said) -> StoreResult<()> {
        let Said { task: _, note } = said;
        match note {
            Note::Set { name: _, value } | Note::SetFrom { name: _, value } => self.seal(value),
            Note::Count { name: _, add: _ }
            | Note::CountFrom { name: _, value: _ }
            | Note::Progress { id: _, text: _ } => Ok(()),
        }
    }

    fn sealed(&self, transition: &Transition) -> StoreResult<Transition> {
        let mut transition = transition.clone();
        match &mut transition {
            Transition::Dispatch(Dispatch { root, key: _, at: _ }) => self.seal_row(root)?,
            Transition::Commit(commit) => self.seal_commit(commit)?,
            Transition::Request(Request { execution: _, at: _, action }) => match action {
                Action::Signal { key: _, name: _, id: _, value } => self.seal(value)?,
                Action::Cancel { until: _ } | Action::Redrive { retry: _ } | Action::Discard => {}
            },
            Transition::Expire(Expire { task: _, tree: _, key: _, at: _, failure }) => {
                self.seal_failure(failure)?;
            }
            Transition::Unpark(Unpark { task: _, epoch: _, at: _ })
            | Transition::Postpone(Postpone { task: _, epoch: _, at: _, from: _, until: _ }) => {}
        }
        Ok(transition)
    }

    fn seal_commit(&self, commit: &mut Commit) -> StoreResult<()> {
        let Commit {
            fence: _,
            tree: _,
            key: _,
            at: _,
            insert,
            fire: _,
            cancel: _,
            erase: _,
            feed: _,
            seen: _,
            notes,
            next,
        } = commit;
        insert.iter_mut().try_for_each(|row| self.seal_row(row))?;
        notes.iter_mut().try_for_each(|said| self.seal_note(said))?;
        match next {
            Next::Retry { ready_at: _, failure } => self.seal_failure(failure),
            Next::End(result) => self.seal_result(result),
            Next::Keep | Next::Park(_) | Next::Redo | Next::Release => Ok(()),
        }
    }

    fn sealed_all(&self, commit: &[Transition]) -> StoreResult<Vec<Transition>> {
        commit.iter().map(|transition| self.sealed(transition)).collect()
    }

    fn open_result(&self, result: &mut TaskResult) {
        match result {
            Ok(payload) => self.open(payload),
            Err(failure) => self.open_failure(failure),
        }
    }

    fn open_failure(&self, failure: &mut Failure) {
        failure.data.iter_mut().for_each(|data| self.open(data));
    }

    fn open_steps(&self, steps: &mut [Step]) {
        for step in steps {
            match &mut step.state {
                StepState::Done { order: _, at: _, result } => self.open_result(result),
                StepState::Open { due: _ } | StepState::Cancelled => {}
            }
        }
    }

    fn open_claimed(&self, claimed: &mut Claimed) {
        let Claimed { task, lease: _, fence: _, cached: _, steps } = claimed;
        let Task {
            id: _,
            tree: _,
            seq: _,
            kind: _,
            lane: _,
            priority: _,
            args,
            retry: _,
            status: _,
            epoch: _,
            uncommitted_claims: _,
            attempts: _,
            crashes: _,
            releases: _,
            done: _,
            noted: _,
            mark: _,
            key: _,
            expires_at: _,
            trace: _,
            created_at: _,
            started_at: _,
            ended_at: _,
        } = task;
        self.open(args);
        self.open_steps(steps);
    }

    fn open_outcome(&self, outcome: &mut Outcome) {
        match outcome {
            Outcome::Applied(news) | Outcome::Already(news) => {
                let News { done: _, steps, stopped: _, replaced: _ } = news;
                self.open_steps(steps);
            }
            Outcome::Fenced | Outcome::Exists(_) | Outcome::Gone => {}
        }
    }

    fn open_exchanged(&self, exchanged: &mut Exchanged) {
        let Exchanged { outcomes, claimed, next_due: _, expired: _, stopping: _ } = exchanged;
        outcomes.iter_mut().for_each(|outcome| self.open_outcome(outcome));
        claimed.iter_mut().for_each(|claimed| self.open_claimed(claimed));
    }

    fn open_execution(&self, view: &mut ExecutionView) {
        let ExecutionView {
            id: _,
            function: _,
            queue: _,
            tags: _,
            priority: _,
            status: _,
            attempts: _,
            expires_at: _,
            result,
            created_at: _,
            started_at: _,
            ended_at: _,
        } = view;
        result.iter_mut().for_each(|result| self.open_result(result));
    }

    fn open_item(&self, view: &mut ItemView) {
        let ItemView { seq: _, status: _, args, result } = view;
        self.open(args);
        result.iter_mut().for_each(|result| self.open_result(result));
    }

    fn open_notes(&self, view: &mut NotesView) {
        let NotesView { counters: _, states, progress: _, summary: _ } = view;
        states.values_mut().for_each(|state| self.open(state));
    }

    fn open_dead_letter(&self, letter: &mut DeadLetter) {
        let DeadLetter { execution, args, retry: _, attempts: _, crashes: _, releases: _ } = letter;
        self.open_execution(execution);
        self.open(args);
    }
}

/// Runs a transform. One that panics has failed, and ends neither a worker's loop nor what writes dispatches.
fn transformed(
    transform: impl FnOnce() -> Result<Vec<u8>, TransformError>,
) -> Result<Vec<u8>, TransformError> {
    catch_panic(transform).unwrap_or_else(|failure| Err(format!("it panicked: {}", failure.message).into()))
}

/// A store whose payloads are sealed on the way in and opened on the way out.
#[derive(Debug)]
struct Transformed {
    inner: Arc<dyn Store>,
    transforms: Transforms,
}

#[async_trait]
impl Forward for Transformed {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        self.inner.transactions().map(|_| self as &dyn Transactions)
    }

    async fn exchange(
        &self,
        commit: &[Transition],
        claim: Option<&ClaimRequest<'_>>,
    ) -> StoreResult<Exchanged> {
        let sealed = self.transforms.sealed_all(commit)?;
        let mut exchanged = self.inner.exchange(&sealed, claim).await?;
        self.transforms.open_exchanged(&mut exchanged);
        Ok(exchanged)
    }

    async fn executions(&self, ids: &[ExecutionId]) -> StoreResult<Vec<ExecutionView>> {
        let mut views = self.inner.executions(ids).await?;
        views.iter_mut().for_each(|view| self.transforms.open_execution(view));
        Ok(views)
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> StoreResult<Vec<ItemView>> {
        let mut items = self.inner.items(map, from, max).await?;
        items.iter_mut().for_each(|item| self.transforms.open_item(item));
        Ok(items)
    }

    async fn args(&self, task: TaskId) -> StoreResult<Option<Payload>> {
        let mut args = self.inner.args(task).await?;
        args.iter_mut().for_each(|args| self.transforms.open(args));
        Ok(args)
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> StoreResult<Vec<(TaskId, Vec<Step>)>> {
        let mut completions = self.inner.completions(seen).await?;
        completions.iter_mut().for_each(|(_, steps)| self.transforms.open_steps(steps));
        Ok(completions)
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> StoreResult<Vec<ExecutionView>> {
        let mut views = self.inner.list(filter, before, max).await?;
        views.iter_mut().for_each(|view| self.transforms.open_execution(view));
        Ok(views)
    }

    async fn ended_claims(&self, task: TaskId) -> StoreResult<Vec<EndedClaim>> {
        let mut tries = self.inner.ended_claims(task).await?;
        let failures = tries.iter_mut().filter_map(|tried| tried.failure.as_mut());
        failures.for_each(|failure| self.transforms.open_failure(failure));
        Ok(tries)
    }

    async fn notes(&self, execution: ExecutionId) -> StoreResult<NotesView> {
        let mut notes = self.inner.notes(execution).await?;
        self.transforms.open_notes(&mut notes);
        Ok(notes)
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> StoreResult<Vec<DeadLetter>> {
        let mut letters = self.inner.dead_letters(before, max).await?;
        letters.iter_mut().for_each(|letter| self.transforms.open_dead_letter(letter));
        Ok(letters)
    }

    async fn dead_letter(&self, execution: ExecutionId) -> StoreResult<Option<DeadLetter>> {
        let mut letter = self.inner.dead_letter(execution).await?;
        letter.iter_mut().for_each(|letter| self.transforms.open_dead_letter(letter));
        Ok(letter)
    }
}

impl Transformed {
    fn inner_transactions(&self) -> StoreResult<&dyn Transactions> {
        self.inner.transactions().ok_or_else(|| StoreError::new(ErrorKind::Config, "transactions"))
    }
}

#[async_trait]
impl Transactions for Transformed {
    async fn begin(&self) -> StoreResult<Arc<HostTransaction>> {
        self.inner_transactions()?.begin().await
    }

    async fn begin_for(&self, limit: Duration) -> StoreResult<Arc<HostTransaction>> {
        self.inner_transactions()?.begin_for(limit).await
    }

    async fn exchange_within(
        &self,
        transaction: &HostTransaction,
        commit: &[Transition],
    ) -> StoreResult<Vec<Outcome>> {
        let sealed = self.transforms.sealed_all(commit)?;
        let mut outcomes = self.inner_transactions()?.exchange_within(transaction, &sealed).await?;
        outcomes.iter_mut().for_each(|outcome| self.transforms.open_outcome(outcome));
        Ok(outcomes)
    }

    async fn commit(&self, transaction: Arc<HostTransaction>) -> StoreResult<()> {
        self.inner_transactions()?.commit(transaction).await
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.inner.transactions()?.classify(error)
    }
}
