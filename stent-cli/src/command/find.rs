//! Finds the execution that a person means by the first characters of its id.

use stent::view::Filter;
use stent::{ExecutionId, Stent, Uuid};

use crate::fault::{Fault, NOT_FOUND, Result};
use crate::value::Prefix;

/// Candidates that an error has room for.
const CANDIDATES: usize = 5;

/// The one execution whose id begins so. A whole id is not looked up.
///
/// # Errors
/// If there is none, or more than one: a guess could be wrong.
pub(crate) async fn execution(stent: &Stent, prefix: &Prefix) -> Result<ExecutionId> {
    let Prefix { text, first, last } = prefix;
    if first == last {
        return Ok(*first);
    }
    let before =
        last.as_uuid().as_u128().checked_add(1).map(|id| ExecutionId::from_uuid(Uuid::from_u128(id)));
    let newest = stent.inspect().list(&Filter::default(), before, CANDIDATES + 1).await?;
    let found: Vec<_> = newest.iter().map(|view| view.id).take_while(|id| id >= first).collect();
    match found.as_slice() {
        [] => Err(Fault::new(NOT_FOUND, format!("no execution has an id that begins with {text}"))
            .hint("`stent list` shows the executions of the store; check --store, too")),
        [one] => Ok(*one),
        many => {
            let mut names: Vec<_> = many.iter().take(CANDIDATES).map(ToString::to_string).collect();
            if many.len() > CANDIDATES {
                names.push("and more".to_owned());
            }
            Err(Fault::usage(format!("several ids begin with {text}: {}", names.join(", ")))
                .hint("add characters until only one is left"))
        }
    }
}
