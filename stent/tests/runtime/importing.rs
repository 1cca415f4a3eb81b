//! Imports: an execution of one store runs on in another one, and its export there is the same.

use stent::prelude::*;
use stent::view::{ExportRecord, TaskStatus};
use stent::{Error, ExecutionId, ExecutionStatus, ImportError, Registry};

use crate::{eventually, on_every_store, ran, unique};

#[durable(name = "importing.counted")]
async fn counted(key: u64, what: String) -> Result<String, String> {
    ran::note(key, &what);
    if what == "bad" { Err("it is bad".to_owned()) } else { Ok(what) }
}

#[durable(name = "importing.item")]
async fn item(n: u64) -> Result<u64, String> {
    Ok(n + 1)
}

/// Waits for a signal after steps of every kind.
#[durable(name = "importing.waits", tags = ["imported"])]
async fn waits(key: u64) -> Result<String, Error> {
    let first = counted(key, "first".to_owned()).await?;
    let second = stent::step("inline", async || ran::note(key, "inline")).await.map(|()| "second")?;
    let items = item::map(0..5).await?;
    counted(key, "bad".to_owned()).await.expect_err("it fails");
    let execution = stent::execution()?;
    execution.counter("seen").add(3)?;
    execution.state("phase").set(&"waiting")?;
    execution.progress("halfway")?;
    stent::sleep("1ms").await?;
    let by: String = stent::signal("approval").await?;
    let last = counted(key, "last".to_owned()).await?;
    Ok(format!("{first} {second} {} {by} {last}", items.len()))
}

#[durable(name = "importing.sleeps")]
async fn sleeps(key: u64) -> Result<String, Error> {
    counted(key, "before".to_owned()).await?;
    stent::sleep("1h").await?;
    Ok("slept".to_owned())
}

#[durable(name = "importing.fails", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn fails(_key: u64) -> Result<(), String> {
    Err("never".to_owned())
}

#[durable(name = "importing.child")]
async fn child(key: u64) -> Result<String, Error> {
    let what: String = stent::signal("go").await?;
    ran::note(key, "child");
    Ok(what)
}

#[durable(name = "importing.parent")]
async fn parent(key: u64) -> Result<String, Error> {
    let handle = stent::spawn(child(key)).await?;
    handle.result().await
}

/// Each part as a line of a file and back.
async fn export(stent: &Stent, id: ExecutionId) -> Vec<ExportRecord> {
    let (mut export, mut parts) = (stent.inspect().export(id), Vec::new());
    while let Some(part) = export.next().await.expect("read") {
        let line = serde_json::to_string(&part).expect("encodes");
        parts.push(serde_json::from_str(&line).expect("decodes"));
    }
    parts
}

async fn import(stent: &Stent, parts: Vec<ExportRecord>) -> stent::Result<stent::Imported> {
    let mut import = stent.import();
    for part in parts {
        import.add(part)?;
    }
    import.write().await
}

/// The parts without nonces, which an import drops.
fn plain(parts: Vec<ExportRecord>) -> Vec<ExportRecord> {
    let plain = |epoch: &mut serde_json::Value| {
        let stored = epoch.as_i64().expect("an integer");
        *epoch = (if stored >> 31 == 0 { stored } else { stored >> 31 }).into();
    };
    let parts = parts.into_iter().map(|part| {
        let mut value = serde_json::to_value(&part).expect("encodes");
        if let Some(row) = value.pointer_mut("/row/row") {
            plain(&mut row["epoch"]);
            plain(&mut row["commit_epoch"]);
        }
        serde_json::from_value(value).expect("decodes")
    });
    parts.collect()
}

fn problem<T: std::fmt::Debug>(result: stent::Result<T>) -> ImportError {
    match result {
        Err(Error::Import(problem)) => problem,
        other => panic!("it should be refused: {other:?}"),
    }
}

async fn elsewhere() -> Stent {
    Stent::builder().registry(Registry::linked()).connect("memory:").await.expect("connects")
}

