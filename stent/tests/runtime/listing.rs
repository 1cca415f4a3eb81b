//! Reads: executions by page and filter, counts, running tasks, views and timelines.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use stent::prelude::*;
use stent::view::{ClaimEnd, EndedClaim, ExportRecord, Filter, Mark, StepKind, TaskStatus};
use stent::{Error, ExecutionStatus};

use crate::rigged::Rigged;
use crate::{eventually, on_every_store, ran, unique};

#[durable(name = "listing.good", tags = ["listed"])]
async fn good(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable(name = "listing.bad", retry(max_attempts = 3, initial_delay = "1ms"))]
async fn bad(_n: u64) -> Result<u64, std::num::ParseIntError> {
    "x".parse()
}

#[durable(name = "listing.gated")]
async fn gated(key: u64) -> Result<(), Error> {
    ran::note(key, "runs");
    while ran::count(key, "go") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

#[durable(name = "listing.second", retry(max_attempts = 2, initial_delay = "5ms"))]
async fn second_time(key: u64) -> Result<(), String> {
    ran::note(key, "tried");
    if ran::count(key, "tried") < 2 { Err("not yet".to_owned()) } else { Ok(()) }
}

/// Fails with another message each time.
#[durable(name = "listing.varies", retry(max_attempts = 3, initial_delay = "2ms"))]
async fn varies(key: u64) -> Result<(), String> {
    ran::note(key, "varied");
    match ran::count(key, "varied") {
        3 => Ok(()),
        n => Err(format!("no {n}")),
    }
}

#[durable(name = "listing.calls_varies")]
async fn calls_varies(key: u64) -> Result<(), Error> {
    varies(key).queue("gates").await
}

#[durable(name = "listing.once", idempotent)]
async fn once(_key: u64) -> Result<(), String> {
    Ok(())
}

/// A step with two attempts, a step that fails for good, a hit, and a step that is running.
#[durable(name = "listing.tells")]
async fn tells(key: u64) -> Result<(), Error> {
    second_time(key).await?;
    bad(key).await.expect_err("it always fails");
    once(key).await?;
    once(key).await?;
    stent::execution()?.progress("halfway")?;
    // A step that runs in its parent's turn is written when it has ended; this one may run on another worker.
    gated(key).queue("gates").await
}

#[durable(name = "listing.maps")]
async fn maps(items: u64) -> Result<usize, Error> {
    Ok(good::map(0..items).await?.len())
}

fn status(status: ExecutionStatus) -> Filter {
    Filter::default().status(status)
}

on_every_store! {
    async fn executions_are_listed_newest_first_in_pages_and_by_what_fits(world) {
        let stent = &world.stent;
        let mut all = Vec::new();
        for n in 0..7 {
            let run = match n % 2 {
                0 => stent.dispatch(good(n)).await,
                _ => stent.dispatch(bad(n)).queue("odd").await,
            };
            all.push(run.expect("dispatched").id());
        }
        let newest: Vec<_> = all.iter().rev().copied().collect();
        let list = async |filter: Filter| {
            let mut listed = Vec::new();
            loop {
                let page = stent.inspect().list(&filter, listed.last().copied(), 2).await.expect("listed");
                assert!(page.len() <= 2, "a page is no longer than asked for");
                let is_last = page.len() < 2;
                listed.extend(page.into_iter().map(|view| view.id));
                if is_last {
                    return listed;
                }
            }
        };
        let fits = |fits: fn(usize) -> bool| {
            let fitting = all.iter().enumerate().filter(|(n, _)| fits(*n)).map(|(_, id)| *id);
            fitting.rev().collect::<Vec<_>>()
        };
        assert_eq!(list(Filter::default()).await, newest);
        assert_eq!(list(status(ExecutionStatus::Pending)).await, newest);
        assert_eq!(list(status(ExecutionStatus::Completed)).await, []);
        let odd = |n: usize| n % 2 == 1;
        let even = |n: usize| n.is_multiple_of(2);
        assert_eq!(list(Filter::default().queue("odd")).await, fits(odd));
        assert_eq!(list(Filter::default().tag("listed")).await, fits(even));
        assert_eq!(list(Filter::default().function("listing.bad")).await, fits(odd));

        let worker = world.worker().await;
        for id in &all {
            let _ = stent.wait_for(*id).timeout("20s").await;
        }
        assert_eq!(list(status(ExecutionStatus::Pending)).await, []);
        assert_eq!(list(status(ExecutionStatus::Completed)).await, fits(even));
        assert_eq!(list(status(ExecutionStatus::Failed)).await, fits(odd));

        let last = stent.inspect().describe(all[6]).await.expect("known").created_at;
        let keyed = stent.dispatch(good(7)).idempotency_key("order-7").await.expect("dispatched").id();
        assert_eq!(list(Filter::default().key("listing.good", "order-7")).await, [keyed]);
        assert_eq!(list(Filter::default().key("listing.bad", "order-7")).await, []);
        assert_eq!(list(Filter::default().since(last)).await.first(), Some(&keyed));
        assert_eq!(list(Filter::default().until(last)).await.last(), newest.last());
        worker.drain().await.expect("drains");
    }

    async fn an_export_has_the_whole_record_and_survives_a_file(world) {
        let key = unique();
        let worker = world.worker().await;
        ran::note(key, "go");
        let run = world.stent.dispatch(tells(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        let maps = world.stent.dispatch(maps(3)).await.expect("dispatched");
        assert_eq!(maps.result().timeout("20s").await.expect("runs"), 3);
        worker.drain().await.expect("drains");
        let export = async |id| {
            let (mut export, mut parts) = (world.stent.inspect().export(id), Vec::new());
            while let Some(part) = export.next().await.expect("read") {
                let line = serde_json::to_string(&part).expect("encodes");
                assert_eq!(serde_json::from_str::<ExportRecord>(&line).expect("decodes"), part, "{line}");
                parts.push(part);
            }
            parts
        };

        let parts = export(run.id()).await;
        let described = world.stent.inspect().describe(run.id()).await.expect("known");
        assert_eq!(parts.first(), Some(&ExportRecord::Execution(described)));
        assert_eq!(parts.last(), Some(&ExportRecord::Notes(world.stent.notes(run.id()).await.expect("read"))));
        let tasks: Vec<_> = parts.iter().filter_map(|part| match part {
            ExportRecord::Task { task, args } => Some((task.clone(), args.is_some())),
            _ => None,
        }).collect();
        assert_eq!(
            tasks.iter().map(|(task, _)| task.clone()).collect::<Vec<_>>(),
            world.stent.inspect().timeline(run.id()).await.expect("a timeline"),
        );
        assert!(tasks.iter().all(|(task, has_args)| *has_args == (task.kind == StepKind::Call)));
        let done: Vec<_> = parts.iter().filter_map(|part| match part {
            ExportRecord::Step { parent, step } if *parent == run.id().root() => step.order(),
            _ => None,
        }).collect();
        assert_eq!(done, (1..=u32::try_from(done.len()).expect("few")).collect::<Vec<_>>(), "in the order of completion");
        assert_eq!(done.len(), tasks.iter().filter(|(task, _)| task.parent == Some(run.id().root())).count());
        let ended: Vec<_> = parts.iter().filter_map(|part| match part {
            ExportRecord::EndedClaim(ended) => Some(ended.clone()),
            _ => None,
        }).collect();
        let mut known = Vec::new();
        for (task, _) in &tasks {
            known.extend(world.stent.inspect().ended_claims(task.id).await.expect("read"));
        }
        assert_eq!(ended, known);
        assert!(!ended.is_empty(), "a step was retried");

        let parts = export(maps.id()).await;
        let items: Vec<_> = parts.iter().filter_map(|part| match part {
            ExportRecord::Item { item, .. } => {
                let result = item.result.clone().expect("has ended").expect("well");
                Some((item.args.decode::<(u64,)>().expect("a number").0, result.decode::<u64>().expect("a number")))
            }
            _ => None,
        }).collect();
        assert_eq!(items, [(0, 0), (1, 1), (2, 2)]);

        let nobody = stent::ExecutionId::from_uuid(stent::Uuid::from_u128(7));
        assert!(matches!(world.stent.inspect().export(nobody).next().await, Err(Error::NotFound(id)) if id == nobody));
    }

    async fn executions_queues_and_dead_letters_are_counted_and_not_read(world) {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        let bads = stent.dispatch_all((0..3).map(bad)).await.expect("dispatched");
        let goods = stent.dispatch_all((0..5).map(good)).await.expect("dispatched");
        let worker = world.worker().await;
        for run in bads {
            run.result().timeout("20s").await.expect_err("it always fails");
        }
        for run in goods {
            run.result().timeout("20s").await.expect("runs");
        }
        worker.drain().await.expect("drains");
        stent.dispatch_all((0..4).map(|n| good(n).queue("later"))).await.expect("dispatched");
        stent.dispatch_all((0..2).map(|n| good(n).queue("later").delay("1h"))).await.expect("dispatched");
        stent.dispatch(good(9)).await.expect("dispatched");
        let before = rigged.reads.load(Ordering::SeqCst);

        let count = stent.inspect().count().await.expect("counted");
        let inspect = stent.inspect();
        let depths = [None, Some("later"), Some("default"), Some("unheard of")];
        let depths = futures::future::try_join_all(depths.map(|queue| inspect.queue_depth(queue)));
        let depths = depths.await.expect("counted");
        let letters = stent.dead_letters().stats().await.expect("counted");

        use ExecutionStatus::{Completed, Failed, Pending};
        assert_eq!(count, BTreeMap::from([(Pending, 7), (Completed, 5), (Failed, 3)]));
        assert_eq!(depths, [7, 6, 1, 0]);
        let letters: Vec<_> =
            letters.iter().map(|stat| (stat.reason.as_str(), stat.function.as_str(), stat.count)).collect();
        assert_eq!(letters, [("std::num::ParseIntError", "listing.bad", 3)]);
        assert_eq!(rigged.reads.load(Ordering::SeqCst), before, "no execution was read for it");
    }

    async fn what_runs_is_listed_last_claimed_first(world) {
        let (first, second) = (unique(), unique());
        let worker = world.worker().await;
        assert_eq!(world.stent.inspect().running(9).await.expect("read"), []);
        let mut runs = Vec::new();
        for key in [first, second] {
            runs.push(world.stent.dispatch(gated(key)).queue(format!("of {key}")).await.expect("dispatched"));
            eventually(async || ran::count(key, "runs") == 1).await;
        }
        let parked = world.stent.dispatch(good(1)).delay("1h").await.expect("dispatched");
        let running = world.stent.inspect().running(9).await.expect("read");
        let ids: Vec<_> = running.iter().map(|view| view.execution).collect();
        assert_eq!(ids, [runs[1].id(), runs[0].id()], "and nothing that waits, such as {}", parked.id());
        for (view, key) in running.iter().zip([second, first]) {
            assert_eq!((view.function.as_str(), view.queue.as_str()), ("listing.gated", format!("of {key}").as_str()));
            assert_eq!(view.worker, Some(worker.id()));
            assert!(view.lease_until > view.started_at, "{view:?}");
        }
        assert_eq!(world.stent.inspect().running(1).await.expect("read"), running[..1]);
        for (key, run) in [first, second].into_iter().zip(runs) {
            ran::note(key, "go");
            run.result().timeout("20s").await.expect("runs");
        }
        assert_eq!(world.stent.inspect().running(9).await.expect("read"), []);
        worker.drain().await.expect("drains");
    }

    async fn attempts_and_the_failure_are_seen_wherever_an_execution_is(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(bad(1)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it always fails");
        let view = world.stent.inspect().describe(run.id()).await.expect("known");
        let list = world.stent.inspect().list(&status(ExecutionStatus::Failed), None, 9).await.expect("listed");
        let letter = world.stent.dead_letters().show(run.id()).await.expect("shown");
        for view in [&view, &list[0], &letter.execution] {
            assert_eq!((view.id, view.attempts), (run.id(), 2), "two attempts were tried again");
            let failure = view.result.as_ref().expect("ended").as_ref().expect_err("failed");
            assert_eq!(failure.kind, "std::num::ParseIntError");
            assert!(failure.message.contains("invalid digit"), "{failure}");
        }
        let root = &world.stent.inspect().timeline(run.id()).await.expect("a timeline")[0];
        assert_eq!(root.attempts, 2);
        assert!(root.failure.as_deref().expect("failed").contains("invalid digit"), "{root:#?}");
        worker.drain().await.expect("drains");
    }

    async fn a_timeline_tells_of_every_attempt_when_it_was_asked_for_started_and_ended(world) {
        let key = unique();
        let worker = world.worker_with(|worker| worker.queues(["default"]).cache(0)).await;
        let gatekeeper = world.worker_with(|worker| worker.queues(["gates"])).await;
        let run = world.stent.dispatch(tells(key)).await.expect("dispatched");
        let gated = async || {
            let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            timeline.into_iter().find(|task| task.name == "listing.gated")
        };
        eventually(async || gated().await.is_some_and(|task| task.status == TaskStatus::Running)).await;
        let running = gated().await.expect("was asked for");
        assert!(running.started_at >= Some(running.created_at), "{running:#?}");
        assert_eq!(running.ended_at, None);
        let said = world.stent.notes(run.id()).await.expect("read");
        assert_eq!(said.progress.iter().map(|said| said.text.as_str()).collect::<Vec<_>>(), ["halfway"]);
        ran::note(key, "go");
        run.result().timeout("20s").await.expect("runs");

        let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        let told: Vec<_> = timeline
            .iter()
            .map(|task| (task.name.as_str(), task.status, task.attempts, task.marks.contains(Mark::Hit)))
            .collect();
        assert_eq!(told, [
            ("listing.tells", TaskStatus::Completed, 0, false),
            ("listing.second", TaskStatus::Completed, 1, false),
            ("listing.bad", TaskStatus::Failed, 2, false),
            ("listing.once", TaskStatus::Completed, 0, false),
            ("listing.once", TaskStatus::Completed, 0, true),
            ("listing.gated", TaskStatus::Completed, 0, false),
        ]);
        for task in &timeline {
            assert_eq!((task.kind, task.ended_at >= Some(task.created_at)), (StepKind::Call, true), "{task:#?}");
            assert!(task.started_at.is_none_or(|started| Some(started) <= task.ended_at), "{task:#?}");
        }
        // Each failed attempt, with its moment and its failure.
        for (task, attempts) in [(&timeline[1], 1), (&timeline[2], 3)] {
            let ended_claims = world.stent.dead_letters().history(task.id).await.expect("read");
            let failed = ended_claims.iter().filter(|ended| ended.end == ClaimEnd::Failed);
            assert!(ended_claims.iter().all(|ended| ended.failure.is_some()), "{ended_claims:#?}");
            assert!(ended_claims.is_sorted_by_key(|ended| ended.at), "{ended_claims:#?}");
            assert_eq!(failed.count(), attempts, "{ended_claims:#?}");
        }
        worker.drain().await.expect("drains");
        gatekeeper.drain().await.expect("drains");
    }

    async fn a_history_has_each_attempt_with_its_moment_its_worker_and_its_message(world) {
        let key = unique();
        let caller = world.worker_with(|worker| worker.queues(["default"])).await;
        let run = world.stent.dispatch(calls_varies(key)).await.expect("dispatched");
        let step = async || {
            let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            timeline.into_iter().find(|task| task.name == "listing.varies")
        };
        eventually(async || step().await.is_some()).await;
        let asked = step().await.expect("was asked for");
        assert_eq!((asked.status, asked.started_at, asked.ended_at), (TaskStatus::Pending, None, None));
        assert_eq!(world.stent.dead_letters().history(asked.id).await.expect("read"), []);

        let worker = world.worker_with(|worker| worker.queues(["gates"])).await;
        run.result().timeout("20s").await.expect("the third attempt is good");
        let ended = step().await.expect("it is there");
        let ended_claims = world.stent.dead_letters().history(asked.id).await.expect("read");
        let message = |ended: &EndedClaim| ended.failure.as_ref().expect("failed").message.clone();
        assert_eq!(ended_claims.iter().map(message).collect::<Vec<_>>(), ["no 1", "no 2"]);
        assert!(ended_claims.iter().all(|ended| (ended.worker, ended.end) == (Some(worker.id()), ClaimEnd::Failed)), "{ended_claims:#?}");
        // Asked for, started, failed, failed again, ended: in this order.
        let moments = [Some(ended.created_at), ended.started_at, Some(ended_claims[0].at), Some(ended_claims[1].at), ended.ended_at];
        assert!(moments.is_sorted() && ended_claims[0].at < ended_claims[1].at, "{ended:#?}, {ended_claims:#?}");
        assert_eq!(ended.created_at, asked.created_at, "an attempt that is made again is the same task");
        caller.drain().await.expect("drains");
        worker.drain().await.expect("drains");
    }

    async fn a_timeline_reads_as_one_line_of_what_ended_and_how_long_it_took(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(tells(key)).await.expect("dispatched");
        let line = async || {
            let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            let took = timeline.iter().filter_map(|task| {
                let took = task.ended_at?.since(task.started_at.unwrap_or(task.created_at));
                // In fifths of a second: on a busy machine, even instant work takes time.
                let waited = took >= std::time::Duration::from_millis(200);
                Some(format!("{}{}", task.name, if waited { " (long)" } else { "" }))
            });
            took.collect::<Vec<_>>().join(" > ")
        };
        eventually(async || ran::count(key, "runs") == 1).await;
        let short = |line: String| line.replace(" (long)", "");
        let steps = "listing.second > listing.bad > listing.once > listing.once";
        assert_eq!(short(line().await), steps, "what has ended, in order");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        ran::note(key, "go");
        run.result().timeout("20s").await.expect("runs");
        let line = line().await;
        assert_eq!(short(line.clone()), format!("listing.tells > {steps} > listing.gated"));
        // The call that had to wait, and so its parent.
        assert!(line.starts_with("listing.tells (long) >") && line.ends_with("listing.gated (long)"), "{line}");
        worker.drain().await.expect("drains");
    }
}
