//! Names of functions as stores keep them: `charge`, or `charge@2` if the function has a version.
//!
//! Only people see a version in `charge@2`: lanes, claims, records and registries compare whole names. So work of a version
//! waits for a worker that has exactly this version.

/// The separator between a name and its version; neither may contain it.
const SEPARATOR: char = '@';

/// The stored name of a function's version.
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

/// Splits a stored name into the name that versions share, and the version.
#[must_use]
pub fn split_version(stored: &str) -> (&str, Option<&str>) {
    match stored.split_once(SEPARATOR) {
        Some((name, version)) => (name, Some(version)),
        None => (stored, None),
    }
}
