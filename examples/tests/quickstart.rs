//! The programs of the README and of the guide's quickstart, as written there, run more than once in one folder.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use stent::view::{Filter, StepKind};

const README: &str = include_str!("../../README.md");
const PROGRAM: &str = include_str!("../quickstart.rs");
const GUIDE: &str = include_str!("../../docs/guide/quickstart.md");
const BREAKFAST: &str = include_str!("../breakfast.rs");

/// The first block of code in a language.
fn block(language: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("```{language}\n")).expect("the README has such a block");
    rest.split_once("```").expect("a block ends").0
}

fn run(folder: &Path) -> Vec<String> {
    let output = support::example("quickstart", folder).output().expect("a process");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn the_program_of_the_readme_is_the_example() {
    let program: Vec<&str> =
        PROGRAM.lines().skip_while(|line| line.starts_with("//!") || line.is_empty()).collect();
    assert_eq!(
        block("rust").lines().collect::<Vec<_>>(),
        program,
        "copy examples/quickstart.rs into README.md"
    );
}

/// The blocks of code in a language on the guide's page.
fn blocks(language: &str) -> Vec<&'static str> {
    let blocks = GUIDE.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    blocks.filter(|(words, _)| words.split(',').next() == Some(language)).map(|(_, code)| code).collect()
}

#[test]
fn the_program_of_the_guide_is_the_example() {
    let program = BREAKFAST.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    let page = blocks("rust")[0].lines();
    assert!(page.eq(program), "copy the program of docs/guide/quickstart.md into examples/breakfast.rs");
}

#[tokio::test]
async fn the_program_of_the_guide_is_killed_and_resumes_as_the_page_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let [before, after] = blocks("text")[..] else { panic!("two outputs on the page") };
    let mut first =
        support::example("breakfast", folder.path()).stdout(Stdio::piped()).spawn().expect("a process");
    let output = BufReader::new(first.stdout.take().expect("a pipe")).lines();
    let printed: Vec<_> = output.take(before.lines().count()).collect::<Result<_, _>>().expect("UTF-8");
    assert!(before.lines().eq(printed.iter().map(String::as_str)), "{printed:?}");
    // A person takes longer than this: until the loaf is recorded, and the function sleeps.
    sleeps(&folder.path().join("breakfast.db"), printed.len()).await;
    first.kill().expect("killed");
    first.wait().expect("ended");

    let resumed = support::example("breakfast", folder.path()).output().expect("a process");
    let third = support::example("breakfast", folder.path()).output().expect("a process");

    assert_eq!(String::from_utf8_lossy(&resumed.stdout), after);
    assert_eq!(String::from_utf8_lossy(&third.stdout).trim_end(), after.lines().last().expect("a result"));
}

/// Waits until the one execution of a store is in its sleep of this number.
async fn sleeps(store: &Path, number: usize) {
    let stent = stent::Stent::connect(&format!("sqlite://{}", store.display())).await.expect("opens");
    let inspect = stent.inspect();
    loop {
        let executions = inspect.list(&Filter::default(), None, 1).await.expect("listed");
        let tasks = inspect.timeline(executions.first().expect("dispatched").id).await.expect("read");
        if tasks.iter().filter(|task| task.kind == StepKind::Sleep).count() == number {
            return stent.close().await.expect("closes");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn it_can_be_run_twice_and_does_its_work_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let note = "receipt for order 7, approved by kim: bell by post, saddle by post";

    let mut first = run(folder.path());
    let second = run(folder.path());

    assert_eq!(first.pop().as_deref(), Some(note));
    first.sort();
    assert_eq!(first, ["charging 1999 cents", "shipping bell", "shipping saddle"]);
    assert_eq!(second, [note], "the record answers");
}

#[test]
fn its_dependencies_are_all_named() {
    let crates = block("toml").lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let named: Vec<&str> = crates.collect();
    assert_eq!(named, ["serde", "stent", "tokio"]);
    let used = ["serde", "stent", "tokio"].map(|name| PROGRAM.contains(&format!("{name}::")));
    assert_eq!(used, [true; 3]);
}
