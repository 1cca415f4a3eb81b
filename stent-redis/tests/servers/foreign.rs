//! Values that another program has written under keys of the namespace: errors name the key.

use stent_core::backend::{Backend, ErrorKind, Inspect};

use crate::server::Server;
use crate::support::{Warnings, new_id, open, start, write};
use crate::work::{claim, limited, t};

/// Returns the message of a write and of a claim, where each fails.
async fn said(server: &Server) -> Vec<String> {
    let store = open(&server.options()).await;
    let written = write(&store, new_id()).await.map(drop);
    let functions = ["f".to_owned()];
    let request = stent_core::backend::ClaimRequest {
        worker: stent_core::WorkerId::from_uuid(uuid::Uuid::from_u128(7)),
        nonce: stent_core::model::Nonce::new(7),
        now: t(1),
        until: t(60),
        max: 1,
        functions: &functions,
        queues: None,
        tags: &[],
        limits: &[],
        cache: &stent_core::backend::NoStickyCache,
    };
    let claimed = store.exchange(&[], Some(&request)).await.map(drop);
    let errors = [written, claimed].into_iter().filter_map(Result::err);
    errors
        .map(|error| {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            error.to_string()
        })
        .collect()
}

#[tokio::test]
async fn a_value_of_another_type_is_named_by_its_key() {
    for (tag, command, errors) in [
        ("lock", ["RPUSH", "stent:{test}:lock", "x"], 2),
        ("lanes", ["SET", "stent:{test}:lanes", "x"], 1),
        ("due", ["SET", "stent:{test}:due", "x"], 2),
        ("d", ["SET", "stent:{test}:d", "x"], 1),
        ("roots", ["RPUSH", "stent:{test}:roots", "x"], 1),
    ] {
        let server = Server::start(&[]);
        let _: redis::Value = server.ask(&command);

        let said = said(&server).await;

        assert!(said.len() >= errors, "{tag}: {said:?}");
        for said in said {
            assert!(said.contains(&format!("under \"stent:{{test}}:{tag}\"")), "{tag}: {said}");
        }
    }
}

#[tokio::test]
async fn a_foreign_value_in_the_place_of_the_lock_is_an_error_and_no_endless_wait() {
    let server = Server::start(&[]);
    let _: redis::Value = server.ask(&["SET", "stent:{test}:lock", "mine"]);

    let said = said(&server).await;

    assert_eq!(said.len(), 2, "{said:?}");
    for said in said {
        assert!(said.contains("under \"stent:{test}:lock\" that is not Stent's"), "{said}");
    }
}

#[tokio::test]
async fn a_foreign_value_in_the_place_of_a_task_is_named_and_holds_up_nobody() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    let (broken, sound) = (new_id(), new_id());
    store.exchange(&[start(broken), start(sound)], None).await.expect("writes");
    let key = [b"stent:{test}:t:".as_slice(), broken.root().as_uuid().as_bytes()].concat();
    redis::cmd("SET").arg(&key).arg("mine").exec(&mut server.admin()).expect("it is written");
    let log = Warnings::new();

    let claimed = claim(&store, 2, t(1)).await;

    assert_eq!(claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), [sound.root()]);
    let named = key.escape_ascii().to_string();
    let lines = log.lines();
    assert!(
        lines.len() == 1 && lines[0].contains("is no task") && lines[0].contains("stent:{test}:t:"),
        "{lines:?}"
    );
    assert_eq!(limited(&store, 2, t(2), None).await.claimed, []);
    let error = store.tasks(broken, None, 10).await.expect_err("it is no task");
    assert!(error.to_string().contains(&named), "{error}");
}
