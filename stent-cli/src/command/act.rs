//! Acts on many executions: shows what a filter matches, asks for `--yes`, and reports each result.

use futures::future::join_all;
use serde_json::{Value, json};
use stent::{Error, ExecutionId};

use crate::cli::{Confirm, Format};
use crate::fault::{FAILED, Fault, NOT_FOUND, Result, USAGE};
use crate::out::{Out, tell};
use crate::table::Table;
use crate::text::count;

/// How many requests are sent at once. The library groups them into few commits.
const AT_ONCE: usize = 64;

/// Most executions of a preview.
const SHOWN: usize = 20;

/// An act in words: to `cancel` executions, which are then `cancelled`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act<'a> {
    pub(crate) verb: &'static str,
    pub(crate) done: &'static str,
    /// The noun for its object.
    pub(crate) noun: &'static str,
    /// The remedy for matches beyond `--max`.
    pub(crate) rest: &'static str,
    /// The place to which it brings its objects, in words that follow the verb: ` on queue "eu"`. Empty if they stay.
    pub(crate) place: &'a str,
}

/// Whether to act on what a filter has matched. If not, shows it.
///
/// # Errors
/// If neither `--yes` nor `--dry-run` was given: a script that forgot the one must not go on as if it had been done.
pub(crate) fn confirmed<T>(
    act: Act<'_>,
    confirm: &Confirm,
    matched: &[T],
    more: bool,
    out: &mut Out,
    show: (impl Fn(&T) -> Value, impl FnOnce(&[T]) -> Table),
) -> Result<bool> {
    if confirm.yes {
        return Ok(true);
    }
    let shown = if out.format == Format::Table { &matched[..matched.len().min(SHOWN)] } else { matched };
    out.list(shown, show.0, show.1)?;
    out.flush()?;
    if shown.len() < matched.len() {
        tell(format!("… and {} more", matched.len() - shown.len()));
    }
    let n = count(matched.len(), act.noun);
    let n = match (more, matched.len()) {
        (true, _) => format!("{n} (--max) or more match"),
        (false, 1) => format!("{n} matches"),
        (false, _) => format!("{n} match"),
    };
    if confirm.dry_run || matched.is_empty() {
        let asked = match act.place {
            "" => String::new(),
            place => format!(", to {}{place}", act.verb),
        };
        tell(format!("{n}{asked}; nothing was changed"));
        return Ok(false);
    }
    Err(Fault::new(USAGE, format!("{n}, and nothing was changed"))
        .hint(format!("add --yes to {} them{}, or --dry-run to only look", act.verb, act.place)))
}

/// Acts on each execution, and reports the results in order. `more` says that the filter matched more than these.
///
/// # Errors
/// If one of them failed; the others were done all the same. If the store failed, in which case the rest may not have
/// been tried. If more match.
pub(crate) async fn each(
    act: Act<'_>,
    ids: &[ExecutionId],
    more: bool,
    out: &mut Out,
    one: impl AsyncFn(ExecutionId) -> stent::Result<Option<String>>,
) -> Result<()> {
    let (mut reports, mut faults, mut broken) = (Vec::new(), Vec::new(), None);
    for some in ids.chunks(AT_ONCE) {
        let results = join_all(some.iter().map(|id| one(*id))).await;
        for (id, result) in some.iter().zip(results) {
            let is_store = matches!(result, Err(Error::Store(_)));
            match result.map_err(Fault::from) {
                Ok(state) => reports.push((*id, Ok(state))),
                Err(fault) => {
                    reports.push((*id, Err(fault.message().to_owned())));
                    if is_store {
                        // There is no sense in telling this of every execution.
                        broken.get_or_insert(fault);
                    } else {
                        faults.push(fault);
                    }
                }
            }
        }
        if broken.is_some() {
            break;
        }
    }
    match out.format {
        Format::Table => {
            for (id, result) in &reports {
                match result {
                    Ok(Some(state)) => out.line(format!("{id} is {state}"))?,
                    Ok(None) => out.line(format!("{id} {}{}", act.done, act.place))?,
                    Err(_) => {}
                }
            }
        }
        Format::Json | Format::Jsonl => out.list(&reports, report, |_| Table::new())?,
    }
    out.flush()?;
    if ids.len() == 1 && !more {
        return broken.or(faults.pop()).map_or(Ok(()), Err);
    }
    for fault in &faults {
        tell(format!("error: {}", fault.message()));
    }
    let done = reports.iter().filter(|(_, result)| result.is_ok()).count();
    tell(format!("{} {done} of {}{}", act.done, count(ids.len(), act.noun), act.place));
    if let Some(fault) = broken {
        return Err(fault);
    }
    if more {
        let n = count(ids.len(), act.noun);
        return Err(Fault::new(
            FAILED,
            format!("there are more matches than {n} (--max), and the others were not {}", act.done),
        )
        .hint(act.rest));
    }
    match faults.first() {
        None => Ok(()),
        Some(_) if faults.iter().all(|fault| fault.code() == NOT_FOUND) => Err(Fault::told(NOT_FOUND)),
        Some(_) => Err(Fault::told(FAILED)),
    }
}

fn report((id, result): &(ExecutionId, std::result::Result<Option<String>, String>)) -> Value {
    match result {
        Ok(state) => json!({ "id": id.to_string(), "done": true, "state": state }),
        Err(error) => json!({ "id": id.to_string(), "done": false, "error": error }),
    }
}
