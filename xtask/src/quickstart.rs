//! `cargo xtask quickstart`: follows the guide's quickstart word by word, in an empty folder outside the workspace. Types nothing that
//! is not on the page, except the path of this checkout.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{Command, root};

const PAGE: &str = include_str!("../../docs/guide/quickstart.md");

/// The path on the page, in place of which a reader has their own.
const PATH: &str = "../stent/stent";

/// The time in which a person presses Ctrl-C.
const REACTION: Duration = Duration::from_millis(300);

/// The checkout's profile, so that dependencies with the same features are not built again.
const PROFILE: [&str; 3] = [
    "--config=profile.dev.debug=\"line-tables-only\"",
    "--config=profile.dev.package.\"*\".opt-level=1",
    "--config=profile.dev.package.\"*\".debug=false",
];

/// Follows the guide's quickstart: a new crate in an empty folder, killed half-way and run again
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<bool> {
    let [new, run, again] = commands(PAGE)?;
    ensure!(run == again, "the page runs the program by the same command twice");
    let folder = tempfile::tempdir()?;
    let mut lines = new.lines();
    let [Some(cargo_new), Some(cd), None] = [lines.next(), lines.next(), lines.next()] else {
        bail!("the first commands are `cargo new NAME` and `cd NAME`")
    };
    ensure!(cargo(folder.path(), cargo_new)?.shown()?, "`{cargo_new}` failed");
    let own = folder.path().join(cd.strip_prefix("cd ").context("the second command is `cd NAME`")?);
    write(&own)?;

    // `cargo run` in two parts, so that the process to kill is the program and not cargo.
    let build = cargo(&own, &run.trim().replacen("run", "build", 1))?.args(PROFILE).envs(&shared());
    let program = build.programs()?.pop().context("the crate has a program")?.1;
    let killed = until_killed(&program, &own)?;
    let resumed = cargo_like(&program, &own)?;
    let third = cargo_like(&program, &own)?;
    println!("killed after: {killed:?}\nresumed: {resumed:?}\nonce more: {third:?}");
    judge(&killed, &resumed, &third)?;
    println!("quickstart: ok");
    Ok(true)
}

/// Puts the page's dependencies and program into the crate.
fn write(own: &Path) -> Result<()> {
    let manifest = own.join("Cargo.toml");
    let of_cargo = std::fs::read_to_string(&manifest)?;
    let dependencies = block(PAGE, "toml").context("the page has dependencies")?;
    ensure!(dependencies.contains(PATH), "the page depends on Stent by the path {PATH}");
    let path = root().join("stent").display().to_string();
    let (head, _) =
        of_cargo.split_once("[dependencies]").context("cargo writes a manifest with dependencies")?;
    std::fs::write(manifest, format!("{head}{}", dependencies.replace(PATH, &path)))?;
    std::fs::write(own.join("src/main.rs"), block(PAGE, "rust").context("the page has a program")?)?;
    // The versions that this checkout is tested with; and no look at the registry is needed.
    std::fs::copy(root().join("Cargo.lock"), own.join("Cargo.lock"))?;
    Ok(())
}

/// The checkout's own target folder, for the same reason.
fn shared() -> Vec<(String, String)> {
    let target =
        std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| root().join("target").display().to_string());
    vec![("CARGO_TARGET_DIR".to_owned(), target)]
}

fn cargo(folder: &Path, line: &str) -> Result<Command> {
    let words = line.strip_prefix("cargo ").with_context(|| format!("`{line}` is not a command of cargo"))?;
    Ok(Command::cargo(words.split(' ')).folder(folder))
}

