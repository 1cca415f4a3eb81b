//! Every crate takes its lints, edition and licence from the workspace.

use toml::{Table, Value};

use super::Finding;
use super::checkout::{File, Member};

/// Keys of `[package]` that are set once, in the root.
const INHERITED: &[&str] = &["edition", "license"];

pub(super) fn check(members: &[Member], files: &[File]) -> Vec<Finding> {
    members
        .iter()
        .flat_map(|member| {
            let manifest = files.iter().find(|file| file.path == member.manifest);
            manifest.map_or_else(Vec::new, in_manifest)
        })
        .collect()
}

fn in_manifest(file: &File) -> Vec<Finding> {
    let table: Table = match file.text.parse() {
        Ok(table) => table,
        Err(error) => {
            return vec![Finding::new(&file.path, format!("it is no TOML: {}", error.message()), "mend it")];
        }
    };
    let package = table.get("package");
    let own = INHERITED.iter().filter(|key| !inherits(package.and_then(|package| package.get(key))));
    let own = own.map(|key| {
        let remedy = format!("write `{key}.workspace = true` under [package]");
        Finding::new(&file.path, format!("its {key} is not the workspace's"), remedy)
    });
    let lints = (!inherits(table.get("lints"))).then(|| {
        Finding::new(
            &file.path,
            "its lints are not the workspace's",
            "write `workspace = true` under [lints]",
        )
    });
    own.chain(lints).collect()
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\nedition.workspace = true\nlicense = { workspace = true }\n\n[lints]\nworkspace = true\n";

    fn whats(text: &str) -> Vec<String> {
        in_manifest(&File::new("a/Cargo.toml", text)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_crate_that_inherits_passes_in_either_spelling() {
        assert_eq!(whats(GOOD), [""; 0]);
    }

    #[test]
    fn what_is_not_inherited_is_found() {
        let own = GOOD.replace("edition.workspace = true", "edition = \"2021\"");
        assert_eq!(whats(&own), ["its edition is not the workspace's"]);
        let none = GOOD.replace("license = { workspace = true }\n", "");
        assert_eq!(whats(&none), ["its license is not the workspace's"]);
        let none = GOOD.replace("[lints]\nworkspace = true", "");
        assert_eq!(whats(&none), ["its lints are not the workspace's"]);
        assert_eq!(whats("[package").len(), 1);
    }

    #[test]
    fn only_members_are_looked_at() {
        let member = Member {
            name: "a".into(),
            manifest: "a/Cargo.toml".into(),
            dependencies: Vec::new(),
            targets: Vec::new(),
        };
        let files = [File::new("a/Cargo.toml", "[package]"), File::new("b/Cargo.toml", "[package]")];
        assert!(check(&[member], &files).iter().all(|finding| finding.path == "a/Cargo.toml"));
    }
}