on_every_store! {
    async fn executions_of_every_kind_survive_a_round_trip_and_run_on(world) {
        let key = unique();
        let worker = world.worker().await;
        let stent = &world.stent;
        let waiting = stent.dispatch(waits(key)).idempotency_key(format!("order {key}")).await.expect("dispatched");
        let sleeping = stent.dispatch(sleeps(key)).max_duration("1d").await.expect("dispatched");
        let failed = stent.dispatch(fails(key)).priority(3).await.expect("dispatched");
        let child_of = stent.dispatch(parent(key)).await.expect("dispatched");
        let pending = stent.dispatch(sleeps(key)).queue("nobody").tag("eu").await.expect("dispatched");
        let cancelled = stent.dispatch(sleeps(key)).queue("nobody").await.expect("dispatched");
        stent.cancel(cancelled.id()).await.expect("cancelled");
        failed.result().timeout("20s").await.expect_err("it fails");
        eventually(async || {
            let mut parked = true;
            for (id, kind) in [(waiting.id(), "signal"), (sleeping.id(), "sleep"), (child_of.id(), "join")] {
                let tasks = stent.inspect().timeline(id).await.expect("read");
                let root = tasks.iter().find(|task| task.parent.is_none());
                parked &= root.is_some_and(|root| root.status == TaskStatus::Waiting);
                parked &= tasks.iter().any(|task| {
                    task.kind.as_str() == kind && task.status == TaskStatus::Waiting
                });
            }
            parked
        }).await;
        worker.drain().await.expect("drains");
        let spawned = export(stent, child_of.id()).await.into_iter().find_map(|part| match part {
            ExportRecord::Step { step, .. } if step.kind == stent::view::StepKind::Spawn => match step.state {
                stent_core::model::StepState::Done { result: Ok(id), .. } => id.decode::<ExecutionId>().ok(),
                _ => None,
            },
            _ => None,
        }).expect("a child");
        stent.send_signal(waiting.id(), "later", &7).await.expect("sent");

        let other = elsewhere().await;
        // The child comes first: its parent waits for it.
        let refused = problem(import(&other, export(stent, child_of.id()).await).await);
        assert_eq!(refused, ImportError::Awaits { execution: child_of.id(), awaited: spawned });
        let all = [waiting.id(), sleeping.id(), failed.id(), spawned, child_of.id(), pending.id(), cancelled.id()];
        for id in all {
            let parts = export(stent, id).await;
            let imported = import(&other, parts.clone()).await.expect("imported");
            assert_eq!(imported.execution, id);
            assert_eq!(plain(export(&other, id).await), plain(parts.clone()), "there");
            assert_eq!(problem(import(&other, parts).await), ImportError::Exists(id));
        }
        assert_eq!(other.dead_letters().list(None, 9).await.expect("read").len(), 1);
        let again = other.dispatch(waits(key)).idempotency_key(format!("order {key}")).await.expect("known");
        assert_eq!(again.id(), waiting.id(), "the key came with the execution");

        let worker = other.worker().state(crate::Db).start().await.expect("a worker");
        other.send_signal(waiting.id(), "approval", &"kim").await.expect("sent");
        other.send_signal(spawned, "go", &"gone").await.expect("sent");
        let result = |id| {
            let wait = other.wait_for(id).timeout("20s");
            async move { wait.await.expect("ends").decode::<String>().expect("a text") }
        };
        assert_eq!(result(waiting.id()).await, "first second 5 kim last");
        assert_eq!(result(child_of.id()).await, "gone");
        // All attempts of the failed step were made before the import.
        for (what, times) in [("first", 1), ("inline", 1), ("bad", 3), ("last", 1), ("child", 1)] {
            assert_eq!(ran::count(key, what), times, "{what}");
        }
        assert_eq!(other.inspect().describe(sleeping.id()).await.expect("known").status, ExecutionStatus::Running);
        worker.drain().await.expect("drains");
    }

    async fn an_import_into_each_store_has_the_record_and_runs_on(world) {
        let key = unique();
        let other = elsewhere().await;
        let worker = other.worker().state(crate::Db).start().await.expect("a worker");
        let waiting = other.dispatch(waits(key)).await.expect("dispatched");
        let failed = other.dispatch(fails(key)).await.expect("dispatched");
        failed.result().timeout("20s").await.expect_err("it fails");
        eventually(async || {
            let tasks = other.inspect().timeline(waiting.id()).await.expect("read");
            tasks.iter().any(|task| task.kind.as_str() == "signal")
                && tasks.iter().all(|task| task.status != TaskStatus::Running)
        }).await;
        worker.drain().await.expect("drains");

        for id in [waiting.id(), failed.id()] {
            let parts = export(&other, id).await;
            import(&world.stent, parts.clone()).await.expect("imported");
            assert_eq!(plain(export(&world.stent, id).await), plain(parts));
        }
        let worker = world.worker().await;
        world.stent.send_signal(waiting.id(), "approval", &"kim").await.expect("sent");
        let done = world.stent.wait_for(waiting.id()).timeout("20s").await.expect("ends");
        assert_eq!(done.decode::<String>().expect("a text"), "first second 5 kim last");
        assert_eq!((ran::count(key, "first"), ran::count(key, "inline")), (1, 1));
        worker.drain().await.expect("drains");
    }

    async fn parts_that_are_no_whole_export_are_refused(world) {
        let key = unique();
        let one = world.stent.dispatch(sleeps(key)).await.expect("dispatched").id();
        let two = world.stent.dispatch(sleeps(key)).await.expect("dispatched").id();
        let (parts, others) = (export(&world.stent, one).await, export(&world.stent, two).await);
        let other = elsewhere().await;
        let refused = async |parts: Vec<ExportRecord>| problem(import(&other, parts).await);

        assert_eq!(refused(vec![]).await, ImportError::Empty);
        assert_eq!(refused(parts[1..].to_vec()).await, ImportError::NoStart);
        assert_eq!(refused(parts[..parts.len() - 1].to_vec()).await, ImportError::CutOff(one));
        let mixed = [&parts[..2], &others[2..]].concat();
        assert_eq!(refused(mixed).await, ImportError::Mixed { first: one, other: two });
        assert_eq!(refused([&parts[..], &parts[parts.len() - 1..]].concat()).await, ImportError::Longer(one));
        let old = parts.iter().filter(|part| {
            !matches!(part, ExportRecord::Format { .. } | ExportRecord::Row(_) | ExportRecord::KeyEntry(_))
        });
        assert_eq!(refused(old.cloned().collect()).await, ImportError::Old(one));
        let newer = ExportRecord::Format { format: ExportRecord::FORMAT + 1, writer: "9.0.0".to_owned() };
        let newer = [&parts[..1], &[newer], &parts[2..]].concat();
        assert_eq!(refused(newer).await, ImportError::Format { format: ExportRecord::FORMAT + 1, writer: "9.0.0".to_owned() });
        let rootless = parts.iter().filter(|part| !matches!(part, ExportRecord::Row(_)));
        assert!(matches!(refused(rootless.cloned().collect()).await, ImportError::Torn { .. }));
        assert!(matches!(other.inspect().describe(one).await, Err(Error::NotFound(_))), "nothing was written");

        let mut dry = other.import();
        parts.iter().cloned().for_each(|part| dry.add(part).expect("fits"));
        let checked = dry.queue("debugging").check().await.expect("well");
        assert_eq!((checked.tasks, checked.open, checked.queues.contains("debugging")), (1, 1, true));
        assert!(matches!(other.inspect().describe(one).await, Err(Error::NotFound(_))), "nothing was written");
    }
}

