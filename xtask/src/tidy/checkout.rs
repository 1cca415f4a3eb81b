//! Reads a checkout once: its text files, its crates as cargo sees them, and the dependencies of stent-core. The
//! only part of tidy that reads the disk or starts a process.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::camino::Utf8Path;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Target};

use super::source::{self, Piece};
use crate::command::Command;

/// The input of the rules.
pub(super) struct Checkout {
    pub(super) files: Vec<File>,
    pub(super) members: Vec<Member>,
    /// Names of the crates in stent-core's dependency tree, including itself.
    pub(super) core_tree: BTreeSet<String>,
}

/// A text file, by its path from the root, with slashes.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
    pieces: OnceCell<syn::Result<Vec<Piece>>>,
}

/// A crate of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Its manifest, from the root.
    pub(super) manifest: String,
    pub(super) dependencies: Vec<Dependency>,
    /// The targets that cargo compiles: the name before the paths of its tests, and the root of its source.
    pub(super) programs: Vec<(String, String)>,
}

/// A dependency as a manifest declares it.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) is_dev: bool,
    /// Whether it is in this checkout.
    pub(super) has_path: bool,
    pub(super) has_version: bool,
}

impl File {
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), pieces: OnceCell::new() }
    }

    /// Its content, if it is Rust.
    pub(super) fn pieces(&self) -> Result<&[Piece], &syn::Error> {
        let read = || syn::parse_file(&self.text).map(|code| source::pieces(&code));
        self.pieces.get_or_init(read).as_deref()
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

/// Hidden folders that contain text of the project; all other hidden folders belong to tools.
const HIDDEN: &[&str] = &[".ci", ".cargo", ".github"];

fn read_folder(root: &Path, folder: &str, files: &mut Vec<File>) -> Result<()> {
    for entry in std::fs::read_dir(root.join(folder)).with_context(|| format!("cannot read {folder}/"))? {
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
            // A file may disappear after the listing, because other tools work in the same checkout.
            let Ok(bytes) = std::fs::read(entry.path()) else { continue };
            files.extend(String::from_utf8(bytes).map(|text| File::new(path, text)));
        }
    }
    Ok(())
}

fn members(metadata: &Metadata) -> Vec<Member> {
    let root = &metadata.workspace_root;
    let from_root = |path: &Utf8Path| path.strip_prefix(root).unwrap_or(path).as_str().replace('\\', "/");
    let packages = metadata.workspace_packages().into_iter().map(|package| {
        let program = |target: &Target| {
            let test = if target.is_test() { format!("::{}", target.name) } else { String::new() };
            (format!("{}{test}", package.name), from_root(&target.src_path))
        };
        let dependency = |dependency: &cargo_metadata::Dependency| Dependency {
            name: dependency.name.clone(),
            is_dev: dependency.kind == DependencyKind::Development,
            has_path: dependency.path.is_some(),
            has_version: !dependency.req.comparators.is_empty(),
        };
        Member {
            name: package.name.to_string(),
            manifest: from_root(&package.manifest_path),
            dependencies: package.dependencies.iter().map(dependency).collect(),
            programs: package.targets.iter().map(program).collect(),
        }
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
