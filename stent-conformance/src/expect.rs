//! Assertions that print the expected and the actual value.

use std::fmt::Debug;

use stent_core::transition::{News, Outcome};

/// Asserts that two values are equal; `what` names them.
#[track_caller]
pub(crate) fn same<A, E>(what: &str, actual: A, expected: E)
where
    A: Debug + PartialEq<E>,
    E: Debug,
{
    assert!(actual == expected, "{what}\n  expected: {expected:?}\n    actual: {actual:?}");
}

/// Asserts that a transition was applied by this call, and returns its news.
#[track_caller]
pub(crate) fn applied(outcome: Outcome) -> News {
    match outcome {
        Outcome::Applied(news) => news,
        other => panic!("the outcome of a transition\n  expected: Applied(..)\n    actual: {other:?}"),
    }
}

/// Asserts that a transition had been applied before, and returns its news.
#[track_caller]
pub(crate) fn already(outcome: Outcome) -> News {
    match outcome {
        Outcome::Already(news) => news,
        other => panic!("the outcome of a transition\n  expected: Already(..)\n    actual: {other:?}"),
    }
}
