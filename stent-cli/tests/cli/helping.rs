//! Help, completions, manual pages, and the guide's page, which names every command, option and exit code.

use std::collections::BTreeSet;
use std::fs;

use crate::program::{ran, stent};

/// Every command, as its words: `dlq list`. From the manual pages, of which there is one for each.
fn commands() -> BTreeSet<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display().to_string();
    ran(stent().args(["man", "--dir", &dir])).ok();
    let pages = fs::read_dir(folder.path()).expect("the folder").map(|page| {
        let page = page.expect("a page");
        let text = fs::read_to_string(page.path()).expect("UTF-8");
        assert!(text.contains(".TH"), "{page:?} is a manual page");
        page.file_name().into_string().expect("UTF-8")
    });
    let names = pages.map(|name| name.trim_end_matches(".1").trim_start_matches("stent").replace('-', " "));
    names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn help(command: &str) -> String {
    ran(stent().args(command.split_whitespace()).arg("--help")).ok()
}

/// The long options that a help names.
fn options(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split([' ', ',', '[', '=']));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

#[test]
fn help_says_what_each_command_does_with_examples() {
    let mut all = format!("$ stent --help\n{}", help(""));
    for command in commands() {
        let help = help(&command);
        assert!(help.contains("Examples:"), "{command}: {help}");
        all += &format!("\n$ stent {command} --help\n{help}");
    }
    insta::assert_snapshot!("help", all);
}

#[test]
fn the_guide_names_every_command_option_and_exit_code() {
    let page = fs::read_to_string("../docs/guide/command-line.md").expect("the page");
    let commands = commands();
    assert!(commands.contains("dlq list") && commands.contains("doctor"), "{commands:?}");
    for command in &commands {
        assert!(page.contains(&format!("`stent {command}")), "the page lacks the command `stent {command}`");
    }
    for command in commands.iter().map(String::as_str).chain([""]) {
        for option in options(&help(command)) {
            assert!(page.contains(&format!("`{option}")), "the page lacks `{option}` of `stent {command}`");
        }
    }
    for code in ["0", "1", "2", "3", "4", "130"] {
        assert!(page.contains(&format!("\n| {code} | ")), "the page lacks exit code {code}");
    }
    for variable in ["STENT_STORE", "NO_COLOR", "COLUMNS", "RUST_LOG"] {
        assert!(page.contains(&format!("`{variable}")), "the page lacks {variable}");
    }
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ran(stent().args(["completions", shell])).ok();
        assert!(script.contains("dlq") && script.contains("older-than"), "{shell}");
    }
    assert!(ran(stent().args(["completions", "tcsh"])).fails(2).contains("fish"));
    let page = ran(stent().arg("man")).ok();
    assert!(page.contains(".TH stent 1") && page.contains("STENT_STORE"), "{page}");
}

#[test]
fn wrong_use_is_an_error_with_the_usage() {
    for args in [&[][..], &["lsit"], &["list", "--colour"], &["dlq"], &["list", "--limit", "many"]] {
        let ran = ran(stent().args(args));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("Usage:") || ran.stderr.contains("--help"), "{args:?}: {ran:?}");
    }
    assert_eq!(ran(stent().args(["help", "dlq", "list"])).ok(), help("dlq list"));
    assert!(ran(stent().arg("--version")).ok().starts_with("stent "));
}
