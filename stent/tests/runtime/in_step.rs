//! Operations that are allowed in the closure of a step, and operations that durable code may not do outside of one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use stent::prelude::*;
use stent::{Error, Stent};
use uuid::Uuid;

use crate::{eventually, on_every_store, ran, unique};

#[durable(name = "in_step.one")]
async fn one(n: u64) -> Result<u64, String> {
    Ok(n)
}

fn told<T>(result: Result<T, Error>) -> Result<String, String> {
    match result {
        Ok(_) => Err("it was done".to_owned()),
        Err(error) => Ok(error.to_string()),
    }
}

/// Tries operations in a step that cannot be part of one, and returns the errors.
#[durable(name = "in_step.tries", retry(max_attempts = 1))]
async fn tries() -> Result<Vec<String>, Error> {
    let told = stent::step("outer", || async {
        Ok::<_, String>(vec![
            told(one(1).await)?,
            told(one(1).detach())?,
            told(stent::sleep("1ms").await)?,
            told(stent::signal::<u64>("n").await)?,
            told(one::map([1, 2]).await)?,
            told(stent::spawn(one(1)).await)?,
            told(stent::step("inner", || async { Ok::<_, String>(1) }).await)?,
        ])
    })
    .await?;
    // The record has only these positions.
    one(1).await?;
    stent::sleep("1ms").await?;
    Ok(told)
}

/// Draws in a step and after it, and reports the numbers each time that it runs.
#[durable(name = "in_step.draws")]
async fn draws(key: u64) -> Result<(Uuid, Uuid, Uuid, Uuid), Error> {
    let before = stent::uuid();
    let inside = stent::step("draws", || async {
        let first = stent::uuid();
        assert_ne!(first, stent::uuid());
        Ok::<_, String>(first)
    })
    .await?;
    let after = stent::uuid();
    let other = stent::step("draws, too", || async { Ok::<_, String>(stent::uuid()) }).await?;
    ran::note(key, format!("{before} {inside} {after} {other}"));
    stent::sleep("1ms").await?;
    Ok((before, inside, after, other))
}

/// Counts in a step and after it.
#[durable(name = "in_step.counts")]
async fn counts(key: u64) -> Result<(), Error> {
    let execution = stent::execution()?;
    execution.counter("before").add(1)?;
    stent::step("counts", || async {
        execution.counter("in").add(1)?;
        stent::execution()?.progress("inside")?;
        while ran::count(key, "seen") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        Ok::<_, Error>(())
    })
    .await?;
    execution.counter("out").add(1)?;
    stent::sleep("1ms").await?;
    execution.counter("late").add(1)?;
    stent::sleep("1ms").await
}

/// Gives functions a `Stent`, which otherwise all workers of these tests would have to provide as a state.
static STENTS: Mutex<BTreeMap<u64, Stent>> = Mutex::new(BTreeMap::new());

fn stent_of(key: u64) -> Stent {
    STENTS.lock().expect("not poisoned").get(&key).cloned().expect("the test has put it there")
}

/// Starts and signals executions in every way, and returns the errors, or the started executions.
#[durable(name = "in_step.dispatches")]
async fn dispatches(key: u64) -> Result<Vec<String>, Error> {
    let stent = stent_of(key);
    let me = stent::execution()?.id();
    let mut all = vec![
        stent.dispatch(one(1)).await.map(|run| run.id()).map_err(|error| error.to_string()),
        stent.dispatch_all([one(1)]).await.map(|_| me).map_err(|error| error.to_string()),
        stent.run(one(1)).await.map(|_| me).map_err(|error| error.to_string()),
        stent.send_signal(me, "n", &1_u64).await.map(|()| me).map_err(|error| error.to_string()),
    ];
    let in_step = stent::step("on purpose", || async {
        stent.send_signal(me, "n", &7_u64).await?;
        Ok::<_, Error>(stent.dispatch(one(2)).await?.id())
    });
    all.push(Ok(in_step.await?));
    all.push(Ok(stent.dispatch(one(3)).idempotency_key(format!("{key}")).await?.id()));
    assert_eq!(stent::signal::<u64>("n").await?, 7);
    stent::sleep("1ms").await?;
    Ok(all.into_iter().map(|one| one.map_or_else(|error| error, |id| id.to_string())).collect())
}

