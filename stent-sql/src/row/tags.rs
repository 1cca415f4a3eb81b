//! Tags as texts: a JSON array.

use std::collections::BTreeSet;

pub(crate) fn to_text(tags: &BTreeSet<String>) -> String {
    // Of texts alone, so it cannot fail.
    serde_json::to_string(tags).unwrap_or_else(|_| "[]".to_owned())
}

pub(super) fn from_text(text: &str) -> serde_json::Result<BTreeSet<String>> {
    match text {
        "[]" => Ok(BTreeSet::new()),
        text => serde_json::from_str(text),
    }
}

/// A tag as it stands in the text of those that have it.
pub(crate) fn quoted(tag: &str) -> String {
    serde_json::to_string(tag).unwrap_or_default()
}
