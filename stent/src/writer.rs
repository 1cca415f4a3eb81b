//! Group commit for callers: dispatches that come while another batch is being written share the next one. What is part of
//! the caller's own transaction does not come here.

use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Error as StoreError, ErrorKind, HostTransaction, Store};
use stent_core::limits::EXCHANGE_TRANSITIONS_MAX;
use stent_core::transition::{Outcome, Transition};
use tokio::sync::{mpsc, oneshot};

use crate::{Error, Result};

/// How often a write is tried again while the store is contended or away, with pauses from 10 ms doubled: five seconds in all.
const WRITE_RETRIES: u32 = 9;

/// Which way a write goes to the store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'t> {
    /// At once, together with those of others.
    Grouped,
    /// As part of a transaction of the caller's, which decides whether it stands.
    #[cfg_attr(not(feature = "sql"), expect(dead_code, reason = "no backend with transactions is built in"))]
    Within(&'t HostTransaction),
}

type Reply = oneshot::Sender<Result<Outcome, Arc<StoreError>>>;

/// The writing end of one `Stent`.
#[derive(Debug)]
pub(crate) struct Writer {
    requests: mpsc::Sender<(Transition, Reply)>,
}

impl Writer {
    pub(crate) fn start(store: Arc<dyn Store>) -> Self {
        // Callers beyond this many wait for room: the writer takes a whole batch at a time.
        let (requests, inbox) = mpsc::channel(2 * EXCHANGE_TRANSITIONS_MAX);
        tokio::spawn(write_batches(store, inbox));
        Self { requests }
    }

    /// Writes one transition, in one batch with whatever else is waiting.
    pub(crate) async fn write(&self, transition: Transition) -> Result<Outcome> {
        let (reply, answer) = oneshot::channel();
        self.requests.send((transition, reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?.map_err(shared_error)
    }

    /// Writes many transitions.
    pub(crate) async fn write_all(&self, transitions: Vec<Transition>) -> Result<Vec<Outcome>> {
        let mut answers = Vec::with_capacity(transitions.len());
        for transition in transitions {
            let (reply, answer) = oneshot::channel();
            self.requests.send((transition, reply)).await.map_err(|_| Error::Closed)?;
            answers.push(answer);
        }
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            outcomes.push(answer.await.map_err(|_| Error::Closed)?.map_err(shared_error)?);
        }
        Ok(outcomes)
    }
}

async fn write_batches(store: Arc<dyn Store>, mut inbox: mpsc::Receiver<(Transition, Reply)>) {
    let mut requests = Vec::with_capacity(EXCHANGE_TRANSITIONS_MAX);
    while inbox.recv_many(&mut requests, EXCHANGE_TRANSITIONS_MAX).await > 0 {
        let (batch, replies): (Vec<_>, Vec<_>) = requests.drain(..).unzip();
        match write_batch(&*store, &batch).await {
            Ok(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // A caller that is gone does not want to know.
                    let _ = reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Writes a batch, and sends it again while its fate is unknown and may still turn: a repeated transition changes nothing.
async fn write_batch(store: &dyn Store, batch: &[Transition]) -> Result<Vec<Outcome>, StoreError> {
    let mut pause = Duration::from_millis(10);
    for _ in 0..WRITE_RETRIES {
        match store.exchange(batch, None).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    %error,
                    "the store {} has not taken dispatches or requests yet ({error}); they are sent again for five seconds, and \
                     then fail to their callers",
                    store.info().location
                );
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer.map(|exchanged| exchanged.outcomes),
        }
    }
    store.exchange(batch, None).await.map(|exchanged| exchanged.outcomes)
}

/// One error for each of the callers that shared a batch.
fn shared_error(error: Arc<StoreError>) -> Error {
    Error::Store(Arc::try_unwrap(error).unwrap_or_else(|error| {
        let kind: ErrorKind = error.kind();
        StoreError::new(kind, "exchange").with_message(error.to_string()).with_source(error)
    }))
}
