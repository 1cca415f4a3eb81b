//! What core's code may not call: clocks, chance, the outside world, and maps without an order.
//!
//! `stent-core/clippy.toml` says the same to the compiler, which sees through aliases; this rule needs no build and
//! sees whole modules, which clippy cannot ban.

use std::collections::BTreeMap;

use super::Finding;
use super::checkout::File;
use super::source::{self, Module};

const ROOT: &str = "stent-core/src/lib.rs";

struct Ban {
    /// A path as it stands in code, or within one.
    path: &'static str,
    instead: &'static str,
}

const TIME: &str = "take `now: Timestamp` as an argument";
const WORLD: &str = "leave it to a backend or to the runtime";
const CHANCE: &str = "take ids and chance as arguments";
const ORDER: &str = "use BTreeMap or BTreeSet: the order of a hash map differs from run to run";

const BANS: &[Ban] = &[
    Ban { path: "SystemTime::now", instead: TIME },
    Ban { path: "Instant::now", instead: TIME },
    Ban { path: "OffsetDateTime::now_utc", instead: TIME },
    Ban { path: "OffsetDateTime::now_local", instead: TIME },
    Ban { path: "std::fs", instead: WORLD },
    Ban { path: "std::net", instead: WORLD },
    Ban { path: "std::env", instead: WORLD },
    Ban { path: "std::process", instead: WORLD },
    Ban { path: "thread::sleep", instead: WORLD },
    Ban { path: "thread::spawn", instead: WORLD },
    Ban { path: "rand", instead: CHANCE },
    Ban { path: "getrandom", instead: CHANCE },
    Ban { path: "Uuid::new_v4", instead: CHANCE },
    Ban { path: "Uuid::now_v7", instead: CHANCE },
    Ban { path: "HashMap", instead: ORDER },
    Ban { path: "HashSet", instead: ORDER },
    Ban { path: "RandomState", instead: ORDER },
    Ban { path: "DefaultHasher", instead: ORDER },
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let modules = source::modules(ROOT, files).into_iter().filter(|module| !module.is_test);
    modules.flat_map(|module| in_module(&module)).collect()
}

fn in_module(module: &Module<'_>) -> Vec<Finding> {
    let mut found = BTreeMap::new();
    for path in module.items.iter().map(source::shipped).flat_map(source::paths) {
        // Also within a longer path: a ban on a module is one on all that is in it.
        let path_text = format!("::{}::", path.text());
        if let Some(ban) = BANS.iter().find(|ban| path_text.contains(&format!("::{}::", ban.path))) {
            // One finding a line and a remedy is enough to be seen.
            found.entry((path.line, ban.instead)).or_insert(ban.path);
        }
    }
    let finding = |((line, instead), path)| {
        Finding::new(&module.file.path, format!("core uses {path}"), instead).at(line)
    };
    found.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check(&[File::new(ROOT, text)])
            .iter()
            .map(|finding| format!("{}:{}", finding.line.unwrap_or(0), finding.what))
            .collect()
    }

    #[test]
    fn each_ban_is_found() {
        for Ban { path, .. } in BANS {
            assert_eq!(found(&format!("fn f() {{\n    {path}::x(); }}")), [format!("2:core uses {path}")]);
            assert_eq!(found(&format!("fn f() {{ m!(y::{path}) }}")), [format!("1:core uses {path}")]);
        }
    }

    #[test]
    fn imports_are_found_and_names_that_only_begin_alike_pass() {
        assert_eq!(found("use std::{fmt, fs::File};"), ["1:core uses std::fs"]);
        assert_eq!(found("fn f() { MyInstant::now(); Instant::nowhere(); operand::x }"), [""; 0]);
    }

    #[test]
    fn tests_comments_and_other_crates_may() {
        let text = "//! Never SystemTime::now.\n#[cfg(test)]\nmod tests { use std::collections::HashSet; }";
        assert_eq!(found(text), [""; 0]);
        assert_eq!(check(&[File::new("stent/src/lib.rs", "use std::fs;")]), []);
    }
}
