//! Checks that dependencies between the project's crates point one way, and that every crate inherits the settings of the
//! workspace.

use super::Finding;
use super::checkout::{Dependency, File, Member};

/// The allowed dependencies of a crate within the workspace.
struct Edges {
    from: &'static str,
    /// Dependencies of the crate itself, and so of its users.
    to: &'static [&'static str],
    /// Additional dependencies of its tests. These close a circle, so they have a path and no version: a crate in a
    /// circle with versions cannot be published.
    tests_to: &'static [&'static str],
}

/// All crates. A new line here needs a line in ARCHITECTURE.md and a commit of its own.
const HOUSE: &[Edges] = &[
    Edges { from: "stent-units", to: &[], tests_to: &[] },
    Edges { from: "stent-core", to: &["stent-units"], tests_to: &[] },
    Edges { from: "stent-conformance", to: &["stent-core", "stent-memory"], tests_to: &[] },
    Edges { from: "stent-memory", to: &["stent-core"], tests_to: &["stent-conformance"] },
    Edges { from: "stent-sql", to: &["stent-core"], tests_to: &[] },
    Edges { from: "stent-sqlite", to: &["stent-core", "stent-sql"], tests_to: &["stent-conformance"] },
    Edges { from: "stent-postgres", to: &["stent-core", "stent-sql"], tests_to: &["stent-conformance"] },
    Edges { from: "stent-redis", to: &["stent-core"], tests_to: &["stent-conformance"] },
    Edges { from: "stent-macros", to: &["stent-units"], tests_to: &["stent"] },
    Edges {
        from: "stent",
        to: &["stent-core", "stent-macros", "stent-memory", "stent-postgres", "stent-redis", "stent-sqlite"],
        tests_to: &[],
    },
    // Operates stores as an application would, through the library's own calls.
    Edges { from: "stent-cli", to: &["stent"], tests_to: &[] },
    Edges { from: "stent-examples", to: &["stent"], tests_to: &[] },
    // Written like a third party's store: against the core and the suite, and used by no crate.
    Edges { from: "custom-backend", to: &["stent", "stent-core"], tests_to: &["stent-conformance"] },
    // A package of its own, so that the other examples do not build a web server.
    Edges { from: "service", to: &["stent"], tests_to: &[] },
    Edges { from: "stent-bench", to: &["stent"], tests_to: &[] },
    Edges { from: "stent-chaos", to: &["stent"], tests_to: &[] },
    Edges { from: "xtask", to: &[], tests_to: &[] },
];

/// The lines of a manifest that inherits edition, licence and lints from the workspace. Cargo has a lint for the last,
/// which is not stable yet.
const INHERITED: &[&str] =
    &["edition.workspace = true", "license.workspace = true", "[lints]\nworkspace = true"];

pub(super) fn check(members: &[Member], files: &[File]) -> Vec<Finding> {
    let is_ours = |dependency: &&Dependency| members.iter().any(|member| member.name == dependency.name);
    let mut findings = Vec::new();
    for member in members {
        let manifest = files.iter().find(|file| file.path == member.manifest);
        let manifest = manifest.map_or("", |file| file.text.as_str());
        let missing = INHERITED.iter().filter(|line| !manifest.contains(**line));
        findings.extend(missing.map(|line| {
            Finding::new(
                &member.manifest,
                "it does not take from the workspace what is set there",
                format!("write {line:?}"),
            )
        }));
        let Some(edges) = HOUSE.iter().find(|edges| edges.from == member.name) else {
            findings.push(Finding::new(
                &member.manifest,
                format!("{} is not in the house", member.name),
                "add what it may depend on to xtask/src/tidy/edges.rs and to ARCHITECTURE.md",
            ));
            continue;
        };
        let ours = member.dependencies.iter().filter(is_ours);
        findings.extend(ours.filter_map(|dependency| judge(member, edges, dependency)));
    }
    findings
}

fn judge(member: &Member, edges: &Edges, dependency: &Dependency) -> Option<Finding> {
    let name = &dependency.name;
    if edges.to.contains(&name.as_str()) {
        return None;
    }
    let for_tests = dependency.is_dev && edges.tests_to.contains(&name.as_str());
    if !for_tests {
        let kind = if dependency.is_dev { "tests of " } else { "" };
        return Some(Finding::new(
            &member.manifest,
            format!("{kind}{} must not see {name}", member.name),
            "move the code to the side of the edge that may know it; the edges are in xtask/src/tidy/edges.rs",
        ));
    }
    (dependency.has_version || !dependency.has_path).then(|| {
        Finding::new(
            &member.manifest,
            format!("the dev-dependency on {name} closes a circle and has a version"),
            format!("write it as `{name}.path = \"../{name}\"`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[Dependency]) -> Member {
        let manifest = format!("{name}/Cargo.toml");
        Member { name: name.into(), manifest, dependencies: dependencies.to_vec(), programs: Vec::new() }
    }

    fn on(name: &str) -> Dependency {
        Dependency { name: name.into(), is_dev: false, has_path: true, has_version: true }
    }

    fn dev_on(name: &str) -> Dependency {
        Dependency { is_dev: true, has_version: false, ..on(name) }
    }

    fn whats(members: &[Member]) -> Vec<String> {
        let manifest = |member: &Member| File::new(&member.manifest, INHERITED.join("\n"));
        let files: Vec<_> = members.iter().map(manifest).collect();
        check(members, &files).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn edges_of_the_house_pass() {
        let house = [
            member("stent-core", &[on("serde")]),
            member("stent-conformance", &[on("stent-core")]),
            member("stent-memory", &[on("stent-core"), dev_on("stent-conformance")]),
        ];
        assert_eq!(whats(&house), [""; 0]);
    }

    #[test]
    fn an_edge_against_the_direction_is_found() {
        let suite = member("stent-conformance", &[]);
        let versioned = Dependency { is_dev: true, ..on("stent-conformance") };
        for (from, to, what) in [
            ("stent-core", on("stent-memory"), "stent-core must not see stent-memory"),
            ("stent-core", dev_on("stent-memory"), "tests of stent-core must not see stent-memory"),
            ("stent-sqlite", on("stent-conformance"), "stent-sqlite must not see stent-conformance"),
            (
                "stent-sqlite",
                versioned,
                "the dev-dependency on stent-conformance closes a circle and has a version",
            ),
        ] {
            assert_eq!(whats(&[member(from, &[to]), member("stent-memory", &[]), suite.clone()]), [what]);
        }
    }

    #[test]
    fn a_crate_that_nobody_has_placed_is_found() {
        assert_eq!(whats(&[member("stent-utils", &[])]), ["stent-utils is not in the house"]);
    }

    #[test]
    fn a_crate_with_its_own_edition_licence_or_lints_is_found() {
        assert_eq!(check(&[member("stent-core", &[])], &[]).len(), INHERITED.len());
    }
}
