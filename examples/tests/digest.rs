//! The example `digest`, run as processes: on SQLite, and also on Postgres and Redis where processes crash or share the work.

#[cfg(feature = "redis")]
#[path = "../../stent-redis/tests/namespace/mod.rs"]
mod namespace;
#[cfg(feature = "postgres")]
#[path = "../../stent-postgres/tests/schema/mod.rs"]
mod schema;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// SIGABRT, the signal that ends an aborted process.
const ABORTED: i32 = 6;

/// A place with a folder `tree`, and the store beside it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(files: &[(&[u8], &[u8])]) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(place.tree()).expect("a folder");
        for (name, content) in files {
            place.write(name, content);
        }
        place
    }

    /// A tree of this many files in several folders.
    fn of(files: usize) -> Self {
        let place = Self::new(&[]);
        for n in 0..files {
            place.write(format!("{}/{n}", n % 3).as_bytes(), n.to_string().as_bytes());
        }
        place
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn write(&self, name: &[u8], content: &[u8]) {
        let path = self.tree().join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().expect("in the tree")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = support::example("digest", self.folder.path());
        command.args(args);
        command
    }

    fn digest(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("a process")
    }

    fn crash_after(&self, files: &str) {
        self.crash_after_on("sqlite://digest.db", files);
    }

    fn crash_after_on(&self, store: &str, files: &str) {
        let output = self.digest(&["tree", "--store", store, "--crash-after", files]);
        assert_eq!(output.status.signal(), Some(ABORTED), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }

    /// The output of `sha256sum` for the same files.
    fn expected(&self, root: &str) -> String {
        let found = Command::new("find")
            .args([root, "-type", "f", "-not", "-name", "*.db*", "-print0"])
            .current_dir(self.folder.path())
            .output()
            .expect("find");
        let mut paths: Vec<&OsStr> = found
            .stdout
            .split(|byte| *byte == 0)
            .filter(|path| !path.is_empty())
            .map(OsStr::from_bytes)
            .collect();
        paths.sort_unstable();
        let output = Command::new("sha256sum")
            .arg("--")
            .args(paths)
            .current_dir(self.folder.path())
            .output()
            .expect("sha256sum");
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    }
}

/// Bytes as a text that preserves all of them.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[track_caller]
fn assert_report(output: &Output, expected: &str, from_store: usize) {
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(text(&output.stdout), expected);
    assert!(stderr.contains(&format!("{from_store} files came from the store")), "{stderr}");
}

#[test]
fn the_report_is_what_sha256sum_prints() {
    let place = Place::new(&[
        (b"plain", b"plain"),
        (b"empty", b""),
        (b"two words ", b"space"),
        (b"line\nend", b"newline"),
        (b"carriage\rreturn", b"return"),
        (b"back\\slash", b"backslash"),
        (b"not \xff\xfe UTF-8", b"bytes"),
        ("größe 大".as_bytes(), b"unicode"),
        (b"-dash", b"dash"),
        (b"a.txt", b"sorts before a/"),
        (b"a/deep/deeper/deepest", b"nested"),
        (b"large", &vec![7; 3 * 1024 * 1024 + 1]),
    ]);
    fs::create_dir(place.tree().join("empty folder")).expect("a folder");
    symlink("plain", place.tree().join("link")).expect("a link");
    symlink("a", place.tree().join("folder link")).expect("a link");
    symlink("nowhere", place.tree().join("dangling link")).expect("a link");

    for root in ["tree", "tree/", "./tree"] {
        let output = place.digest(&[root]);

        assert_report(&output, &place.expected(root), 0);
    }
}

#[test]
fn an_empty_folder_gives_an_empty_report() {
    let output = Place::new(&[]).digest(&["tree"]);

    assert_report(&output, "", 0);
}

/// Declares tests that run on every store that several processes can share.
macro_rules! on_every_store {
    ($(fn $name:ident($store:ident) $body:block)+) => {
        $(
            mod $name {
                use super::*;

                fn body($store: &str) $body

                #[test]
                fn sqlite() {
                    body("sqlite://digest.db");
                }

                #[cfg(feature = "postgres")]
                #[test]
                fn postgres() {
                    body(&schema::Schema::new().url());
                }

                #[cfg(feature = "redis")]
                #[test]
                fn redis() {
                    body(&namespace::Namespace::new().url());
                }
            }
        )+
    };
}

on_every_store! {
    fn a_run_that_crashes_again_and_again_ends_with_the_whole_report(store) {
        let place = Place::of(150);

        for more in ["1", "7", "64", "30"] {
            place.crash_after_on(store, more);
        }
        let output = place.digest(&["tree", "--store", store]);

        assert_report(&output, &place.expected("tree"), 1 + 7 + 64 + 30);
    }

    fn two_processes_share_one_run_and_give_the_same_report(store) {
        let place = Place::of(300);
        let args = ["tree", "--store", store];
        place.crash_after_on(store, "1");

        let processes = [(); 2].map(|()| {
            place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process")
        });

        let expected = place.expected("tree");
        for process in processes {
            let output = process.wait_with_output().expect("its end");
            assert!(output.status.success(), "{output:?}");
            assert_eq!(text(&output.stdout), expected);
        }
    }
}

#[test]
fn a_crash_before_the_report_is_written_loses_no_file() {
    let place = Place::of(5);

    place.crash_after("5");
    let output = place.digest(&["tree"]);

    assert_report(&output, &place.expected("tree"), 5);
}

#[test]
fn a_limit_that_is_never_reached_changes_nothing() {
    let place = Place::of(5);

    let output = place.digest(&["tree", "--crash-after", "6"]);

    assert_report(&output, &place.expected("tree"), 0);
}

#[test]
fn a_finished_run_is_followed_by_a_fresh_one() {
    let place = Place::of(5);
    assert_report(&place.digest(&["tree"]), &place.expected("tree"), 0);

    place.write(b"0/0", b"changed");
    place.write(b"new", b"new");
    let output = place.digest(&["tree"]);

    assert_report(&output, &place.expected("tree"), 0);
}

#[test]
fn a_run_goes_on_with_the_paths_that_it_began_with() {
    let place = Place::of(5);
    let expected = place.expected("tree");

    place.crash_after("2");
    place.write(b"new", b"new");
    let output = place.digest(&["tree"]);

    assert_report(&output, &expected, 2);
}

#[test]
fn a_run_that_was_cut_short_is_no_other_folders_business() {
    let place = Place::of(20);
    let other = place.folder.path().join("other");
    fs::create_dir(&other).expect("a folder");
    fs::write(other.join("file"), "other").expect("a file");

    place.crash_after("3");
    let output = place.digest(&["other"]);
    assert_report(&output, &place.expected("other"), 0);

    let output = place.digest(&["tree"]);
    assert_report(&output, &place.expected("tree"), 3);
}

#[test]
fn a_file_that_cannot_be_read_for_a_moment_is_tried_again() {
    let place = Place::of(6);
    let (tree, away) = (place.tree(), place.folder.path().join("away"));
    let expected = place.expected("tree");
    place.crash_after("1");

    fs::rename(&tree, &away).expect("moved away");
    fs::create_dir(&tree).expect("a folder");
    let mut process =
        place.command(&["tree"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
    let mut stderr = BufReader::new(process.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("cannot read") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("UTF-8") > 0, "nothing was tried again");
    }
    fs::remove_dir(&tree).expect("empty");
    fs::rename(&away, &tree).expect("moved back");

    let mut rest = Vec::new();
    stderr.read_to_end(&mut rest).expect("readable");
    let output = Output { stderr: rest, ..process.wait_with_output().expect("its end") };
    assert_report(&output, &expected, 1);
}

#[test]
fn a_file_that_stays_unreadable_is_named_and_the_others_are_reported() {
    let place = Place::of(6);
    place.crash_after("1");

    fs::remove_dir_all(place.tree().join("0")).expect("removed");
    let output = place.digest(&["tree"]);

    // One of the two missing files may be the one that was recorded.
    let stderr = text(&output.stderr);
    let unreadable = stderr.lines().filter(|line| line.contains("could not be read: No such file")).count();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!((1..=2).contains(&unreadable), "{stderr}");
    assert_eq!(text(&output.stdout).lines().count(), 6 - unreadable);
    assert!(text(&output.stdout).contains(&place.expected("tree/1")));
    assert!(stderr.contains("\"tree/0/"), "{stderr}");
}

#[test]
fn a_folder_that_stays_unreadable_is_named_and_the_others_are_reported() {
    let place = Place::of(3);
    let expected = place.expected("tree");
    // Too deep for one path, so that even root cannot read it.
    let script = "i=0; while [ $i -lt 40 ]; do mkdir $0 && cd -P ./$0 || exit 1; i=$((i+1)); done";
    let made = Command::new("sh").args(["-c", script, &"d".repeat(120)]).current_dir(place.tree()).status();
    assert!(made.expect("a shell").success());

    let output = place.digest(&["tree"]);

    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(text(&output.stdout), expected);
    assert!(stderr.contains("could not be read: File name too long"), "{stderr}");
}

#[test]
fn what_is_no_folder_is_an_error_that_leaves_no_store() {
    let place = Place::new(&[(b"file", b"file")]);

    for (path, problem) in [("nowhere", "No such file or directory"), ("tree/file", "not a directory")] {
        let output = place.digest(&[path]);

        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(&format!("{path:?}")) && stderr.contains(problem), "{stderr}");
        assert!(output.stdout.is_empty());
        assert!(!place.folder.path().join("digest.db").exists());
    }
}

#[test]
fn a_store_inside_the_folder_is_left_out() {
    let place = Place::of(3);

    let output = place.digest(&["."]);
    assert_report(&output, &place.expected("."), 0);

    let output = place.digest(&["tree", "--store", "sqlite://tree/0/inside.db"]);
    assert_report(&output, &place.expected("tree"), 0);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = Place::of(5);
    let mut process =
        place.command(&["tree"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");

    drop(process.stdout.take());

    let output = process.wait_with_output().expect("its end");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_help_says_what_happens_to_the_store_and_what_the_exit_codes_mean() {
    let help = text(&Place::new(&[]).digest(&["--help"]).stdout);

    for word in ["-wal", "Exit code", "--crash-after", "sqlite://digest.db"] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
}