/// As many tasks as an import may have, with nearly as many bytes.
fn largest(parts: Vec<ExportRecord>) -> Vec<ExportRecord> {
    let [first, format, ExportRecord::Task { task, .. }, ExportRecord::Row(root), .., notes] = &parts[..]
    else {
        panic!("the export of a pending execution: {parts:?}");
    };
    let mut all = vec![first.clone(), format.clone()];
    let args = stent::Payload::new("application/json", vec![b' '; 5_900]);
    for n in 0..10_000 {
        let (mut task, mut row) = (task.clone(), root.clone());
        if n > 0 {
            let id = stent::TaskId::from_uuid(stent::Uuid::from_u128(task.id.as_uuid().as_u128() + n));
            (task.id, task.parent, task.seq) = (id, Some(root.row.id), stent::view::Seq(n as u32));
            (row.row.id, row.row.tree) =
                (id, stent_core::model::Tree::step(root.row.tree.execution, root.row.id));
        }
        all.push(ExportRecord::Task { task, args: Some(args.clone()) });
        all.push(ExportRecord::Row(row));
    }
    all.push(notes.clone());
    all
}

on_every_store! {
    async fn the_largest_import_fits(world) {
        let other = elsewhere().await;
        let id = other.dispatch(sleeps(unique())).await.expect("dispatched").id();
        let parts = largest(export(&other, id).await);

        let imported = import(&world.stent, parts).await.expect("imported");

        assert_eq!((imported.tasks, imported.open), (10_000, 10_000));
        assert_eq!(world.stent.inspect().timeline(id).await.expect("read").len(), 10_000);
        assert_eq!(world.stent.inspect().queue_depth(None).await.expect("counted"), 10_000);
    }
}
