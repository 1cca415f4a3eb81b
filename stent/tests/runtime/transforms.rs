//! The application's payload transforms: payloads are sealed in the store, and nothing else changes.

use serde::{Deserialize, Serialize};
use stent::backend::Store;
use stent::prelude::*;
use stent::{Payload, PayloadTransform, TransformError};

use crate::{Db, on_every_store};

/// A weak cipher, whose output starts with its key, so that a wrong key is noticed.
#[derive(Clone, Copy, Debug)]
struct Xor(&'static str, u8);

impl PayloadTransform for Xor {
    fn name(&self) -> &str {
        self.0
    }

    fn seal(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
        Ok(std::iter::once(self.1).chain(bytes.into_iter().map(|byte| byte ^ self.1)).collect())
    }

    fn open(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
        match bytes.split_first() {
            Some((key, bytes)) if *key == self.1 => Ok(bytes.iter().map(|byte| byte ^ self.1).collect()),
            _ => Err("another key".into()),
        }
    }
}

const A: Xor = Xor("xor-a", 0x5a);
const B: Xor = Xor("xor-b", 0x33);

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("declined")]
struct SecretError {
    secret: String,
}

#[durable(name = "transforms.echo")]
async fn echo(secret: String) -> Result<String, String> {
    Ok(secret)
}

#[durable(name = "transforms.fails", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn fails(secret: String) -> Result<(), SecretError> {
    Err(SecretError { secret })
}

/// A payload goes through everything that a payload can go through.
#[durable(name = "transforms.all")]
async fn everything(secret: String) -> Result<Vec<String>, stent::Error> {
    let mut secrets = vec![echo(secret.clone()).await?];
    let (left, right) = stent::join!(echo(secret.clone()), echo(secret.clone()));
    secrets.extend([left?, right?]);
    secrets.push(stent::step("inline", || async { Ok::<_, String>(secret.clone()) }).await?);
    stent::sleep("1ms").await?;
    secrets.extend(echo::map(vec![secret.clone(), secret.clone()]).await?);
    let error = fails(secret.clone()).await.expect_err("it fails");
    secrets.push(error.downcast::<SecretError>().expect("it is one of these").secret);
    Ok(secrets)
}

#[durable(name = "transforms.notes")]
async fn keeps_a_state() -> Result<String, stent::Error> {
    let secret: String = stent::signal("secret").await?;
    stent::execution()?.state("secret").set(&secret)?;
    Ok(secret)
}

async fn opened(
    world: &crate::World,
    options: impl FnOnce(stent::StentBuilder) -> stent::StentBuilder,
) -> Stent {
    options(Stent::builder()).open(world.stent.store().clone()).await.expect("opens")
}

/// The result of an execution as the store has it.
async fn stored(store: &dyn Store, id: stent::ExecutionId) -> Payload {
    let views = store.executions(&[id]).await.expect("answers");
    views[0].result.clone().expect("ended").expect("well")
}

fn holds(payload: &Payload, text: &str) -> bool {
    payload.bytes().windows(text.len()).any(|window| window == text.as_bytes())
}

