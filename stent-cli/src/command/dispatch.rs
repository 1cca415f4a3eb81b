//! `stent dispatch`: starts an execution of a function that this program does not know.

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::Value;
use stent::{Error, ExecutionId, Stent, Uuid};

use super::dlq;
use super::show;
use crate::cli::{Dispatch, Format};
use crate::fault::{FAILED, Fault, Result};
use crate::json;
use crate::out::{Out, tell};
use crate::payload;

/// Arguments as functions have them: a sequence, or nothing at all.
#[derive(Debug)]
struct Args(Vec<Value>);

impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0.is_empty() { serializer.serialize_unit() } else { self.0.serialize(serializer) }
    }
}

pub(crate) async fn run(stent: &Stent, args: Dispatch, out: &mut Out) -> Result<()> {
    let mut dispatch = stent.dispatch_by_name(&args.function, &Args(args.args));
    if let Some(queue) = args.queue {
        dispatch = dispatch.queue(queue);
    }
    if let Some(priority) = args.priority {
        dispatch = dispatch.priority(priority);
    }
    if let Some(delay) = args.delay {
        dispatch = dispatch.delay(delay);
    }
    if let Some(moment) = args.at {
        dispatch = dispatch.at(moment);
    }
    if let Some(key) = &args.key {
        dispatch = dispatch.idempotency_key(key);
    }
    // With an id of our own, the answer says whether the execution is ours or the first one under the key.
    let own = args.id.unwrap_or_else(|| ExecutionId::from_uuid(Uuid::now_v7()));
    dispatch = dispatch.id(own);
    if let Some(limit) = args.max_duration {
        dispatch = dispatch.max_duration(limit);
    }
    if let Some(policy) = dlq::policy(&args.policy)? {
        dispatch = dispatch.retry(policy);
    }
    dispatch = args.tag.into_iter().fold(dispatch, stent::DispatchByName::tag);
    let id = dispatch.await?;
    // Under an id that was asked for, the answer is the same if there was an execution.
    let started = if id == own { args.id.is_none().then_some(true) } else { Some(false) };
    let answer = |field: Option<(&str, Value)>| {
        let fields = [("id", id.to_string().into())];
        let fields =
            fields.into_iter().chain(started.map(|started| ("started", started.into()))).chain(field);
        Value::from_iter(fields)
    };
    if let (Some(false), Some(key)) = (started, &args.key) {
        tell(format!("note: the key {key:?} is taken by execution {id}; nothing was started"));
    }
    let Some(patience) = args.wait else {
        return match out.format {
            Format::Table => out.line(id.to_string()),
            Format::Json | Format::Jsonl => out.json(&answer(None)),
        };
    };

    // So that it can be found again if the wait is interrupted.
    tell(id.to_string());
    let ended = stent.wait_for(id).timeout(patience).await;
    match (ended, out.format) {
        (Ok(result), Format::Table) => out.line(payload::text(&result)),
        (Ok(result), _) => out.json(&answer(Some(("result", payload::json(&result))))),
        (Err(Error::Failed(failure)), Format::Table) => {
            show::failure(&failure, out)?;
            Err(failed(id))
        }
        (Err(Error::Failed(failure)), _) => {
            out.json(&answer(Some(("failure", json::failure(&failure)))))?;
            Err(failed(id))
        }
        (Err(error @ (Error::Cancelled | Error::TimedOut)), _) => {
            Err(Fault::new(FAILED, format!("execution {id} ended: {error}")))
        }
        (Err(error), _) => Err(error.into()),
    }
}

fn failed(id: ExecutionId) -> Fault {
    Fault::new(FAILED, format!("execution {id} failed")).hint(format!("`stent show {id}` shows where"))
}
