//! Notes of code about its execution: counters, states, progress; written once, and readable while the code runs.

use stent::Error;
use stent::backend::limits::PROGRESS_MAX;
use stent::prelude::*;

use crate::{eventually, on_every_store, ran, unique};

#[durable]
async fn adds(n: i64) -> Result<(), Error> {
    stent::execution()?.counter("rows").add(n)
}

#[durable]
async fn counts(key: u64) -> Result<u32, Error> {
    let execution = stent::execution()?;
    execution.counter("rows").init(100)?;
    execution.counter("rows").init(7)?;
    execution.state("phase").set(&"start")?;
    execution.progress("started")?;
    adds::map(1..=10).await?;
    execution.state("phase").set(&"halfway")?;
    execution.state("owner").init(&"kim")?;
    execution.state("owner").init(&"lee")?;
    adds(-5).await?;
    execution.progress("added")?;
    ran::note(key, "counted");
    stent::signal::<()>("go").await?;
    execution.state("phase").set(&"end")?;
    Ok(execution.attempt())
}

#[durable(retry(max_attempts = 3, initial_delay = "5ms"))]
async fn says_and_fails(key: u64) -> Result<u32, Error> {
    let execution = stent::execution()?;
    execution.counter("tries").add(1)?;
    ran::note(key, "tried");
    if ran::count(key, "tried") < 3 {
        Err(Error::Failed(stent::Failure::new("Flaky", "not yet")))
    } else {
        Ok(execution.attempt())
    }
}