/// Makes calls outside of the function: a call that was built inside, and one that was not.
#[durable(name = "in_step.spawns")]
async fn spawns() -> Result<Vec<String>, Error> {
    let built_inside = one(1);
    let told = stent::step("elsewhere", || async {
        let inside = tokio::spawn(built_inside).await.map_err(|error| error.to_string())?;
        let outside = tokio::spawn(async { one(1).await }).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(vec![told(inside)?, told(outside)?])
    });
    told.await
}

/// Makes a future in the closure of a step, awaits it later, and notes the error. In a replay the future does not exist.
macro_rules! made_inside {
    ($key:expr, $made:expr) => {
        let mut made = None;
        stent::step("outer", || async {
            made = Some($made);
            Ok::<_, String>(())
        })
        .await?;
        if let Some(made) = made {
            ran::note($key, told(made.await).unwrap_or_else(|done| done));
        }
    };
}

/// Makes each kind of future in the closure of a step, and awaits it in the function.
#[durable(name = "in_step.takes_out", retry(max_attempts = 1))]
async fn takes_out(key: u64) -> Result<u64, Error> {
    let run = stent::spawn(one(1)).await?;
    made_inside!(key, one(1));
    made_inside!(key, one::map([1, 2]));
    made_inside!(key, one::map([1, 2]).outcomes());
    made_inside!(key, stent::sleep("1ms"));
    made_inside!(key, stent::signal::<u64>("n").timeout("1ms"));
    made_inside!(key, stent::spawn(one(1)));
    made_inside!(key, run.result());
    made_inside!(key, stent::step("inner", || async { Ok::<_, String>(1) }));
    let mut made = None;
    stent::step("outer", || async {
        made = Some(one(1));
        Ok::<_, String>(())
    })
    .await?;
    if let Some(made) = made {
        ran::note(key, told(made.detach()).unwrap_or_else(|done| done));
    }
    let mut made = None;
    stent::step("outer", || async {
        made = Some(one(1));
        Ok::<_, String>(())
    })
    .await?;
    if let Some(made) = made {
        ran::note(key, told(stent::spawn(made).await).unwrap_or_else(|done| done));
    }
    stent::sleep("1ms").await?;
    one(7).await
}

/// Runs a call's body, and dispatches one, that were made in the closure.
#[durable(name = "in_step.uses", retry(max_attempts = 1))]
async fn uses(key: u64) -> Result<u64, Error> {
    let stent = stent_of(key);
    stent::step("uses", || async {
        let local = one(3).local().await?;
        Ok::<_, Error>(local + stent.dispatch(one(4)).await?.result().await?)
    })
    .await
}

