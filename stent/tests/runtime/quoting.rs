//! Names, tags, keys and values are data, even if they would change a statement that contained them as text.

use std::collections::{BTreeMap, BTreeSet};

use stent::prelude::*;
use stent::view::Filter;
use stent::{Error, ExecutionStatus};

use crate::{on_every_store, ran, unique};

/// Texts with the quotes of both databases, the ends and beginnings of statements, parameters and wildcards, and the byte
/// that ends a text in C.
const ODD: [&str; 10] = [
    "'",
    "''); DROP TABLE stent_task; --",
    "\"; DELETE FROM stent_task; --",
    "\\' OR 1=1 --",
    "$1 $2 ?1 ?2 :name @name",
    "%_%",
    "$$ $tag$ /* */",
    "{\"a\": [1, 'b']}",
    "``[x]\n;\r\n\t",
    "naïve ☃ \u{1f980}",
];

#[durable(name = "quoting.told'; --")]
async fn told(key: u64, text: String) -> Result<String, Error> {
    let execution = stent::execution()?;
    execution.counter(&text).add(1)?;
    execution.state(&text).set(&text)?;
    execution.progress(text.clone())?;
    let signalled: String = stent::signal(&text).await?;
    let step = stent::step(&text, || async { Ok::<_, String>(text.clone()) }).await?;
    let kept = keeps(key, text.clone()).idempotency_key(&text).await?;
    assert_eq!((&step, &kept), (&text, &text));
    Ok(signalled)
}

#[durable(name = "quoting.keeps")]
async fn keeps(key: u64, text: String) -> Result<String, String> {
    ran::note(key, text.clone());
    Ok(text)
}

#[durable(name = "quoting.fails", retry(max_attempts = 1))]
async fn fails(text: String) -> Result<(), String> {
    Err(text)
}

on_every_store! {
    async fn names_and_values_of_any_text_are_data(world) {
        let key = unique();
        let stent = &world.stent;
        // A store of this test alone: all counts, lists and remaining rows are this test's.
        let mut runs = BTreeMap::new();
        for text in ODD {
            let dispatch = stent.dispatch(told(key, text.to_owned())).queue(text).tag(text).tag("all");
            runs.insert(text, dispatch.idempotency_key(text).await.expect("dispatched"));
        }
        let ids = runs.values().map(Handle::id).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), ODD.len(), "keys are told apart");

        for (text, run) in &runs {
            let again = stent.dispatch(told(key, (*text).to_owned())).idempotency_key(*text).await;
            assert_eq!(again.expect("found").id(), run.id());
            for filter in [
                Filter::default().queue((*text).to_owned()),
                Filter::default().tag((*text).to_owned()),
            ] {
                let found = stent.inspect().list(&filter, None, 99).await.expect("listed");
                assert_eq!(found.iter().map(|view| view.id).collect::<Vec<_>>(), [run.id()], "{filter:?}");
            }
            assert_eq!(stent.inspect().queue_depth(Some(text)).await.expect("counted"), 1);
            run.signal(*text, &format!("signalled {text}")).await.expect("sent");
        }
        let function = Filter::default().function("quoting.told'; --");
        assert_eq!(stent.inspect().list(&function, None, 99).await.expect("listed").len(), ODD.len());

        let only_first = world.worker_with(|worker| worker.queues([ODD[0], "default"]).tags([ODD[0]])).await;
        assert_eq!(runs[ODD[0]].result().timeout("20s").await.expect("runs"), format!("signalled {}", ODD[0]));
        let pending = stent.inspect().count().await.expect("counted");
        assert_eq!(pending[&ExecutionStatus::Pending] as usize, ODD.len() - 1, "no other queue, no other tag");
        only_first.drain().await.expect("drains");

        let worker = world.worker_with(|worker| worker.tags(["all"]).cache(0)).await;
        for (text, run) in &runs {
            assert_eq!(run.result().timeout("20s").await.expect("runs"), format!("signalled {text}"));
            let notes = run.notes().await.expect("read");
            assert_eq!(notes.counters, BTreeMap::from([((*text).to_owned(), 1)]));
            assert_eq!(notes.states[*text].decode::<String>().expect("a text"), *text);
            assert_eq!(notes.progress[0].text, *text);
            let steps = stent.inspect().timeline(run.id()).await.expect("a timeline");
            assert!(steps.iter().any(|step| step.name == *text), "{steps:#?}");
            assert_eq!(ran::count(key, text), 1);
            let failed = stent.run(fails((*text).to_owned())).await.expect_err("it fails");
            assert_eq!(failed.failure().expect("a failure").message, *text);
        }
        worker.drain().await.expect("drains");

        // No part of the text was executed as a statement.
        let count = stent.inspect().count().await.expect("counted");
        let all = ODD.len() as u64;
        assert_eq!(count, BTreeMap::from([(ExecutionStatus::Completed, all), (ExecutionStatus::Failed, all)]));
    }
}
