//! Checks names of functions, queues, steps and the like against the limits of stores.

use stent_core::limits::{NAME_BYTES_MAX, TAGS_MAX};

use crate::error::{Error, Result};

/// Checks the tags of a call or of a worker against the limits.
pub(crate) fn check_tags(tags: &[String]) -> Result<()> {
    if tags.len() > TAGS_MAX {
        let problem = format!("there are {} tags; at most {TAGS_MAX} are allowed", tags.len());
        return Err(Error::Option { option: "tag", problem });
    }
    tags.iter().try_for_each(|tag| check_name("tag", tag))
}

/// Checks a name against the limits.
pub(crate) fn check_name(option: &'static str, name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "it is empty; give a name".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("it is {} bytes long; at most {} are allowed", name.len(), NAME_BYTES_MAX)
    } else if name.contains('\0') {
        "it contains a zero character; remove it".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Option { option, problem })
}