on_every_store! {
    async fn what_is_made_in_a_step_and_awaited_after_it_says_so(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let run = world.stent.dispatch(takes_out(key)).await.expect("dispatched");
        let result = run.result().timeout("20s").await;
        let told = ran::list(key);
        let made = [
            "`in_step.one`", "`in_step.one`", "`in_step.one`", "`stent::sleep`", "`stent::signal`", "`stent::spawn`",
            "`the result of an execution`", "`inner`", "`in_step.one`", "`stent::spawn`",
        ];
        assert_eq!(told.len(), made.len(), "{told:#?}");
        for (told, what) in told.iter().zip(made) {
            assert!(told.contains(what) && told.contains("closure of step `outer`"), "{what}: {told}");
        }
        assert_eq!(result.expect("runs, and is replayed"), 7);
        worker.drain().await.expect("drains");
    }

    async fn a_call_that_is_made_in_a_step_is_run_locally_and_dispatched_there(world) {
        let worker = world.worker().await;
        let key = unique();
        STENTS.lock().expect("not poisoned").insert(key, world.stent.clone());
        let ran = world.stent.dispatch(uses(key)).await.expect("dispatched").result().timeout("20s").await;
        STENTS.lock().expect("not poisoned").remove(&key);
        assert_eq!(ran.expect("runs"), 7);
        worker.drain().await.expect("drains");
    }

    async fn what_can_be_no_part_of_a_step_says_so(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(tries()).await.expect("dispatched");
        let told = run.result().timeout("20s").await.expect("runs");
        for (told, what) in told.iter().zip(
            ["`in_step.one`", "`in_step.one`", "`stent::sleep`", "`stent::signal`", "`in_step.one`", "`stent::spawn`", "`inner`"],
        ) {
            assert!(told.contains(what) && told.contains("closure of step `outer`"), "{told}");
            assert!(told.contains("before or after"), "{told}");
        }
        assert_eq!(world.stent.inspect().timeline(run.id()).await.expect("read").len(), 4, "the root and three steps");
        worker.drain().await.expect("drains");
    }

    async fn a_step_draws_numbers_of_its_own(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let run = world.stent.dispatch(draws(key)).await.expect("dispatched");
        let (before, inside, after, other) = run.result().timeout("20s").await.expect("runs");
        let mut all = vec![before, inside, after, other];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4, "no two are the same");
        let runs = ran::list(key);
        assert!(runs.len() > 1, "it was replayed");
        assert!(runs.iter().all(|run| *run == runs[0]), "each run draws the same: {runs:#?}");
        worker.drain().await.expect("drains");
    }

    async fn what_is_said_in_a_step_is_the_steps_and_is_seen_while_it_runs(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let run = world.stent.dispatch(counts(key)).await.expect("dispatched");
        eventually(async || run.notes().await.expect("read").counters.get("in") == Some(&1)).await;
        ran::note(key, "seen");
        run.result().timeout("20s").await.expect("runs");

        let notes = run.notes().await.expect("read");
        let counters: Vec<_> = notes.counters.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(counters, [("before", 1), ("in", 1), ("late", 1), ("out", 1)]);
        let tasks = world.stent.inspect().timeline(run.id()).await.expect("read");
        let step = tasks.iter().find(|task| task.name == "counts").expect("the step is recorded");
        assert_eq!(notes.progress.iter().map(|entry| entry.task).collect::<Vec<_>>(), [step.id]);
        worker.drain().await.expect("drains");
    }

    async fn dispatching_in_a_durable_function_is_an_error_but_in_a_step_or_under_a_key(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        STENTS.lock().expect("not poisoned").insert(key, world.stent.clone());
        let told = world.stent.dispatch(dispatches(key)).await.expect("dispatched").result().timeout("20s").await;
        let told = told.expect("runs");
        STENTS.lock().expect("not poisoned").remove(&key);

        for told in &told[..3] {
            assert!(told.contains("`in_step.dispatches`") && told.contains("stent::spawn"), "{told}");
        }
        assert!(told[3].contains("a signal") && told[3].contains("stent::step"), "{}", told[3]);
        let started = world.stent.inspect().list(&stent::view::Filter::default(), None, 100).await.expect("read");
        assert_eq!(started.len(), 3, "itself, one of the step and one of the key");
        worker.drain().await.expect("drains");
    }

    async fn a_call_under_tokio_spawn_says_so(world) {
        let worker = world.worker().await;
        let told = world.stent.dispatch(spawns()).await.expect("dispatched").result().timeout("20s").await.expect("runs");
        for told in told {
            assert!(told.contains("tokio::spawn") && told.contains("stent::join!"), "{told}");
        }
        worker.drain().await.expect("drains");
    }
}
