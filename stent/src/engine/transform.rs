//! Payload transforms: the application's compression or encryption, between the codec and the store.
//!
//! A transform is applied in front of the store, where every payload passes, so no other code in the runtime knows of it.
//! Every field that may hold a payload is named here, and structs are destructured without `..`: a new field does not
//! compile until somebody has decided whether it is sealed.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stent_core::backend::{
    ClaimRequest, Claimed, DeadLetter, Error as StoreError, ErrorKind, Exchanged, ExecutionView, Filter,
    Forward, HostTransaction, ItemView, NotesView, Result as StoreResult, Store, StoredTask, Transactions,
};
use stent_core::model::{
    EndedClaim, KeyEntry, NewTask, NewTaskState, Note, Said, Seq, Step, StepState, Task, TaskResult,
};
use stent_core::transition::{
    Action, Commit, Dispatch, Expire, Import, ImportedNote, News, Next, Outcome, Postpone, Request,
    Transition, Unpark,
};
use stent_core::{ExecutionId, Failure, Key, Payload, TaskId};

use crate::error::{Error, Result};
use crate::function::panics::catch_panic;

/// The error of a transform.
pub type TransformError = Box<dyn StdError + Send + Sync>;

/// A transform of encoded payloads on their way to the store and back: compression, encryption.
///
/// Pass it to [`StentBuilder::transform`](crate::StentBuilder::transform). The content type of a sealed payload has the
/// transform's name as its suffix, such as `application/cbor+zstd`, and the payload is opened by the transform of that name;
/// payloads without a suffix are read as they are. So a transform can be introduced, replaced and retired while work is in
/// progress, as long as every process that reads payloads can open them: first pass the transform to all processes with
/// [`StentBuilder::decode_with`](crate::StentBuilder::decode_with).
///
/// Arguments, results, values of signals, states, and the data of errors of the application's own types are sealed.
/// Names, queues, tags, counters, progress, trace contexts, and the kinds, messages and causes of failures are **not**
/// sealed, because people read them without a key. For the same reason, a mismatch of arguments names the step, and
/// shows the arguments only in a process without a transform.
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
    /// Its name, by which sealed payloads find their transform; it must never change. Letters, digits, `.`, `-` and
    /// `_`. A new key, or another parameter that `open` cannot derive from the bytes, needs a new name.
    fn name(&self) -> &str;

    /// Returns the bytes to store instead of these. The result may differ each time. This is called for every payload on
    /// its way to the store, so it should take microseconds.
    ///
    /// # Errors
    /// Fail only if sealing is impossible: a dispatch fails with this error, and a turn whose result cannot be sealed
    /// runs again.
    fn seal(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError>;

    /// Returns the bytes that were sealed.
    ///
    /// # Errors
    /// The bytes were not sealed by this transform. The error is logged, and decoding the payload fails with an
    /// error that says that it is still sealed.
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

    /// Whether there are no transforms.
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
        // A payload without a content type is empty: the result of a sleep.
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

    /// Opens a payload. A payload that cannot be opened stays sealed, and decoding it fails.
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
        failure.data_mut().map_or(Ok(()), |data| self.seal(data))
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

    fn seal_note(&self, note: &mut Note) -> StoreResult<()> {
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
                Action::Cancel { until: _ } | Action::Redrive { retry: _, queue: _ } | Action::Discard => {}
            },
            Transition::Expire(Expire { task: _, tree: _, key: _, at: _, failure }) => {
                self.seal_failure(failure)?;
            }
            Transition::Import(import) => self.seal_import(import)?,
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
        notes.iter_mut().try_for_each(|Said { task: _, note }| self.seal_note(note))?;
        match next {
            Next::Retry { ready_at: _, failure } => self.seal_failure(failure),
            Next::End(result) => self.seal_result(result),
            Next::Keep | Next::Park(_) | Next::Redo | Next::Release => Ok(()),
        }
    }

    fn seal_import(&self, import: &mut Import) -> StoreResult<()> {
        let Import { execution: _, at: _, tasks, ended_claims, key_entries, notes, awaits: _ } = import;
        for StoredTask { task, row: _, created_at: _, result } in tasks {
            self.seal_row(task)?;
            result.as_mut().map_or(Ok(()), |result| self.seal_result(result))?;
        }
        let failures = ended_claims.iter_mut().filter_map(|ended| ended.failure.as_mut());
        failures.into_iter().try_for_each(|failure| self.seal_failure(failure))?;
        key_entries
            .iter_mut()
            .filter_map(|entry| entry.value.as_mut())
            .try_for_each(|value| self.seal(value))?;
        notes.iter_mut().try_for_each(|ImportedNote { task: _, at: _, note }| self.seal_note(note))
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
        failure.data_mut().into_iter().for_each(|data| self.open(data));
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
        let Claimed { task, due_at: _, lease: _, fence: _, cached: _, steps } = claimed;
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
            marks: _,
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

    fn open_all<'a>(&self, payloads: impl Iterator<Item = &'a mut Payload>) {
        payloads.for_each(|payload| self.open(payload));
    }
}

/// Runs a transform. A panic counts as an error, and ends neither a worker's loop nor the writer of dispatches.
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
        self.transforms.open_all(views.iter_mut().flat_map(ExecutionView::payloads_mut));
        Ok(views)
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> StoreResult<Vec<ItemView>> {
        let mut items = self.inner.items(map, from, max).await?;
        self.transforms.open_all(items.iter_mut().flat_map(ItemView::payloads_mut));
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

    async fn stored(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> StoreResult<Vec<StoredTask>> {
        let mut tasks = self.inner.stored(execution, after, max).await?;
        for StoredTask { task, row: _, created_at: _, result } in &mut tasks {
            self.transforms.open(&mut task.args);
            result.iter_mut().for_each(|result| self.transforms.open_result(result));
        }
        Ok(tasks)
    }

    async fn key_entries(
        &self,
        execution: ExecutionId,
        after: Option<Key>,
        max: usize,
    ) -> StoreResult<Vec<KeyEntry>> {
        let mut entries = self.inner.key_entries(execution, after, max).await?;
        self.transforms.open_all(entries.iter_mut().filter_map(|entry| entry.value.as_mut()));
        Ok(entries)
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> StoreResult<Vec<ExecutionView>> {
        let mut views = self.inner.list(filter, before, max).await?;
        self.transforms.open_all(views.iter_mut().flat_map(ExecutionView::payloads_mut));
        Ok(views)
    }

    async fn ended_claims(&self, task: TaskId) -> StoreResult<Vec<EndedClaim>> {
        let mut ended_claims = self.inner.ended_claims(task).await?;
        let failures = ended_claims.iter_mut().filter_map(|ended| ended.failure.as_mut());
        failures.for_each(|failure| self.transforms.open_failure(failure));
        Ok(ended_claims)
    }

    async fn notes(&self, execution: ExecutionId) -> StoreResult<NotesView> {
        let mut notes = self.inner.notes(execution).await?;
        self.transforms.open_all(notes.payloads_mut());
        Ok(notes)
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> StoreResult<Vec<DeadLetter>> {
        let mut letters = self.inner.dead_letters(before, max).await?;
        self.transforms.open_all(letters.iter_mut().flat_map(DeadLetter::payloads_mut));
        Ok(letters)
    }

    async fn dead_letter(&self, execution: ExecutionId) -> StoreResult<Option<DeadLetter>> {
        let mut letter = self.inner.dead_letter(execution).await?;
        self.transforms.open_all(letter.iter_mut().flat_map(DeadLetter::payloads_mut));
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
