//! Walks a folder in pages, each of which can be requested separately. Knows nothing of Stent.
//!
//! Entries are ordered by the bytes of their paths, and a page contains the entries after a path. So pages that were read at
//! different times never repeat a file, whatever was added or removed in between, and a walk can continue from its last page in
//! another process.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::vec::IntoIter;

use serde::{Deserialize, Serialize};

use crate::path::PathBytes;

/// A page is full when it has this many bytes. It becomes one record of the store, which warns above 512 KiB.
const PAGE_BYTES: usize = 256 * 1024;
/// The size of an entry in a record, without its path.
const ENTRY_BYTES: usize = 16;

/// An entry below the folder, by its path relative to the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A regular file.
    File(PathBytes),
    /// A folder that could not be read, and why. Its path ends in a slash, unless it is the root.
    Unreadable(PathBytes, String),
}

impl Entry {
    /// Its path from the root.
    #[must_use]
    pub const fn path(&self) -> &PathBytes {
        match self {
            Self::File(path) | Self::Unreadable(path, _) => path,
        }
    }

    const fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::File(path) => path.as_bytes().len(),
                Self::Unreadable(path, problem) => path.as_bytes().len() + problem.len(),
            }
    }
}

/// A part of a folder's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the order of the bytes of their paths.
    pub entries: Vec<Entry>,
    /// Whether there may be more after the last of them.
    pub more: bool,
}

/// The reaction to a folder that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IfUnreadable {
    /// Fail, so that a retry can read it later.
    Fail,
    /// Note it and continue.
    Note,
}

/// Reads the page after `after`, a path with which an earlier page ended. Symbolic links are not followed. Blocks; not for an
/// async thread.
///
/// # Errors
/// If a folder cannot be read, and `if_unreadable` is [`IfUnreadable::Fail`].
pub fn page(
    root: &Path,
    skip: &[PathBytes],
    after: Option<&PathBytes>,
    if_unreadable: IfUnreadable,
) -> io::Result<Page> {
    let after = after.map_or(&[][..], PathBytes::as_bytes);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for entry in Walk::new(root, skip, after) {
        let entry = match (entry, if_unreadable) {
            (Ok(file), _) => Entry::File(file),
            (Err((_, error)), IfUnreadable::Fail) => return Err(error),
            (Err((folder, error)), IfUnreadable::Note) => Entry::Unreadable(folder, error.to_string()),
        };
        bytes += entry.bytes();
        entries.push(entry);
        if bytes >= PAGE_BYTES {
            return Ok(Page { entries, more: true });
        }
    }
    Ok(Page { entries, more: false })
}

/// Iterates over regular files and unreadable folders, in the order of the bytes of their paths.
struct Walk<'a> {
    root: &'a Path,
    skip: &'a [PathBytes],
    after: &'a [u8],
    /// The remaining entries of each folder on the current path.
    open: Vec<IntoIter<Found>>,
}