/// Writes notes and then awaits non-durable work, for longer than notes may wait.
#[durable]
async fn says_and_waits(key: u64) -> Result<(), Error> {
    stent::execution()?.counter("rows").add(3)?;
    while ran::count(key, "go") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

#[durable]
async fn calls_says_and_waits(key: u64) -> Result<(), Error> {
    stent::execution()?.progress("began")?;
    says_and_waits(key).await
}

#[durable(name = "notes.begins")]
async fn begins() -> Result<(), Error> {
    let execution = stent::execution()?;
    execution.counter("late").init(100)?;
    execution.counter("early").init(100)?;
    execution.state("set").init(&"too late")?;
    execution.state("first").init(&"kept")
}

/// Adds before there is a first value, and sets before and after it, in other tasks of the same execution.
#[durable(name = "notes.begins_late")]
async fn begins_late() -> Result<(), Error> {
    let execution = stent::execution()?;
    execution.counter("early").add(3)?;
    execution.state("set").set(&"set")?;
    begins().queue("other").await?;
    execution.counter("early").add(10)?;
    execution.counter("late").add(7)?;
    execution.state("set").set(&"again")?;
    execution.state("first").init(&"too late")
}

#[durable(name = "notes.says_much")]
async fn says_much(rounds: u64) -> Result<(), Error> {
    for round in 0..rounds {
        for n in 0..500 {
            stent::execution()?.progress(format!("{round}/{n}"))?;
        }
        stent::sleep("1ms").await?;
    }
    Ok(())
}

#[durable(name = "notes.says_a_bit")]
async fn says_a_bit(who: u64, entries: u64) -> Result<(), Error> {
    for n in 0..entries {
        stent::execution()?.progress(format!("{who}/{n}"))?;
    }
    Ok(())
}

/// Writes more entries at once than are kept, and then other tasks write so many that none of these is left.
#[durable(name = "notes.says_it_in_parts")]
async fn says_it_in_parts(key: u64, each: u64) -> Result<(), Error> {
    let execution = stent::execution()?;
    for n in 0..PROGRESS_MAX + 500 {
        execution.progress(format!("own/{n}"))?;
    }
    stent::sleep("1ms").await?;
    ran::note(key, "said");
    stent::signal::<()>("go").await?;
    says_a_bit::map([(1, each), (2, each), (3, each)]).await?;
    Ok(())
}

on_every_store! {
    async fn no_more_entries_are_kept_of_all_tasks_together_and_at_any_time(world) {
        let key = unique();
        let each = PROGRESS_MAX as u64 / 2;
        let worker = world.worker().await;
        let run = world.stent.dispatch(says_it_in_parts(key, each)).await.expect("dispatched");
        eventually(async || ran::count(key, "said") > 0).await;
        let said = run.notes().await.expect("read").progress;
        let said: Vec<_> = said.iter().map(|said| said.text.clone()).collect();
        let last: Vec<_> = (500..PROGRESS_MAX + 500).map(|n| format!("own/{n}")).collect();
        assert_eq!(said, last, "while it runs too");

        run.signal("go", &()).await.expect("sent");
        run.result().timeout("20s").await.expect("runs");
        let said = run.notes().await.expect("read").progress;
        assert_eq!(said.len(), PROGRESS_MAX);
        assert!(said.iter().all(|said| !said.text.starts_with("own/")), "the oldest are gone");
        worker.drain().await.expect("drains");
    }

    async fn all_tasks_write_to_their_execution_and_each_write_counts_once(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(counts(key)).await.expect("dispatched");
        eventually(async || {
            let notes = run.notes().await.expect("read");
            notes.progress.len() == 2 && ran::count(key, "counted") > 0
        }).await;
        let notes = world.stent.notes(run.id()).await.expect("read");
        assert_eq!(notes.counters["rows"], 100 + 55 - 5);
        assert_eq!(notes.states["phase"].decode::<String>().expect("a text"), "halfway");
        assert_eq!(notes.states["owner"].decode::<String>().expect("a text"), "kim");
        assert_eq!(notes.progress.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["started", "added"]);

        run.signal("go", &()).await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 1);
        let notes = run.notes().await.expect("read");
        assert_eq!(notes.counters["rows"], 150, "a replay writes nothing twice");
        assert_eq!(notes.progress.len(), 2);
        assert_eq!(notes.states["phase"].decode::<String>().expect("a text"), "end");
        worker.drain().await.expect("drains");
    }

    async fn an_attempt_that_failed_has_said_nothing(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(says_and_fails(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("the third try is good"), 3);
        assert_eq!(run.notes().await.expect("read").counters["tries"], 1);
        worker.drain().await.expect("drains");
    }

    async fn long_work_is_heard_while_it_runs(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(says_and_waits(key)).await.expect("dispatched");
        eventually(async || run.notes().await.expect("read").counters.get("rows") == Some(&3)).await;
        assert!(!run.status().await.expect("known").is_terminal());
        ran::note(key, "go");
        run.result().timeout("20s").await.expect("runs");
        assert_eq!(run.notes().await.expect("read").counters["rows"], 3);
        worker.drain().await.expect("drains");
    }

    async fn a_step_that_runs_in_its_parents_turn_is_heard_while_it_runs(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(calls_says_and_waits(key)).await.expect("dispatched");
        eventually(async || {
            let notes = run.notes().await.expect("read");
            notes.counters.get("rows") == Some(&3) && notes.progress.len() == 1
        }).await;
        assert!(!run.status().await.expect("known").is_terminal());
        ran::note(key, "go");
        run.result().timeout("20s").await.expect("runs");
        let notes = run.notes().await.expect("read");
        assert_eq!((notes.counters["rows"], notes.progress.len()), (3, 1));
        worker.drain().await.expect("drains");
    }

    async fn names_and_texts_have_limits(world) {
        drop(world);
        let local = says_nothing().local().await;
        local.expect("nothing is written in a unit test");
        assert!(matches!(stent::execution(), Err(Error::OutsideDurable { .. })));
    }

    async fn a_first_value_counts_only_where_there_is_none(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(begins_late()).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        let notes = run.notes().await.expect("read");
        assert_eq!(notes.counters, [("early".to_owned(), 13), ("late".to_owned(), 107)].into());
        let state = |name: &str| notes.states[name].decode::<String>().expect("a text");
        assert_eq!((state("set").as_str(), state("first").as_str()), ("again", "kept"));
        worker.drain().await.expect("drains");
    }

    async fn no_more_than_the_last_entries_are_kept(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(says_much(3)).await.expect("dispatched");
        run.result().timeout("40s").await.expect("runs");
        let said = run.notes().await.expect("read").progress;
        let said: Vec<_> = said.iter().map(|said| said.text.as_str()).collect();
        let all: Vec<_> = (0..3).flat_map(|round| (0..500).map(move |n| format!("{round}/{n}"))).collect();
        assert_eq!(said, all[all.len() - PROGRESS_MAX..], "the oldest are gone");
        worker.drain().await.expect("drains");
    }
}

#[durable]
async fn says_nothing() -> Result<(), Error> {
    let execution = stent::execution()?;
    assert!(execution.counter("").add(1).is_err());
    assert!(execution.state("x".repeat(300)).set(&1).is_err());
    assert!(execution.progress("x".repeat(5_000)).is_err());
    execution.counter("rows").add(1)
}
