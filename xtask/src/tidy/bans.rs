//! What core's code may not call: clocks, chance, the outside world, and maps without an order.
//!
//! `stent-core/clippy.toml` says the same to the compiler, which sees through aliases; this rule needs no build and
//! sees whole modules, which clippy cannot ban.

use super::Finding;
use super::checkout::File;
use super::source;

struct Ban {
    /// A path as it stands in code, or the path of a module that is not to be imported either.
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
    Ban { path: "std::thread::sleep", instead: WORLD },
    Ban { path: "std::thread::spawn", instead: WORLD },
    Ban { path: "thread::sleep", instead: WORLD },
    Ban { path: "thread::spawn", instead: WORLD },
    Ban { path: "rand::", instead: CHANCE },
    Ban { path: "getrandom::", instead: CHANCE },
    Ban { path: "Uuid::new_v4", instead: CHANCE },
    Ban { path: "Uuid::now_v7", instead: CHANCE },
    Ban { path: "HashMap", instead: ORDER },
    Ban { path: "HashSet", instead: ORDER },
    Ban { path: "RandomState", instead: ORDER },
    Ban { path: "DefaultHasher", instead: ORDER },
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let core = files.iter().filter(|file| file.path.starts_with("stent-core/src/") && file.is_rust());
    core.filter(|file| !file.path.ends_with("/tests.rs") && !file.path.contains("/tests/"))
        .flat_map(in_file)
        .collect()
}

fn in_file(file: &File) -> Vec<Finding> {
    let code = source::without_tests(&source::code(&file.text));
    let imports = source::imports(&code);
    let mut places = Vec::new();
    for (index, ban) in BANS.iter().enumerate() {
        places.extend(source::uses(&code, ban.path).into_iter().map(|line| (line, index)));
        let imported = imports.iter().filter(|(_, path)| {
            path.strip_prefix(ban.path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        places.extend(imported.map(|(line, _)| (*line, index)));
    }
    places.sort_unstable();
    places.dedup();
    // `std::thread::sleep` is also `thread::sleep`: one finding a line is enough to be seen.
    places.dedup_by_key(|(line, index)| (*line, BANS[*index].instead));
    let finding = |(line, index): (usize, usize)| {
        let Ban { path, instead } = &BANS[index];
        Finding::new(&file.path, format!("core uses {path}"), *instead).at(line)
    };
    places.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&[File::new(path, text)])
            .iter()
            .map(|finding| format!("{}:{}", finding.line.unwrap_or(0), finding.what))
            .collect()
    }

    #[test]
    fn each_ban_is_found() {
        for ban in BANS {
            let text = format!(
                "fn f() {{\n    {}x();\n}}",
                if ban.path.ends_with("::") { ban.path.to_owned() } else { format!("{} ; ", ban.path) }
            );
            assert_eq!(found("stent-core/src/a.rs", &text).len(), 1, "{}", ban.path);
        }
    }

    #[test]
    fn an_import_in_braces_is_found() {
        assert_eq!(found("stent-core/src/a.rs", "use std::{fmt, fs::File};"), ["1:core uses std::fs"]);
    }

    #[test]
    fn tests_comments_and_other_crates_may() {
        let text = "//! Never SystemTime::now.\n#[cfg(test)]\nmod tests { use std::collections::HashSet; }";
        assert_eq!(found("stent-core/src/a.rs", text), [""; 0]);
        assert_eq!(found("stent-core/src/replay/tests.rs", "HashSet"), [""; 0]);
        assert_eq!(found("stent/src/a.rs", "std::fs::read()"), [""; 0]);
    }
}
