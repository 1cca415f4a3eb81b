//! A call in its stored form: arguments encoded, options resolved, keys and digests computed. Knows no position and no
//! record.

use std::time::Duration;

use stent_core::model::{
    Keyed, Lane, NewTask, NewTaskState, RetryPolicy, Seq, StepKind, Tree, split_version,
};
use stent_core::{CodecError, Digest, ExecutionId, Key, Payload, Timestamp, canonical};

use crate::durable::options::{CallOptions, StartAt};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::function::panics::drop_if_deep;
use crate::function::{Function, arguments};
use crate::trace;

/// A call in its stored form, without its id and time.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) lane: Lane,
    pub(crate) priority: i16,
    pub(crate) args: Payload,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) start: Option<StartAt>,
    pub(crate) keyed: Option<Keyed>,
    pub(crate) max_duration: Option<Duration>,
    /// Whether it may only start through a claim.
    pub(crate) limited: bool,
    /// The digest that a replay compares.
    pub(crate) digest: Option<Digest>,
    /// The trace context in which it was requested.
    pub(crate) trace: Option<String>,
}

impl Described {
    /// The call as the root of a new execution.
    pub(crate) fn into_root(self, id: ExecutionId, now: Timestamp) -> NewTask {
        let ready_at = self.start.map_or(now, |start| start.resolve(now));
        NewTask {
            id: id.root(),
            tree: Tree::root(id),
            seq: Seq(0),
            kind: StepKind::Call,
            lane: self.lane,
            priority: self.priority,
            args: self.args,
            retry: self.retry,
            attempts: 0,
            failure: None,
            keyed: self.keyed,
            // Always counted from the moment at which it may start.
            expires_at: self.max_duration.map(|limit| ready_at + limit),
            trace: self.trace,
            digest: None,
            state: NewTaskState::Pending { ready_at },
        }
    }
}

/// Encodes a call. Options that the call does not set come from the function.
pub(crate) fn describe<F: Function>(args: F::Args, call: &CallOptions, engine: &Engine) -> Result<Described> {
    let options = F::options();
    call.validate()?;
    let queue = call.queue.as_deref().or(options.queue).unwrap_or(Lane::DEFAULT_QUEUE);
    let lane = match &call.tags {
        Some(tags) => Lane::new(queue, F::NAME).with_tags(tags),
        None => Lane::new(queue, F::NAME).with_tags(options.tags.iter().copied()),
    };
    let limited = options.is_limited();
    let payload = match engine.encode(&args, arguments::<F>) {
        Ok(payload) => payload,
        Err(error) => {
            drop_if_deep(error.is_deep(), args);
            return Err(error);
        }
    };
    let keyed = options
        .answers()
        .map(|ttl| Ok::<_, Error>(Keyed { key: key::<F>(&args, &payload)?, ttl }))
        .transpose()?;
    let digest = digest::<F>(&args, call.idempotency_key.as_deref())?;
    Ok(Described {
        lane,
        priority: call.priority.unwrap_or(options.priority),
        args: payload,
        retry: call.retry.clone().or(options.retry),
        start: call.start,
        keyed,
        max_duration: call.max_duration.or(options.max_duration).filter(|limit| !limit.is_zero()),
        limited,
        digest,
        trace: trace::current(),
    })
}

/// The key under which calls are the same: the function's own key, or the arguments.
fn key<F: Function>(args: &F::Args, payload: &Payload) -> Result<Key> {
    let (name, version) = split_version(F::NAME);
    match F::key(args) {
        Some(text) => Ok(Key::of_user(name, version, &text)),
        None => {
            let bytes =
                canonical(payload).map_err(|source| Error::Codec { what: arguments::<F>(), source })?;
            Ok(Key::of_call(name, version, &bytes))
        }
    }
}

/// The digest that a replay compares; `None` if the function opts out. An idempotency key is part of it, because it
/// identifies the work as much as the arguments do.
pub(crate) fn digest<F: Function>(args: &F::Args, key: Option<&str>) -> Result<Option<Digest>> {
    if F::options().unchecked_args {
        return Ok(None);
    }
    let digest = digest_of::<F>(args)?;
    let key = key.map(Digest::of).transpose().map_err(undigested::<F>)?;
    Ok(Some(key.map_or(digest, |key| digest.then(key))))
}

/// The digest of one call's arguments.
pub(crate) fn digest_of<F: Function>(args: &F::Args) -> Result<Digest> {
    Digest::of(args).map_err(undigested::<F>)
}

fn undigested<F: Function>(source: CodecError) -> Error {
    Error::Codec {
        what: format!("digest of the arguments of `{}` (`unchecked_args` skips it)", F::NAME),
        source,
    }
}
