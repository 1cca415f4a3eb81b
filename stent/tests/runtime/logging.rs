//! Log events inside a task name the task.

use stent::prelude::*;

use crate::{logs, on_every_store};

#[durable(name = "logging.step")]
async fn step_that_logs() -> Result<(), String> {
    tracing::info!("in the step");
    tokio::task::yield_now().await;
    tracing::info!("later in the step");
    Ok(())
}

struct LogsWhenDropped;

impl Drop for LogsWhenDropped {
    fn drop(&mut self) {
        tracing::info!("dropped");
    }
}

#[durable(name = "logging.root")]
async fn root_that_logs() -> Result<(), stent::Error> {
    let _dropped = LogsWhenDropped;
    tracing::info!("in the root");
    step_that_logs().await?;
    stent::step("inline", || async {
        tracing::info!("in the closure");
        Ok::<_, String>(())
    })
    .await?;
    let (_, _) = stent::join!(step_that_logs(), stent::sleep("1ms"));
    tracing::info!("at the end");
    Ok(())
}

on_every_store! {
    async fn every_event_of_a_task_carries_execution_task_worker_and_function(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(root_that_logs()).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        let worker_id = worker.id().to_string();
        worker.drain().await.expect("drains");

        let execution = run.id().to_string();
        let lines = logs::lines(|line| line.field("execution") == execution);

        let of = |message: &str| -> Vec<_> {
            lines.iter().filter(|line| line.message() == message).cloned().collect()
        };
        for (message, count) in [("in the step", 2), ("later in the step", 2)] {
            let found = of(message);
            assert_eq!(found.len(), count, "{lines:#?}");
            for line in found {
                assert_eq!((line.field("worker"), line.field("function")), (&*worker_id, "logging.step"));
                // A step of its own, which is not the root.
                assert!(!line.field("task").is_empty() && line.field("task") != execution, "{line:?}");
            }
        }
        for message in ["in the root", "in the closure", "at the end", "dropped"] {
            let found = of(message);
            assert!(!found.is_empty(), "{message}: {lines:#?}");
            for line in found {
                assert_eq!((line.field("worker"), line.field("function")), (&*worker_id, "logging.root"));
                assert_eq!(line.field("task"), execution);
            }
        }
    }

    async fn what_is_logged_outside_of_tasks_names_none(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(root_that_logs()).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        let marker = format!("outside of {}", run.id());
        tracing::info!("{marker}");
        worker.drain().await.expect("drains");
        let lines = logs::lines(|line| line.message() == marker);
        assert!(lines.len() == 1 && lines[0].field("task").is_empty(), "{lines:?}");
    }
}
