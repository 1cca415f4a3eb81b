//! Output that fits: terminals of any width, pipes that close, colours on request, and data that is only data.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::program::{ran, stent, timeless};
use crate::shop::{ASKED, DECLINED, PAID, Shop, id};

/// A terminal without a person.
pub(crate) struct Terminal {
    controller: OwnedFd,
    user: File,
}

impl Terminal {
    pub(crate) fn new(columns: u16, rows: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&controller).expect("ours");
        unlockpt(&controller).expect("open");
        let name = ptsname(&controller, Vec::new()).expect("a name");
        let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let user = File::options().read(true).write(true).open(path).expect("its other end");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&user, size).expect("a size");
        Self { controller, user }
    }

    /// Starts a program on it. Whatever the program writes is read from what this returns.
    pub(crate) fn start(self, command: &mut Command) -> (std::process::Child, File) {
        let Self { controller, user } = self;
        command.stdin(Stdio::null()).stdout(user.try_clone().expect("a copy")).stderr(user);
        let child = command.spawn().expect("a process");
        // The command holds the last copies of our end, and the terminal ends when all of them are gone.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        (child, controller.into())
    }

    /// Runs a program on it, and returns what a person would have seen.
    fn shows(self, command: &mut Command) -> String {
        let (mut child, mut screen) = self.start(command);
        let shown = read_to_end(&mut screen);
        child.wait().expect("its end");
        shown.replace("\r\n", "\n")
    }
}

/// Reads until nobody has the terminal open, which is an error of the device.
pub(crate) fn read_to_end(screen: &mut File) -> String {
    let (mut shown, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = screen.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..read]);
    }
    String::from_utf8(shown).expect("UTF-8")
}

fn longest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn forty_columns_are_enough() {
    let shop = Shop::open();
    let (paid, declined) = (id(PAID), id(DECLINED));
    let reason = ["dlq", "stats"];
    for args in [
        &["list"][..],
        &["show", &declined],
        &["show", &paid, "--timeline"],
        &["show", &paid, "--payloads"],
        &["stats"],
        &["queues"],
        &["dlq", "list"],
        &reason,
        &["watch", "--count", "1"],
    ] {
        let mut command = stent();
        command.env("STENT_STORE", &shop.url).env("COLUMNS", "40").args(args);
        let shown = ran(&mut command).ok();
        // Texts of failures and payloads are not cut, because a person has asked for them.
        for line in shown.lines().filter(|line| !line.starts_with("  ")) {
            assert!(line.chars().count() <= 40, "{args:?}: {line:?} is too long");
        }
    }
    let mut list = stent();
    list.env("STENT_STORE", &shop.url).env("COLUMNS", "40").arg("list");
    insta::assert_snapshot!("list_40", timeless(&ran(&mut list).ok()));
    let mut list = stent();
    list.env("STENT_STORE", &shop.url).env("COLUMNS", "80").arg("list");
    let eighty = ran(&mut list).ok();
    assert!(longest(&eighty) <= 80 && eighty.matches("dispatched: ").count() == 4, "{eighty}");
    let mut help = stent();
    help.env("COLUMNS", "40").args(["list", "--help"]);
    let options = ran(&mut help).ok();
    let options = options.split("Options:").nth(1).and_then(|rest| rest.split("The next page").next());
    assert!(longest(options.expect("options")) <= 40, "{options:?}");
}

#[test]
fn a_terminal_has_its_own_width_and_a_pipe_has_none() {
    let shop = Shop::open();
    let on_terminal = |columns| {
        let mut command = stent();
        command.env("STENT_STORE", &shop.url).env("NO_COLOR", "1").args(["dlq", "list"]);
        Terminal::new(columns, 24).shows(&mut command)
    };

    let (narrow, wide) = (on_terminal(40), on_terminal(200));

    assert_eq!(narrow.lines().next(), Some(id(DECLINED).as_str()), "a block for each row: {narrow}");
    assert!(longest(&narrow) <= 40, "{narrow}");
    assert!(wide.contains("declined with code 51") && wide.starts_with("ID "), "{wide}");
    let medium = on_terminal(100);
    assert!(longest(&medium) <= 100 && medium.contains('…'), "{medium}");
    let piped = shop.stent(&["dlq", "list"]).ok();
    assert!(!piped.contains('…'), "nothing is cut: {piped}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let shop = Shop::open();
    let list = |no_color: Option<&str>| {
        let mut command = stent();
        command.env("STENT_STORE", &shop.url).arg("list");
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        Terminal::new(120, 24).shows(&mut command)
    };

    assert!(list(None).contains("\u{1b}[31mfailed\u{1b}[0m"));
    assert!(list(Some("")).contains("\u{1b}[31mfailed\u{1b}[0m"), "an empty text is not set");
    assert!(!list(Some("1")).contains('\u{1b}'));
    assert!(!shop.stent(&["list"]).ok().contains('\u{1b}'), "a pipe gets none");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let shop = Shop::open();
    for args in [&["list"][..], &["show", &id(ASKED)], &["stats", "--output", "json"], &["man"], &["--help"]]
    {
        let mut command = stent();
        command.env("STENT_STORE", &shop.url).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        drop(child.stdout.take());

        let output = child.wait_with_output().expect("its end");

        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn data_cannot_move_the_cursor_or_fake_a_line() {
    let shop = Shop::open();
    let name = "evil\u{1b}[2J\nfaked";
    let started = shop.stent(&["dispatch", name, "\"\u{202e}txet\"", "--queue", "a\tb"]).ok();

    for args in [&["list"][..], &["queues"], &["show", started.trim(), "--payloads"]] {
        let shown = shop.stent(args).ok();
        assert!(!shown.contains(['\u{1b}', '\t', '\u{202e}']), "{args:?}: {shown}");
        assert!(shown.contains(r"evil\u{1b}[2J\nfaked"), "{args:?}: {shown}");
    }
    let json = shop.stent(&["list", "--limit", "1", "--output", "json"]).json();
    assert_eq!(
        (&json[0]["function"], &json[0]["queue"]),
        (&name.into(), &"a\tb".into()),
        "programs get it as it is"
    );
}