/// Runs the program until it has printed the lines of the page's first output, and kills it soon afterwards.
fn until_killed(program: &Path, folder: &Path) -> Result<Vec<String>> {
    let last = block(PAGE, "text").and_then(|text| text.lines().last()).context("the page has an output")?;
    let mut process = Process::new(program).current_dir(folder).stdout(Stdio::piped()).spawn()?;
    let output = process.stdout.take().context("its output is a pipe")?;
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines() {
        lines.push(line?);
        if lines.last().is_some_and(|line| line == last) {
            thread::sleep(REACTION);
            process.kill()?;
        }
    }
    ensure!(!process.wait()?.success(), "the program ended before it was killed");
    Ok(lines)
}

fn cargo_like(program: &Path, folder: &Path) -> Result<Vec<String>> {
    let text = Command::new(program).folder(folder).output()?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Compares the outputs with those on the page. A busy machine may kill the program earlier or later than a person would; then one
/// loaf more or less is baked before, and the one that was in the oven is baked twice.
fn judge(killed: &[String], resumed: &[String], third: &[String]) -> Result<()> {
    let mut texts = blocks(PAGE, "text");
    let (before, after) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    let page: Vec<&str> = before.lines().chain(after.lines()).collect();
    let seen: Vec<&str> = killed.iter().chain(resumed).map(String::as_str).collect();
    let twice = seen.iter().zip(seen.iter().skip(1)).filter(|(one, next)| one == next).count();
    let mut once = seen.clone();
    once.dedup();
    ensure!(once == page, "the page says {page:?}, and the program printed {seen:?}");
    ensure!(twice <= 1, "more than the step in flight ran again: {seen:?}");
    ensure!(third == &page[page.len() - 1..], "a third run prints the result only, and not {third:?}");
    Ok(())
}

/// The three blocks of commands.
fn commands(page: &str) -> Result<[&str; 3]> {
    let blocks: Vec<_> = blocks(page, "sh").collect();
    blocks.try_into().map_err(|blocks| anyhow::anyhow!("three blocks of commands, and not {blocks:?}"))
}

/// The first block of code in a language.
fn block<'a>(page: &'a str, language: &'a str) -> Option<&'a str> {
    blocks(page, language).next()
}

/// All blocks of code in a language.
fn blocks<'a>(page: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    page.split("```").skip(1).step_by(2).filter_map(move |block| {
        let (words, code) = block.split_once('\n')?;
        (words.split(',').next() == Some(language)).then_some(code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_at_most_500_words() {
        let code = PAGE.split("```").skip(1).step_by(2).map(|block| block.split_whitespace().count());
        let words = PAGE.split_whitespace().count() - code.sum::<usize>();
        assert!(words <= 500, "{words} words");
    }

    #[test]
    fn another_output_than_the_pages_is_found() {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let loaf = |n: u64| format!("baking loaf {n}");
        let ready = "ready: loaf 1, loaf 2, loaf 3, loaf 4, loaf 5".to_owned();
        let (killed, resumed) = ([loaf(1), loaf(2)], [loaf(3), loaf(4), loaf(5), ready.clone()]);
        let third = [ready.clone()];
        assert!(judge(&killed, &resumed, &third).is_ok());
        assert!(judge(&killed, &[&[loaf(2)], &resumed[..]].concat(), &third).is_ok(), "in flight");
        assert!(judge(&killed, &[&killed[..], &resumed].concat(), &third).is_err(), "from the start");
        assert!(judge(&killed, &resumed[1..], &third).is_err(), "a loaf is missing");
        assert!(judge(&killed, &resumed, &[loaf(1), ready]).is_err(), "it bakes again");
        assert!(judge(&lines(&["baking"]), &resumed, &third).is_err());
    }

    #[test]
    fn the_page_is_read_by_its_blocks() {
        let [new, run, again] = commands(PAGE).expect("three blocks");
        assert_eq!((new, run, again), ("cargo new breakfast\ncd breakfast\n", "cargo run\n", "cargo run\n"));
        assert!(
            block(PAGE, "rust").is_some_and(|code| code.starts_with("use stent") && code.ends_with("}\n"))
        );
        assert_eq!(block(PAGE, "python"), None);
    }
}
