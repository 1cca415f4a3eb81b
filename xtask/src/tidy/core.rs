//! Checks that the core is pure: it depends on no crate that does I/O, reads a clock or draws random numbers, and its code
//! names no module of the standard library that does.
//!
//! `stent-core/clippy.toml` bans clocks, hash maps and single functions, and sees through aliases; it cannot ban a module.

use std::collections::BTreeSet;

use super::Finding;
use super::checkout::File;
use super::source::{self, What};

const ROOT: &str = "stent-core/src/lib.rs";

const MODULES: &[&str] = &["std::env", "std::fs", "std::net", "std::process", "std::thread"];

/// Crates that may not be in core's dependency tree, including all whose names begin with one of these and a dash
/// or an underscore. `getrandom` comes with features such as uuid's v4 and v7.
const CRATES: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "mio",
    "sqlx",
    "sea-orm",
    "sea-query",
    "rand",
    "fastrand",
    "getrandom",
    "chrono",
];

/// Whether a name is `whole`, or begins with `whole` and one of these characters.
fn is_within(name: &str, whole: &str, then: &[char]) -> bool {
    name.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(then))
}

pub(super) fn check(tree: &BTreeSet<String>, files: &[File]) -> Vec<Finding> {
    let is_banned = |name: &&String| CRATES.iter().any(|banned| is_within(name, banned, &['-', '_']));
    let crates = tree.iter().filter(is_banned).map(|name| {
        let remedy = format!(
            "time and chance are arguments, I/O is for backends; see `cargo tree -p stent-core -i {name}`"
        );
        Finding::new("stent-core/Cargo.toml", format!("core stands on {name}"), remedy)
    });
    let found = source::of_crate(ROOT, files);
    let modules = found.iter().filter(|found| found.is_shipped).filter_map(|found| {
        let What::Path(path) = &found.piece.what else { return None };
        let module = MODULES.iter().find(|module| is_within(&path.text(), module, &[':']))?;
        let remedy = "leave it to a backend or to the runtime";
        Some(Finding::new(&found.file.path, format!("core uses {module}"), remedy).at(found.piece.line))
    });
    crates.chain(modules).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(crates: &[&str], path: &str, text: &str) -> Vec<String> {
        let tree = crates.iter().map(|name| (*name).to_owned()).collect();
        check(&tree, &[File::new(path, text)]).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn each_banned_module_is_found_however_it_is_named() {
        for module in MODULES {
            let inner = module.trim_start_matches("std::");
            for text in [
                format!("fn f() {{ {module}::x(); }}"),
                format!("use std::{{fmt, {inner}::{{Y}}}};"),
                format!("use ::std::{{fmt, {inner} as other}};"),
                format!("fn f() {{ m!(&{module}::x) }}"),
            ] {
                assert_eq!(whats(&[], ROOT, &text), [format!("core uses {module}")], "{text}");
            }
        }
        let fine = "//! Never std::fs.\nuse std::environment; fn f() { mystd::env::x(); env::x() }\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(whats(&[], ROOT, fine), [""; 0]);
        assert_eq!(whats(&[], "stent/src/lib.rs", "use std::fs;"), [""; 0]);
    }

    #[test]
    fn each_banned_family_of_crates_is_found() {
        for name in CRATES {
            assert_eq!(whats(&[name, &format!("{name}-x")], ROOT, "").len(), 2, "{name}");
        }
        assert_eq!(whats(&["stent-core", "uuid", "randomize-not-banned"], ROOT, ""), [""; 0]);
    }
}