on_every_store! {
    async fn a_payload_comes_back_whatever_it_has_gone_through(world) {
        for cache in [0, 100] {
            let stent = opened(&world, |stent| stent.transform(A)).await;
            let worker = stent.worker().state(Db).cache(cache).start().await.expect("starts");
            let run = stent.dispatch(everything("hush".to_owned())).await.expect("dispatched");
            assert_eq!(run.result().timeout("20s").await.expect("runs"), vec!["hush"; 7]);
            let raw = stent.wait_for(run.id()).await.expect("ended");
            assert_eq!(raw.content_type(), "application/cbor");

            // A reader of another process reads it too.
            let reader = opened(&world, |stent| stent.decode_with(A)).await;
            assert_eq!(reader.handle::<Vec<String>>(run.id()).result().await.expect("opens"), vec!["hush"; 7]);
            worker.drain().await.expect("drains");
        }
    }

    async fn the_store_sees_sealed_bytes_only(world) {
        let stent = opened(&world, |stent| stent.codec(stent::Codec::Json).transform(A)).await;
        let worker = stent.worker().state(Db).start().await.expect("starts");
        let run = stent.dispatch(everything("hush".to_owned())).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        worker.drain().await.expect("drains");

        let result = stored(&**world.stent.store(), run.id()).await;
        assert_eq!(result.content_type(), "application/json+xor-a");
        assert!(!holds(&result, "hush"), "{:?}", result.bytes());
        let tasks = stent.inspect().timeline(run.id()).await.expect("a timeline");
        let map = tasks.iter().find(|task| task.kind == stent::view::StepKind::Map).expect("it maps");
        let items = world.stent.store().items(map.id, stent::backend::model::Seq(0), 10).await.expect("answers");
        assert_eq!(items.len(), 2);
        for item in items {
            let result = item.result.expect("ended").expect("well");
            assert!(!holds(&item.args, "hush") && !holds(&result, "hush"));
            assert!(item.args.content_type().ends_with("+xor-a") && result.content_type().ends_with("+xor-a"));
        }
        // The data of an error too, though not its message.
        let failed = stent.dispatch(fails("hush".to_owned())).await.expect("dispatched");
        let worker = stent.worker().state(Db).start().await.expect("starts");
        let error = failed.result().timeout("20s").await.expect_err("fails");
        assert_eq!(error.downcast::<SecretError>().expect("one of these").secret, "hush");
        worker.drain().await.expect("drains");
        let views = world.stent.store().executions(&[failed.id()]).await.expect("answers");
        let failure = views[0].result.clone().expect("ended").expect_err("it failed");
        assert_eq!(failure.message, "declined");
        assert!(!holds(&failure.data.expect("kept"), "hush"));
    }

    async fn signals_states_and_dead_letters_are_sealed_too(world) {
        let stent = opened(&world, |stent| stent.transform(A)).await;
        let worker = stent.worker().state(Db).start().await.expect("starts");
        let run = stent.dispatch(keeps_a_state()).await.expect("dispatched");
        run.signal("secret", &"hush").await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), "hush");
        let failed = stent.dispatch(fails("hush".to_owned())).await.expect("dispatched");
        failed.result().timeout("20s").await.expect_err("fails");
        worker.drain().await.expect("drains");

        let (sealed, opened) = (world.stent.store(), stent.store());
        let state = async |store: &dyn Store| store.notes(run.id()).await.expect("answers").states["secret"].clone();
        assert!(!holds(&state(&**sealed).await, "hush"));
        assert_eq!(state(&**opened).await.decode::<String>().expect("opened"), "hush");

        let letter = async |store: &dyn Store| store.dead_letter(failed.id()).await.expect("answers").expect("is one");
        assert!(!holds(&letter(&**sealed).await.args, "hush"));
        let letter = letter(&**opened).await;
        assert_eq!(letter.args.decode::<(String,)>().expect("opened").0, "hush");
        let data = |ended: &stent::view::EndedClaim| ended.failure.as_ref().and_then(|failure| failure.data.clone()).expect("kept");
        let ended_claims = async |store: &dyn Store| store.ended_claims(failed.id().root()).await.expect("answers");
        assert!(ended_claims(&**sealed).await.iter().all(|ended| !holds(&data(ended), "hush")));
        for ended in ended_claims(&**opened).await {
            assert_eq!(data(&ended).decode::<SecretError>().expect("opened").secret, "hush");
        }
    }

    async fn a_transform_can_be_introduced_and_replaced_while_work_is_stored(world) {
        let plain = world.stent.dispatch(echo("plain".to_owned())).await.expect("dispatched");
        let old = opened(&world, |stent| stent.transform(A)).await;
        let old = old.dispatch(echo("old".to_owned())).await.expect("dispatched");

        let stent = opened(&world, |stent| stent.transform(B).decode_with(A)).await;
        let worker = stent.worker().state(Db).start().await.expect("starts");
        for (id, expected) in [(plain.id(), "plain"), (old.id(), "old")] {
            let text = stent.handle::<String>(id).result().timeout("20s").await.expect("runs");
            assert_eq!(text, expected);
            assert_eq!(stored(&**world.stent.store(), id).await.content_type(), "application/cbor+xor-b");
        }
        worker.drain().await.expect("drains");
    }

    async fn what_cannot_be_opened_says_so(world) {
        let stent = opened(&world, |stent| stent.transform(A)).await;
        let worker = stent.worker().state(Db).start().await.expect("starts");
        let run = stent.dispatch(echo("hush".to_owned())).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        worker.drain().await.expect("drains");

        // A reader without the transform, and a reader with another key.
        let wrong_key = opened(&world, |stent| stent.decode_with(Xor("xor-a", 1))).await;
        for stent in [&world.stent, &wrong_key] {
            let error = stent.handle::<String>(run.id()).result().await.expect_err("sealed").to_string();
            assert!(error.contains("application/cbor+xor-a") && error.contains("still sealed"), "{error}");
        }
    }

    async fn transforms_whose_names_do_not_fit_are_refused(world) {
        let store = || world.stent.store().clone();
        let error = Stent::builder().transform(Xor("a+b", 1)).open(store()).await.expect_err("a plus").to_string();
        assert!(error.contains("`transform`") && error.contains("a+b"), "{error}");
        let error = Stent::builder().transform(A).decode_with(A).open(store()).await.expect_err("twice").to_string();
        assert!(error.contains("two transforms"), "{error}");
    }
}

#[test]
fn an_unknown_content_type_is_named_with_those_that_are_known() {
    let error =
        Payload::new("application/x-pickle", vec![1]).decode::<u8>().expect_err("unknown").to_string();
    assert!(error.contains("application/x-pickle") && error.contains("application/cbor"), "{error}");
}
