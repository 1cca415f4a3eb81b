//! Claims that say what was expected and what came.

use std::fmt::Debug;

use stent_core::transition::{News, Outcome};

/// Claims that two things are the same; `what` names the thing.
#[track_caller]
pub(crate) fn same<A, E>(what: &str, actual: A, expected: E)
where
    A: Debug + PartialEq<E>,
    E: Debug,
{
    assert!(actual == expected, "{what}\n  expected: {expected:?}\n    actual: {actual:?}");
}

/// Claims that a transition was applied now, and gives what was learned with it.
#[track_caller]
pub(crate) fn applied(outcome: Outcome) -> News {
    match outcome {
        Outcome::Applied(news) => news,
        other => panic!("the outcome of a transition\n  expected: Applied(..)\n    actual: {other:?}"),
    }
}

/// Claims that a transition stood before.
#[track_caller]
pub(crate) fn already(outcome: Outcome) -> News {
    match outcome {
        Outcome::Already(news) => news,
        other => panic!("the outcome of a transition\n  expected: Already(..)\n    actual: {other:?}"),
    }
}
