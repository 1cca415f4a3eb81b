//! Dependencies between the crates of the house point one way.

use super::Finding;
use super::checkout::{Dependency, Member};

/// What a crate may depend on within the workspace.
struct Edges {
    from: &'static str,
    /// Seen by the crate itself, so by its users too.
    to: &'static [&'static str],
    /// Seen by its tests only, beyond `to`. These close a circle, so they carry a path and no version: a crate with a
    /// versioned circle cannot be published.
    tests_to: &'static [&'static str],
}

/// The house. A new line here is a line in ARCHITECTURE.md and a commit of its own.
const HOUSE: &[Edges] = &[
    Edges { from: "stent-units", to: &[], tests_to: &[] },
    Edges { from: "stent-core", to: &["stent-units"], tests_to: &[] },
    Edges { from: "stent-conformance", to: &["stent-core", "stent-memory"], tests_to: &[] },
    Edges { from: "stent-memory", to: &["stent-core"], tests_to: &["stent-conformance"] },
    Edges { from: "stent-sql", to: &["stent-core"], tests_to: &[] },
    Edges { from: "stent-sqlite", to: &["stent-core", "stent-sql"], tests_to: &["stent-conformance"] },
    Edges { from: "stent-postgres", to: &["stent-core", "stent-sql"], tests_to: &["stent-conformance"] },
    Edges { from: "stent-macros", to: &["stent-units"], tests_to: &["stent"] },
    Edges {
        from: "stent",
        to: &["stent-core", "stent-macros", "stent-memory", "stent-postgres", "stent-sqlite"],
        tests_to: &[],
    },
    Edges { from: "stent-examples", to: &["stent"], tests_to: &[] },
    // Written as a third party would: against the core and the suite, and in no crate's way.
    Edges { from: "custom-backend", to: &["stent", "stent-core"], tests_to: &["stent-conformance"] },
    Edges { from: "stent-bench", to: &["stent"], tests_to: &[] },
    Edges { from: "stent-chaos", to: &["stent"], tests_to: &[] },
    Edges { from: "xtask", to: &[], tests_to: &[] },
];

pub(super) fn check(members: &[Member]) -> Vec<Finding> {
    let is_ours = |dependency: &&Dependency| members.iter().any(|member| member.name == dependency.name);
    let mut findings = Vec::new();
    for member in members {
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
        Member {
            name: name.into(),
            manifest: format!("{name}/Cargo.toml"),
            dependencies: dependencies.to_vec(),
            targets: Vec::new(),
        }
    }

    fn on(name: &str) -> Dependency {
        Dependency { name: name.into(), is_dev: false, has_path: true, has_version: true }
    }

    fn dev_on(name: &str) -> Dependency {
        Dependency { is_dev: true, has_version: false, ..on(name) }
    }

    fn whats(members: &[Member]) -> Vec<String> {
        check(members).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn edges_of_the_house_pass() {
        let house = [
            member("stent-core", &[on("serde")]),
            member("stent-conformance", &[on("stent-core")]),
            member("stent-memory", &[on("stent-core"), dev_on("stent-conformance")]),
        ];
        assert_eq!(check(&house), []);
    }

    #[test]
    fn an_edge_against_the_direction_is_found() {
        let house =
            [member("stent-core", &[on("stent-memory")]), member("stent-memory", &[on("stent-core")])];
        assert_eq!(whats(&house), ["stent-core must not see stent-memory"]);
    }

    #[test]
    fn a_build_or_test_edge_is_an_edge_too() {
        let house = [member("stent-core", &[dev_on("stent-memory")]), member("stent-memory", &[])];
        assert_eq!(whats(&house), ["tests of stent-core must not see stent-memory"]);
    }

    #[test]
    fn the_suite_is_for_tests_and_without_a_version() {
        let suite = member("stent-conformance", &[]);
        let normal = [member("stent-sqlite", &[on("stent-conformance")]), suite.clone()];
        assert_eq!(whats(&normal), ["stent-sqlite must not see stent-conformance"]);

        let versioned = Dependency { is_dev: true, ..on("stent-conformance") };
        let house = [member("stent-sqlite", &[versioned]), suite];
        assert_eq!(
            whats(&house),
            ["the dev-dependency on stent-conformance closes a circle and has a version"]
        );
    }

    #[test]
    fn a_crate_that_nobody_has_placed_is_found() {
        assert_eq!(whats(&[member("stent-utils", &[])]), ["stent-utils is not in the house"]);
    }
}
