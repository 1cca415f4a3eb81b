//! Names of functions, as stores keep them: `charge`, or `charge@2` when the function has a version.
//!
//! To everything but people, `charge@2` is a name like any other: a lane, a claim, a record and a registry compare whole
//! names. So work of a version waits for a worker that has that very version.

/// What stands between a name and its version, and in neither.
const SEPARATOR: char = '@';

/// The stored name of a version of a function.
///
/// ```
/// use stent_core::model::{split_version, versioned};
///
/// assert_eq!(versioned("charge", Some("2")), "charge@2");
/// assert_eq!(split_version("charge@2"), ("charge", Some("2")));
/// assert_eq!(split_version("charge"), ("charge", None));
/// ```
#[must_use]
pub fn versioned(name: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{name}{SEPARATOR}{version}"),
        None => name.to_owned(),
    }
}

/// A stored name, taken apart into the name that versions share and the version.
#[must_use]
pub fn split_version(stored: &str) -> (&str, Option<&str>) {
    match stored.split_once(SEPARATOR) {
        Some((name, version)) => (name, Some(version)),
        None => (stored, None),
    }
}
