//! Notes that running code writes about its execution, as cases write them.

use stent_core::model::Note;
use stent_core::{Payload, TaskId};

use crate::task::text;

/// Adds to a counter.
pub(crate) fn count(name: &str, add: i64) -> Note {
    Note::Count { name: name.to_owned(), add }
}

/// Starts a counter at a value, unless it has started.
pub(crate) fn count_from(name: &str, value: i64) -> Note {
    Note::CountFrom { name: name.to_owned(), value }
}

/// Sets a state to a text.
pub(crate) fn set(name: &str, value: &str) -> Note {
    set_to(name, text(value))
}

/// Sets a state.
pub(crate) fn set_to(name: &str, value: Payload) -> Note {
    Note::Set { name: name.to_owned(), value }
}

/// Sets a state to a text, unless the state is already set.
pub(crate) fn set_from(name: &str, value: &str) -> Note {
    Note::SetFrom { name: name.to_owned(), value: text(value) }
}

/// A progress entry.
pub(crate) fn progress(id: TaskId, text: &str) -> Note {
    Note::Progress { id, text: text.to_owned() }
}
