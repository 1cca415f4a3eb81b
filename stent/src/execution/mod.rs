//! Executions from outside: starts them, sends requests to them, waits for them, and sets how long they are kept.

pub(crate) mod by_name;
pub(crate) mod dead_letters;
pub(crate) mod dispatch;
pub(crate) mod export;
pub(crate) mod handle;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod request;
pub(crate) mod result;
pub(crate) mod retention;
pub(crate) mod spawn;
#[cfg(feature = "sql")]
pub(crate) mod within;
