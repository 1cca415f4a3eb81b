//! Reads a checkout once: its text files, its crates as cargo sees them, and what stands below stent-core. The only
//! part of tidy that touches the disk or starts a process.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::camino::Utf8Path;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::command::Command;

/// What the rules look at.
pub(super) struct Checkout {
    pub(super) files: Vec<File>,
    pub(super) members: Vec<Member>,
    /// Names of the crates that stent-core stands on, itself included.
    pub(super) core_tree: BTreeSet<String>,
}

/// A text file, by its path from the root, with slashes.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
    code: OnceCell<syn::Result<syn::File>>,
}

/// A crate of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Its manifest, from the root.
    pub(super) manifest: String,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) targets: Vec<Target>,
}

/// What cargo compiles of a crate.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    /// Whether it is in `tests/`.
    pub(super) is_test: bool,
    /// The root of its source, from the root of the checkout.
    pub(super) source: String,
}

/// A dependency as a manifest declares it.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) is_dev: bool,
    /// Whether it lies in this checkout.
    pub(super) has_path: bool,
    pub(super) has_version: bool,
}

impl File {
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), code: OnceCell::new() }
    }

    /// The file as the compiler reads it.
    pub(super) fn code(&self) -> Result<&syn::File, &syn::Error> {
        self.code.get_or_init(|| syn::parse_file(&self.text)).as_ref()
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

impl Checkout {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        read_folder(root, "", &mut files)?;
        let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
        Ok(Self { files, members: members(&metadata), core_tree: core_tree(root)? })
    }
}

/// Hidden folders that hold text of the project; every other hidden one is a tool's.
const HIDDEN: &[&str] = &[".ci", ".cargo", ".github"];

fn read_folder(root: &Path, folder: &str, files: &mut Vec<File>) -> Result<()> {
    let absolute = root.join(folder);
    let entries =
        std::fs::read_dir(&absolute).with_context(|| format!("cannot read {}", absolute.display()))?;
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let foreign = name == "target" || (name.starts_with('.') && !HIDDEN.contains(&name.as_str()));
            if !foreign {
                read_folder(root, &path, files)?;
            }
        } else if kind.is_file() {
            // A file may go away between the listing and here: other tools work in the same checkout.
            let Ok(bytes) = std::fs::read(entry.path()) else { continue };
            files.extend(String::from_utf8(bytes).map(|text| File::new(path, text)));
        }
    }
    Ok(())
}

fn members(metadata: &Metadata) -> Vec<Member> {
    let root = &metadata.workspace_root;
    let from_root = |path: &Utf8Path| path.strip_prefix(root).unwrap_or(path).as_str().replace('\\', "/");
    let packages = metadata.workspace_packages().into_iter().map(|package| Member {
        name: package.name.to_string(),
        manifest: from_root(&package.manifest_path),
        targets: package
            .targets
            .iter()
            .map(|target| Target {
                name: target.name.clone(),
                is_test: target.is_test(),
                source: from_root(&target.src_path),
            })
            .collect(),
        dependencies: package
            .dependencies
            .iter()
            .map(|dependency| Dependency {
                name: dependency.name.clone(),
                is_dev: dependency.kind == DependencyKind::Development,
                has_path: dependency.path.is_some(),
                has_version: !dependency.req.comparators.is_empty(),
            })
            .collect(),
    });
    packages.collect()
}

/// `cargo tree` rather than metadata's graph: that one is resolved for the whole workspace, so it shows core with
/// features that only its dependents switch on.
fn core_tree(root: &Path) -> Result<BTreeSet<String>> {
    let tree = Command::cargo(["tree", "--package", "stent-core", "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--format", "{p}", "--color", "never"])
        .folder(root)
        .output()?;
    Ok(tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_without_what_tools_left_in_it() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for path in ["a.md", "docs/b.md", "target/c.md", ".idea/d.md", ".ci/run"] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it is in the root")).expect("folder is made");
            std::fs::write(path, "text").expect("file is written");
        }
        std::fs::write(root.path().join("binary"), [0xff, 0xfe]).expect("file is written");

        let mut files = Vec::new();
        read_folder(root.path(), "", &mut files).expect("the folder is readable");

        let mut paths: Vec<_> = files.into_iter().map(|file| file.path).collect();
        paths.sort();
        assert_eq!(paths, [".ci/run", "a.md", "docs/b.md"]);
    }

    #[test]
    fn this_workspace_is_seen_as_it_is() {
        let checkout = Checkout::read(&crate::command::root()).expect("the checkout is readable");

        let core =
            checkout.members.iter().find(|member| member.name == "stent-core").expect("it is a member");
        assert_eq!(core.manifest, "stent-core/Cargo.toml");
        assert!(checkout.core_tree.contains("stent-core") && checkout.core_tree.contains("uuid"));
        let memory =
            checkout.members.iter().find(|member| member.name == "stent-memory").expect("it is a member");
        let on_core = memory.dependencies.iter().find(|dependency| dependency.name == "stent-core");
        assert!(on_core.is_some_and(|edge| edge.has_path && edge.has_version && !edge.is_dev), "{on_core:?}");
    }
}