struct Found {
    /// Relative to the root. The path of a folder ends in a slash, so that it sorts like everything below it.
    path: Vec<u8>,
    is_folder: bool,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path, skip: &'a [PathBytes], after: &'a [u8]) -> Self {
        let start = Found { path: Vec::new(), is_folder: true };
        Self { root, skip, after, open: vec![vec![start].into_iter()] }
    }

    fn read(&self, folder: &[u8]) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join(std::ffi::OsStr::from_bytes(folder)))? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                kind => kind?,
            };
            let mut path = [folder, entry.file_name().into_vec().as_slice()].concat();
            if kind.is_dir() {
                path.push(b'/');
            } else if !kind.is_file() || self.skip.iter().any(|skip| skip.as_bytes() == path) {
                continue;
            }
            let found_one = Found { path, is_folder: kind.is_dir() };
            if self.is_ahead(&found_one) {
                found.push(found_one);
            }
        }
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Whether the entry, or something below it, comes after the beginning of the page. If the page begins after a folder, that
    /// folder was unreadable.
    fn is_ahead(&self, found: &Found) -> bool {
        found.path.as_slice() > self.after
            || (found.is_folder && self.after.starts_with(&found.path) && self.after != found.path)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<PathBytes, (PathBytes, io::Error)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(found) = self.open.last_mut()?.next() else {
                self.open.pop();
                continue;
            };
            if !found.is_folder {
                return Some(Ok(PathBytes::new(found.path)));
            }
            match self.read(&found.path) {
                Ok(below) => self.open.push(below.into_iter()),
                Err(error) => return Some(Err((PathBytes::new(found.path), error))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    fn tree(files: &[&[u8]]) -> TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = root.path().join(std::ffi::OsStr::from_bytes(file));
            fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
            fs::write(path, file).expect("a file");
        }
        root
    }

    fn all(root: &Path, after: Option<&PathBytes>) -> Vec<PathBytes> {
        let page = page(root, &[], after, IfUnreadable::Fail).expect("readable");
        assert!(!page.more);
        page.entries.into_iter().map(|entry| entry.path().clone()).collect()
    }

    fn paths(paths: &[&[u8]]) -> Vec<PathBytes> {
        paths.iter().map(|path| PathBytes::new(path.to_vec())).collect()
    }

    #[test]
    fn files_come_in_the_order_of_their_paths_bytes() {
        let root = tree(&[b"b", b"a/z", b"a/b/c", b"a-b", b"a.txt", b"\xff\n", "ü".as_bytes()]);
        fs::create_dir(root.path().join("empty")).expect("a folder");

        let expected = paths(&[b"a-b", b"a.txt", b"a/b/c", b"a/z", b"b", "ü".as_bytes(), b"\xff\n"]);

        assert_eq!(all(root.path(), None), expected);
    }

    #[test]
    fn every_file_is_a_place_to_go_on_from() {
        let root = tree(&[b"a-b", b"a.txt", b"a/b/c", b"a/b0", b"a/z", b"b"]);
        let whole = all(root.path(), None);

        for (n, after) in whole.iter().enumerate() {
            assert_eq!(all(root.path(), Some(after)), whole[n + 1..]);
        }
    }

    #[test]
    fn a_page_goes_on_after_a_file_that_is_gone_and_finds_what_is_new() {
        let root = tree(&[b"a/b", b"a/d", b"c"]);
        let after = PathBytes::new(b"a/b".to_vec());
        fs::remove_file(root.path().join("a/b")).expect("removed");
        fs::write(root.path().join("a/a"), "before").expect("a file");
        fs::write(root.path().join("a/c"), "behind").expect("a file");

        assert_eq!(all(root.path(), Some(&after)), paths(&[b"a/c", b"a/d", b"c"]));
    }

    #[test]
    fn large_folders_take_several_pages_of_bounded_size() {
        let names: Vec<String> = (0..1_500).map(|n| format!("{n:0200}")).collect();
        let root = tree(&names.iter().map(String::as_bytes).collect::<Vec<_>>());

        let (mut found, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let page = page(root.path(), &[], after.as_ref(), IfUnreadable::Fail).expect("readable");
            assert!(page.entries.iter().map(Entry::bytes).sum::<usize>() < PAGE_BYTES + 300);
            found.extend(page.entries);
            pages += 1;
            after = found.last().map(|entry: &Entry| entry.path().clone());
            if !page.more {
                break;
            }
        }

        assert_eq!(pages, 2);
        assert_eq!(
            found.iter().map(|entry| entry.path().as_bytes()).collect::<Vec<_>>(),
            names.iter().map(String::as_bytes).collect::<Vec<_>>()
        );
    }

    #[test]
    fn links_and_what_is_to_be_skipped_are_left_out() {
        let root = tree(&[b"a/file", b"store.db", b"a/store.db"]);
        std::os::unix::fs::symlink("a", root.path().join("folder-link")).expect("a link");
        std::os::unix::fs::symlink("a/file", root.path().join("file-link")).expect("a link");

        let page = page(root.path(), &paths(&[b"store.db"]), None, IfUnreadable::Fail).expect("readable");

        let found: Vec<_> = page.entries.iter().map(|entry| entry.path().clone()).collect();
        assert_eq!(found, paths(&[b"a/file", b"a/store.db"]));
    }

    /// A folder whose path is too long to be named from the root, so that nobody can read it, not even root.
    fn too_deep(root: &Path) {
        let script = "i=0; while [ $i -lt 40 ]; do mkdir $0 && cd -P ./$0 || exit 1; i=$((i+1)); done";
        let made = Command::new("sh").args(["-c", script, &"d".repeat(120)]).current_dir(root).status();
        assert!(made.expect("a shell").success());
    }

    #[test]
    fn a_folder_that_cannot_be_read_fails_the_page_or_is_noted_in_its_place() {
        let root = tree(&[b"a", b"e"]);
        too_deep(root.path());

        assert!(page(root.path(), &[], None, IfUnreadable::Fail).is_err());
        let page = page(root.path(), &[], None, IfUnreadable::Note).expect("noted");

        let [Entry::File(a), Entry::Unreadable(deep, _), Entry::File(e)] = page.entries.as_slice() else {
            panic!("{page:?}");
        };
        assert_eq!((a.as_bytes(), e.as_bytes()), (&b"a"[..], &b"e"[..]));
        assert!(deep.as_bytes().starts_with(b"ddd") && deep.as_bytes().ends_with(b"/"));
        assert_eq!(all(root.path(), Some(deep)), paths(&[b"e"]));
    }

    #[test]
    fn a_root_that_cannot_be_read_is_the_only_entry() {
        let page = page(Path::new("/nowhere/at/all"), &[], None, IfUnreadable::Note).expect("noted");

        assert!(
            matches!(page.entries.as_slice(), [Entry::Unreadable(root, _)] if root.as_bytes().is_empty())
        );
        assert!(!page.more);
    }
}
