//! Claims: encodes a request as arguments of `claim.lua`, and decodes the reply of the script.

use std::sync::LazyLock;

use redis::{Script, Value};
use stent_core::backend::{ClaimRequest, Expired, Limit, LimitUsage, Result};
use stent_core::limits::{CLAIM_MAX, EXPIRED_MAX};
use stent_core::model::{Epoch, FunctionKey, Nonce};
use stent_core::{TaskId, Timestamp};

use crate::apply::number;
use crate::keys::{Keys, last_id, moment, shown, to_moment};
use crate::link::Link;
use crate::load::{bytes, members};
use crate::row::{Head, Revision, Tail, at, corrupt, decode};

static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("lua/lanes.lua"), include_str!("lua/claim.lua"))));

/// A claimed task whose steps have not been read yet.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) head: Head,
    pub(crate) tail: Tail,
    /// The task's epoch before the claim; `None` if it was taken back.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) has_children: bool,
    /// Since when it could be claimed.
    pub(crate) due_at: Option<Timestamp>,
}

/// The decoded reply of the script.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) taken: Vec<Taken>,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) expired: Vec<Expired>,
    pub(crate) stopping: Vec<TaskId>,
}

/// Claims due tasks. Returns `None` if another caller holds the lock of the namespace.
pub(crate) async fn claim(
    link: &Link,
    keys: &Keys,
    request: &ClaimRequest<'_>,
    revision: Revision,
) -> Result<Option<Answer>> {
    let args = arguments(request, revision);
    let answer: Vec<Value> = link.script("claim", &CLAIM, &keys.one("lock"), &args).await?;
    let mut answer = answer.into_iter();
    let mut next = || answer.next().unwrap_or(Value::Nil);
    if bytes(next())? == b"locked" {
        return Ok(None);
    }
    let taken = list(next())?.into_iter().map(take).collect::<Result<_>>()?;
    let mut moments: Vec<Timestamp> = to_optional(&bytes(next())?).into_iter().collect();
    for held in list(next())? {
        moments.extend(gives_way(request, held)?);
    }
    let expired = members(next())?;
    let expired = expired.iter().map(|head| expired_of(head)).collect::<Result<Vec<_>>>()?;
    let next_expiry = to_optional(&bytes(next())?);
    let mut stopping: Vec<_> = members(next())?.iter().filter_map(|member| last_id(member)).collect();
    stopping.sort_unstable();
    for key in members(next())? {
        let key = shown(&key);
        tracing::error!(
            key,
            "{key} holds a value that is no task, so the task that it belonged to cannot run; another program wrote it"
        );
    }
    Ok(Some(Answer {
        taken,
        next_due: moments.into_iter().chain(next_expiry).min(),
        expired: expired.into_iter().flatten().collect(),
        stopping,
    }))
}

/// Returns the request as arguments, in the order in which the script reads them.
fn arguments(request: &ClaimRequest<'_>, revision: Revision) -> Vec<Vec<u8>> {
    let mut args = vec![
        moment(request.now).to_vec(),
        moment(request.until).to_vec(),
        request.worker.as_uuid().as_bytes().to_vec(),
        request.nonce.bits().to_be_bytes().to_vec(),
        revision.to_vec(),
        number(request.max.min(CLAIM_MAX)),
        number(EXPIRED_MAX),
        number(request.limits.len()),
    ];
    for limit in request.limits {
        args.extend(limit_arguments(limit, request.now));
    }
    args.push(number(request.functions.len()));
    for function in request.functions {
        let limit = request.limits.iter().position(|limit| limit.function == *function);
        args.extend([function.as_bytes().to_vec(), number(limit.map_or(0, |at| at + 1))]);
    }
    args.push(number(usize::from(request.queues.is_none())));
    for names in [request.queues.unwrap_or_default(), request.tags] {
        args.push(number(names.len()));
        args.extend(names.iter().map(|name| name.as_bytes().to_vec()));
    }
    args
}

fn limit_arguments(limit: &Limit, now: Timestamp) -> [Vec<u8>; 6] {
    let optional =
        |number: Option<u32>| number.map_or_else(Vec::new, |number| number.to_string().into_bytes());
    let [since, own, latest] = match &limit.rate {
        Some(rate) => {
            let own = rate.bucket(now);
            let latest = own + stent_core::limits::CLAIM_LATE_MAX;
            [rate.since(now), own, latest].map(|at| moment(at).to_vec())
        }
        None => [const { Vec::new() }; 3],
    };
    [
        FunctionKey::of(&limit.function).as_i64().to_be_bytes().to_vec(),
        optional(limit.max_concurrent),
        optional(limit.rate.map(|rate| rate.max)),
        since,
        own,
        latest,
    ]
}

fn take(value: Value) -> Result<Taken> {
    let mut parts = list(value)?.into_iter();
    let row = bytes(parts.next().unwrap_or(Value::Nil))?;
    let epoch = bytes(parts.next().unwrap_or(Value::Nil))?;
    let (head, _) = Head::decode(&row)?;
    let tail = decode(row.get(at::LEN..).unwrap_or_default())?;
    let epoch: [u8; 8] = epoch.try_into().map_err(|_| corrupt("an epoch has another length than eight"))?;
    let has_children = matches!(parts.next(), Some(Value::Int(1)));
    let due_at = to_optional(&bytes(parts.next().unwrap_or(Value::Nil))?);
    Ok(Taken { head, tail, epoch: Some(to_epoch(epoch)), has_children, due_at })
}

/// Returns the moment at which an exhausted limit has room again without any other change.
fn gives_way(request: &ClaimRequest<'_>, held: Value) -> Result<Option<Timestamp>> {
    let held = list(held)?;
    let [Value::Int(limit), Value::Int(running), first_end, Value::Int(started), first_bucket] = &held[..]
    else {
        return Err(corrupt("a limit that holds work back is described otherwise"));
    };
    let limit = usize::try_from(*limit).ok().and_then(|limit| request.limits.get(limit.checked_sub(1)?));
    let usage = LimitUsage {
        running: u64::try_from(*running).unwrap_or(0),
        first_end: to_optional(&bytes(first_end.clone())?),
        started: u64::try_from(*started).unwrap_or(0),
        first_bucket: to_optional(&bytes(first_bucket.clone())?),
    };
    Ok(limit.and_then(|limit| limit.gives_way(&usage, 0)))
}

fn expired_of(head: &[u8]) -> Result<Option<Expired>> {
    if head.is_empty() {
        return Ok(None);
    }
    let (Head { row, .. }, _) = Head::decode(head)?;
    Ok(row.expires_at.map(|expires_at| Expired { task: row.id, tree: row.tree, key: row.key, expires_at }))
}

pub(crate) fn to_epoch(bytes: [u8; 8]) -> Epoch {
    let [a, b, c, d, e, f, g, h] = bytes;
    let (count, nonce) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    Epoch::new(count, if nonce == 0 { Nonce::NONE } else { Nonce::new(nonce) })
}

fn to_optional(bytes: &[u8]) -> Option<Timestamp> {
    bytes.try_into().ok().map(to_moment)
}

pub(crate) fn list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        other => Err(corrupt(format!("the server answered {other:?} instead of a list"))),
    }
}
