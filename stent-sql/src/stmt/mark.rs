//! Conditions on the column of marks, which is null or a list of words.
//!
//! Commas separate the words, and `cancel` comes first, so that an index of the tasks that are asked to end does not search the
//! list. A query uses such an index only if it contains the index's condition word for word.

use sea_orm::sea_query::{Alias, BinOper, CaseStatement, Expr, ExprTrait, Func};
use stent_core::model::Mark;

use super::literal;

/// Whether a task has no mark.
pub(super) fn has_no_mark(marks: Expr) -> Expr {
    marks.is_null()
}

/// Whether a task is asked to end, judged by its marks. Null for a task without marks.
pub(super) fn is_asked_to_end(marks: Expr) -> Expr {
    first_word(marks).eq(literal(Mark::Cancel.as_str()))
}

/// The negation of [`is_asked_to_end`]; true for a task without marks.
pub(super) fn is_not_asked_to_end(marks: Expr) -> Expr {
    marks.clone().is_null().or(first_word(marks).ne(literal(Mark::Cancel.as_str())))
}

/// Whether a task has ended because its deadline passed, judged by its marks. Null for a task without marks.
pub(super) fn has_expired(marks: Expr) -> Expr {
    listed(marks).binary(BinOper::Like, containing(Mark::Expire))
}

/// The negation of [`has_expired`]; true for a task without marks.
pub(super) fn has_not_expired(marks: Expr) -> Expr {
    marks.clone().is_null().or(listed(marks).binary(BinOper::NotLike, containing(Mark::Expire)))
}

/// Returns the task's marks with `cancel` added, if it is not among them.
pub(super) fn and_asked_to_end(marks: Expr) -> Expr {
    let cancel = || literal(Mark::Cancel.as_str());
    CaseStatement::new()
        .case(marks.clone().is_null(), cancel())
        .case(is_asked_to_end(marks.clone()), marks.clone())
        .finally(joined(literal(format!("{},", Mark::Cancel)), marks))
        .into()
}

/// Returns the beginning of a list, as many characters as `cancel` has.
fn first_word(marks: Expr) -> Expr {
    let len = i32::try_from(Mark::Cancel.as_str().len()).unwrap_or(i32::MAX);
    Func::cust(Alias::new("substr")).args([marks, literal(1), literal(len)]).into()
}

/// Returns a list with a comma on both sides of each word.
fn listed(marks: Expr) -> Expr {
    joined(joined(literal(","), marks), literal(","))
}

/// Returns a `LIKE` pattern for lists that contain the word.
fn containing(mark: Mark) -> Expr {
    literal(format!("%,{mark},%"))
}

fn joined(one: Expr, other: Expr) -> Expr {
    one.binary(BinOper::Custom("||"), other)
}
