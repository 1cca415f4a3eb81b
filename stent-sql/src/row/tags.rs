//! Tags as texts: a JSON array.

use std::collections::BTreeSet;

pub(crate) fn to_text(tags: &BTreeSet<String>) -> String {
    // Tags are texts, so encoding cannot fail.
    serde_json::to_string(tags).unwrap_or_else(|_| "[]".to_owned())
}

pub(super) fn from_text(text: &str) -> serde_json::Result<BTreeSet<String>> {
    match text {
        "[]" => Ok(BTreeSet::new()),
        text => serde_json::from_str(text),
    }
}

/// A tag as it occurs in the text of a task's tags.
pub(crate) fn quoted(tag: &str) -> String {
    serde_json::to_string(tag).unwrap_or_default()
}
