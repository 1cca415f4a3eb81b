//! `stent signal`: sends a value to executions.

use serde_json::Value;
use stent::view::ExecutionView;
use stent::{ExecutionId, Stent};

use super::act::{self, Act};
use super::{cancel, list, paging};
use crate::cli::Signal;
use crate::fault::{Fault, Result};
use crate::json;
use crate::out::Out;
use crate::value;

const SIGNAL: Act<'_> = Act {
    verb: "signal",
    done: "signalled",
    noun: "execution",
    rest: "raise --max, or choose more narrowly; the same command would signal the same executions again",
    place: "",
};

/// The words of the command, read.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The execution; `None` if a filter chooses.
    id: Option<ExecutionId>,
    name: String,
    value: Value,
}

impl Asked {
    /// Reads the words: with a filter they are a name and a value, and otherwise an id comes first.
    pub(crate) fn read(args: &Signal) -> Result<Self> {
        let is_filtered = !paging::selects_all(&args.select);
        paging::check_period(&args.select)?;
        let mut words = args.words.iter();
        let id = match words.next() {
            Some(word) if !is_filtered => Some(value::execution(word).map_err(|problem| {
                Fault::usage(format!("{word:?} is {problem}")).hint("the words are ID NAME [VALUE]")
            })?),
            _ => {
                words = args.words.iter();
                None
            }
        };
        let order = if is_filtered { "NAME [VALUE], because a filter chooses" } else { "ID NAME [VALUE]" };
        let name = words
            .next()
            .ok_or_else(|| Fault::usage("the signal has no name").hint(format!("the words are {order}")))?;
        let value = match words.next() {
            None if args.text => {
                return Err(
                    Fault::usage("--text has no VALUE to send").hint(format!("the words are {order}"))
                );
            }
            None => Value::Null,
            Some(word) if args.text => Value::String(word.clone()),
            Some(word) => value::json(word).map_err(|problem| {
                Fault::usage(format!("the value {word:?} is {problem}")).hint("--text sends it as a text")
            })?,
        };
        if let Some(word) = words.next() {
            return Err(
                Fault::usage(format!("{word:?} is one word too many")).hint(format!("the words are {order}"))
            );
        }
        Ok(Self { id, name: name.clone(), value })
    }
}

pub(crate) async fn run(stent: &Stent, args: &Signal, asked: Asked, out: &mut Out) -> Result<()> {
    let Asked { id, name, value } = asked;
    let (mut ids, mut more) = (Vec::from_iter(id), false);
    if ids.is_empty() {
        let open = cancel::open(stent, &args.select, args.max).await?;
        let now = stent.store().clock().await?;
        let show = (json::execution, |matched: &[ExecutionView]| list::table(matched, now));
        if !act::confirmed(SIGNAL, &args.confirm, &open.items, open.more, out, show)? {
            return Ok(());
        }
        ids.extend(open.items.iter().map(|view| view.id));
        more = open.more;
    }
    let one = async |id: ExecutionId| stent.send_signal(id, &name, &value).await.map(|()| None);
    act::each(SIGNAL, &ids, more, out, one).await
}
