//! The program continues where it was after it was killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use custom_backend::JsonStore;
use stent_core::backend::{Filter, Inspect};
use stent_core::model::TaskStatus;

fn start(file: &Path) -> Child {
    let mut program = Command::new(env!("CARGO_BIN_EXE_custom-backend"));
    program.arg(file).stdout(Stdio::piped()).spawn().expect("starts")
}

/// The names of the steps that are recorded as completed, once the function sleeps.
async fn steps_before_the_pause(store: &JsonStore) -> Option<Vec<String>> {
    let execution = store.list(&Filter::default(), None, 1).await.expect("reads").pop()?.id;
    let tasks = store.tasks(execution, None, 10).await.expect("reads");
    let sleeps = tasks.iter().any(|task| task.parent.is_none() && task.status == TaskStatus::Waiting);
    let done = tasks.into_iter().filter(|task| task.status == TaskStatus::Completed);
    sleeps.then(|| done.map(|task| task.name).collect())
}

#[tokio::test]
async fn a_program_that_is_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.json");
    let store = JsonStore::open(&file).expect("opens");

    let mut killed = start(&file);
    let deadline = Instant::now() + Duration::from_secs(60);
    let done = loop {
        assert!(Instant::now() < deadline, "it never came to its pause");
        if let Some(done) = steps_before_the_pause(&store).await {
            break done;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    killed.kill().expect("SIGKILL");
    let killed = killed.wait_with_output().expect("ends");

    let second = start(&file).wait_with_output().expect("ends");

    assert_eq!(done, ["grind"]);
    assert_eq!(String::from_utf8_lossy(&killed.stdout), "grinding for 3 cups\n");
    assert_eq!(String::from_utf8_lossy(&second.stdout), "pouring\ncoffee of 45 g\n");
    assert!(second.status.success());
}
