//! What stent-core stands on: nothing that does I/O, reads a clock or draws chance.

use std::collections::BTreeSet;

use super::Finding;

/// A crate that may not be in core's tree, with all whose names begin with its name and a dash or an underscore.
struct Ban {
    family: &'static str,
    reason: &'static str,
}

const BANS: &[Ban] = &[
    Ban { family: "tokio", reason: "core starts nothing; the runtime polls it" },
    Ban { family: "async-std", reason: "core starts nothing; the runtime polls it" },
    Ban { family: "smol", reason: "core starts nothing; the runtime polls it" },
    Ban { family: "mio", reason: "core does no I/O" },
    Ban { family: "sqlx", reason: "SQL lives in stent-sql and below it" },
    Ban { family: "sea-orm", reason: "SQL lives in stent-sql and below it" },
    Ban { family: "sea-query", reason: "SQL lives in stent-sql and below it" },
    Ban { family: "rand", reason: "chance is an argument" },
    Ban { family: "fastrand", reason: "chance is an argument" },
    Ban {
        family: "getrandom",
        reason: "chance is an argument; mind features, such as uuid's v4 and v7, that bring it",
    },
    Ban { family: "chrono", reason: "time is an argument, and Timestamp is how it is written" },
];

pub(super) fn check(core_tree: &BTreeSet<String>) -> Vec<Finding> {
    let banned = |name: &&String| {
        BANS.iter().find(|ban| {
            let rest = name.strip_prefix(ban.family);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        })
    };
    let finding = |name: &String, ban: &Ban| {
        Finding::new(
            "stent-core/Cargo.toml",
            format!("core stands on {name}"),
            format!("{}; see `cargo tree -p stent-core -i {name}`", ban.reason),
        )
    };
    core_tree.iter().filter_map(|name| Some(finding(name, banned(&name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(names: &[&str]) -> Vec<String> {
        check(&names.iter().map(|name| (*name).to_owned()).collect())
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn a_pure_tree_passes() {
        assert_eq!(whats(&["stent-core", "uuid", "serde", "time", "randomize-not-banned"]), [""; 0]);
    }

    #[test]
    fn each_banned_family_is_found() {
        for ban in BANS {
            assert_eq!(whats(&[ban.family]), [format!("core stands on {}", ban.family)]);
        }
        assert_eq!(
            whats(&["sqlx-sqlite", "rand_core"]),
            ["core stands on rand_core", "core stands on sqlx-sqlite"]
        );
    }
}
