//! The identity of a step: kind, name and digest.

use super::*;
use crate::replay::{Difference, Walk};
use crate::{Codec, Digest, ExecutionId};

fn digest(value: &str) -> Digest {
    Digest::of(value).expect("has a digest")
}

/// Code that has asked for nothing yet.
fn run(recorded: Vec<Step>) -> Run {
    Run::new(&All(Vec::new()), 0, recorded)
}

/// A call of `charge` with this argument, as the code asks for it.
fn charge(arg: &str) -> Ask {
    let mut ask = ask_for(&Code::Call("charge"));
    ask.digest = Some(digest(arg));
    let StepSpec::Call { spec, .. } = &mut ask.what else { unreachable!("is a call") };
    spec.args = encoded(arg);
    ask
}

fn encoded(arg: &str) -> Payload {
    Codec::Cbor.encode_for_any(&(arg,)).expect("encodes")
}

/// The step that was recorded for it.
fn charged(arg: &str) -> Step {
    Step { digest: Some(digest(arg)), ..done(0, "charge", 1) }
}

/// Asks for a call with `bob` at the position of this recorded step.
fn asked_for_bob(recorded: Step) -> Option<Mismatch> {
    let mut run = self::run(vec![recorded]);
    let seq = run.replay.reserve();
    run.ask(seq, charge("bob")).err()
}

#[test]
fn the_same_arguments_are_the_same_step() {
    assert_eq!(asked_for_bob(charged("bob")), None);
}

#[test]
fn other_arguments_are_a_mismatch_that_shows_both() {
    let mismatch = asked_for_bob(charged("alice")).expect("differs");

    assert_eq!(mismatch.recorded, "call `charge` with other arguments");
    assert_eq!(mismatch.asked.as_deref(), Some("call `charge(\"bob\")`"));
    assert!(matches!(&mismatch.difference, Difference::Args { of, .. } if *of == old(0)));
    let alice = Codec::Json.encode_for_any(&("alice",)).expect("encodes");
    let text = mismatch.clone().shown(Ok(&[Some(alice)])).to_string();
    assert!(
        text.contains("  - recorded: call `charge(\"alice\")`\n  + the code:  call `charge(\"bob\")`\n"),
        "{text}"
    );
    assert!(!text.contains("HashSet"), "nobody passes one: {text}");

    let gone = mismatch.clone().shown(Ok(&[None])).to_string();
    assert!(gone.contains("call `charge` with other arguments, which no longer exist"), "{gone}");
    let unread = mismatch.clone().shown(Err("the store is closed")).to_string();
    assert!(unread.contains("which could not be read: the store is closed"), "{unread}");
    let sealed = mismatch.shown(Ok(&[Some(Payload::new("application/cbor+aes", vec![1]))])).to_string();
    assert!(sealed.contains("unreadable") && sealed.contains("transform"), "{sealed}");
}

#[test]
fn a_list_in_another_order_may_be_a_hash_set() {
    let differs = |recorded: &[&str], asked: &[&str]| {
        let args = |names: &[&str]| Codec::Cbor.encode_for_any(&(names,)).expect("encodes");
        let digest = |names: &[&str]| Some(Digest::of(&(names,)).expect("has a digest"));
        let mut run = self::run(vec![Step { digest: digest(recorded), ..done(0, "notify", 1) }]);
        let seq = run.replay.reserve();
        let mut ask = Ask { name: "notify".to_owned(), digest: digest(asked), ..charge("bob") };
        let StepSpec::Call { spec, .. } = &mut ask.what else { unreachable!("a call") };
        spec.args = args(asked);
        let mismatch = run.ask(seq, ask).expect_err("differs");
        let shown = mismatch.clone().shown(Ok(&[Some(args(recorded))])).to_string();
        assert!(mismatch.to_string().contains("HashSet"), "what was not compared may be one: {mismatch}");
        shown.contains("HashSet")
    };
    assert!(differs(&["ann", "bob"], &["bob", "ann"]));
    assert!(!differs(&["ann", "bob"], &["ann", "carol"]));
    let many: Vec<_> = (0..5_000).map(|n| ["ann", "bob", "carol"][n % 3]).collect();
    let others: Vec<_> = (0..5_000).map(|n| ["bob", "carol", "ann"][n % 3]).collect();
    assert!(differs(&many, &others), "as far as it is shown, it has other names");
}

#[test]
fn sealed_arguments_are_shown_nowhere() {
    let mut run = run(vec![charged("alice")]);
    run.replay = Replay::new(t(0), 1, vec![charged("alice")]).sealed(true);
    let seq = run.replay.reserve();
    let mismatch = run.ask(seq, charge("bob")).expect_err("differs");

    let text = mismatch.to_string();
    assert!(text.contains("call `charge` (arguments are sealed in this store, and not shown)"), "{text}");
    assert!(!text.contains("bob") && text.contains("HashSet"), "{text}");
    assert_eq!(run.replay.broken(), Some(&mismatch));
}

/// A replay of a redriven task that failed after this step had failed, and asks for it with `bob`.
fn redriven(failed_with: &str) -> Run {
    let declined = ended(0, "charge", 1, failed("declined"));
    let step = Step { digest: Some(digest(failed_with)), ..declined };
    let mut run = run(vec![step.clone()]);
    run.replay = Replay::new(t(0), 1, vec![step]).redriven(true);
    let seq = run.replay.reserve();
    assert!(run.ask(seq, charge("bob")).is_ok(), "the failed step leaves the record");
    assert_eq!(run.replay.deliver(), Some(seq));
    assert!(run.replay.take(seq).is_some());
    run
}

#[test]
fn a_redriven_task_may_ask_for_the_failed_step_with_other_arguments() {
    let run = redriven("alice");
    let end = run.replay.end(failed("declined"));
    assert_eq!((end.result, end.redo), (failed("declined"), vec![old(0)]));
}

#[test]
fn a_redriven_task_that_goes_on_after_a_failure_of_other_arguments_does_not_match() {
    let is_mismatch = |end: End| end.result.is_err_and(|failure| failure.kind == Failure::MISMATCH);
    assert!(is_mismatch(redriven("alice").replay.end(Ok(Payload::empty()))));
    assert!(!is_mismatch(redriven("bob").replay.end(Ok(Payload::empty()))));

    let mut goes_on = redriven("alice");
    assert_eq!(goes_on.replay.deliver(), None);
    assert!(goes_on.replay.broken().is_some());
    let mut goes_on = redriven("bob");
    assert_eq!(goes_on.replay.deliver(), None);
    assert_eq!(goes_on.replay.broken(), None);
}

#[test]
fn arguments_that_look_alike_are_said_to() {
    let bob = Codec::Cbor.encode_for_any(&("bob",)).expect("encodes");
    let mismatch = asked_for_bob(charged("bob with a key")).expect("differs").shown(Ok(&[Some(bob)]));
    assert!(mismatch.to_string().contains("the idempotency keys differ"), "{mismatch}");
}

#[test]
fn arguments_differ_visibly_if_their_readable_forms_do() {
    let mismatch = asked_for_bob(charged("bob with a key")).expect("differs");
    let json = Codec::Json.encode_for_any(&("bob",)).expect("encodes");

    assert!(mismatch.differs_visibly(&encoded("alice")));
    assert!(!mismatch.differs_visibly(&encoded("bob")), "they differ in a key that is not shown");
    assert!(!mismatch.differs_visibly(&json), "whatever the encoding");
    assert!(mismatch.differs_visibly(&Payload::new("application/cbor+aes", vec![1])), "unreadable");
}

#[test]
fn other_mismatches_than_those_of_one_call_are_visible() {
    let other_step = asked_for_bob(Step { name: "refund".to_owned(), ..charged("bob") }).expect("differs");
    let mut sealed = run(Vec::new());
    sealed.replay = Replay::new(t(0), 1, vec![charged("bob with a key")]).sealed(true);
    let seq = sealed.replay.reserve();
    let sealed = sealed.ask(seq, charge("bob")).expect_err("differs");
    let (mut map, seq) = map_of(&["bob"], Some(1), "item");
    map.replay.walked(seq, Walk { digest: items(&["a"]), ..walk(&["bob"], false) });
    let items = map.replay.broken().cloned().expect("differs");

    for mismatch in [other_step, sealed, items] {
        assert!(mismatch.differs_visibly(&encoded("bob")), "{mismatch}");
    }
}

#[test]
fn a_record_without_a_digest_replays_as_it_did() {
    assert_eq!(asked_for_bob(done(0, "charge", 1)), None);
    assert_eq!(asked_for_bob(open(0, "charge")), None);
}

#[test]
fn a_call_whose_arguments_are_not_compared_is_the_same_step() {
    let mut run = self::run(vec![charged("alice")]);
    let seq = run.replay.reserve();
    let ask = Ask { digest: None, ..charge("bob") };
    assert!(run.ask(seq, ask).is_ok());
}

#[test]
fn another_version_of_a_function_may_take_other_arguments() {
    for (recorded, differs) in [("charge@2", false), ("charge@", false), ("charge", true), ("refund", true)] {
        let step = Step { name: recorded.to_owned(), ..charged("alice") };
        assert_eq!(asked_for_bob(step).is_some(), differs, "{recorded}");
    }
}

#[test]
fn what_was_given_up_is_compared_too() {
    let given_up = Step { digest: Some(digest("alice")), ..cancelled(0, "charge") };
    assert!(asked_for_bob(given_up).is_some());
}

#[test]
fn a_step_is_written_with_its_digest() {
    let mut run = self::run(Vec::new());
    let seq = run.replay.reserve();
    run.ask(seq, charge("bob")).expect("is new");
    let turn = run.replay.turn(TASK, &TREE);
    assert_eq!(turn.insert[0].digest, Some(digest("bob")));
}

fn spawn(function: &str, arg: &str) -> Ask {
    let root = Box::new(NewTask { args: encoded(arg), ..item(TASK, 0) });
    Ask { name: function.to_owned(), what: StepSpec::Spawn { root }, ..charge(arg) }
}

#[test]
fn a_spawn_with_other_arguments_names_the_execution_that_has_the_recorded_ones() {
    let child = ExecutionId::from_uuid(uuid::Uuid::from_u128(77));
    let result = Ok(Codec::Cbor.encode_for_any(&child).expect("encodes"));
    let recorded =
        Step { kind: StepKind::Spawn, digest: Some(digest("alice")), ..ended(0, "charge", 1, result) };
    let ask = |name: &str| {
        let mut run = self::run(vec![recorded.clone()]);
        let seq = run.replay.reserve();
        run.ask(seq, spawn(name, "bob")).err()
    };

    let mismatch = ask("charge").expect("differs");
    assert!(
        matches!(&mismatch.difference, Difference::Args { of, .. } if *of == child.root()),
        "{mismatch:?}"
    );
    assert_eq!(mismatch.asked.as_deref(), Some("spawn `charge(\"bob\")`"));
    assert_eq!(ask("charge@2"), None);
}

#[test]
fn a_join_of_another_execution_is_a_mismatch() {
    let execution = |n| ExecutionId::from_uuid(uuid::Uuid::from_u128(n));
    let of = |n| Some(Digest::of(&execution(n)).expect("has a digest"));
    let recorded = Step { kind: StepKind::Join, digest: of(7), ..done(0, "execution", 1) };
    let mut run = self::run(vec![recorded]);
    let seq = run.replay.reserve();
    let join = |n| {
        let what = StepSpec::Join { execution: execution(n) };
        Ask { digest: of(n), ..Ask::new(what, "execution", std::panic::Location::caller()) }
    };

    let mismatch = run.ask(seq, join(8)).expect_err("differs");

    // As the run before wrote it.
    let mut before = self::run(Vec::new());
    let seq = before.replay.reserve();
    before.ask(seq, join(7)).expect("is new");
    let row = before.replay.turn(TASK, &TREE).insert.remove(0);
    assert_eq!(row.digest, of(7));
    let text = mismatch.shown(Ok(&[Some(row.args)])).to_string();
    assert!(text.contains(&format!("join `execution(\"{}\")`", execution(7))), "{text}");
    assert!(text.contains(&format!("join `execution(\"{}\")`", execution(8))), "{text}");
}

#[test]
fn the_first_mismatch_is_the_one_that_counts() {
    let mut run = self::run(vec![charged("alice"), Step { seq: Seq(1), ..open(1, "refund") }]);
    for _ in 0..2 {
        let seq = run.replay.reserve();
        run.ask(seq, charge("bob")).expect_err("differs");
    }
    assert_eq!(run.replay.broken().map(|mismatch| mismatch.seq), Some(Seq(0)));
}

fn items(args: &[&str]) -> Option<Digest> {
    Some(args.iter().fold(Digest::NO_ITEMS, |before, arg| before.then(digest(arg))))
}

fn walk(args: &[&str], more: bool) -> Walk {
    Walk {
        name: "item",
        location: std::panic::Location::caller(),
        items: u32::try_from(args.len()).expect("few"),
        more,
        digest: items(args),
        first: args.iter().map(|arg| Codec::Cbor.encode_for_any(&(arg,)).expect("encodes")).collect(),
    }
}

/// A map that was fed these items, as the code asks for it again.
fn map_of(args: &[&str], total: Option<u32>, name: &str) -> (Run, Seq) {
    let fed = u32::try_from(args.len()).expect("few");
    let recorded = Step {
        digest: items(args),
        map: Some(Progress { fed, total, done: 0 }),
        name: name.to_owned(),
        ..mapping(0, fed, 0)
    };
    let mut run = self::run(vec![recorded]);
    let seq = run.replay.reserve();
    run.ask(seq, ask_for(&Code::Map(fed))).expect("is the same map");
    (run, seq)
}

#[test]
fn a_map_over_the_same_items_goes_on() {
    let (mut run, seq) = map_of(&["a", "b"], None, "item");
    let (progress, digest) = run.replay.fed_before(seq).expect("was fed");
    assert_eq!((progress.fed, digest), (2, items(&["a", "b"])));
    run.replay.walked(seq, walk(&["a", "b"], false));
    assert_eq!(run.replay.broken(), None);
    assert!(run.replay.map_room(seq).is_some());
}

#[test]
fn a_map_over_other_items_is_a_mismatch_that_shows_the_first_that_differs() {
    let recorded = ["a", "b", "c"].map(|arg| Some(Codec::Json.encode_for_any(&(arg,)).expect("encodes")));
    for (now, more, expected) in [
        (
            vec!["a", "c", "b"],
            false,
            "over 3 items, item 1: (\"b\")\n  + the code:  map `item` over other items, item 1: (\"c\")",
        ),
        (vec!["a", "b"], false, "over 3 items\n  + the code:  map `item` over 2 items"),
        (vec!["a", "b", "c"], true, "over 3 items\n  + the code:  map `item` over 4 or more items"),
    ] {
        let (mut run, seq) = map_of(&["a", "b", "c"], Some(3), "item");
        run.replay.walked(seq, walk(&now, more));

        let mismatch = run.replay.broken().cloned().expect("differs");
        assert!(matches!(&mismatch.difference, Difference::Items { of, .. } if *of == old(0)));
        let text = mismatch.shown(Ok(&recorded)).to_string();
        assert!(text.contains(expected), "{text}");
        assert_eq!(run.replay.map_room(seq), None);
    }
}

#[test]
fn a_map_of_another_version_or_without_a_digest_is_not_compared() {
    let (mut run, seq) = map_of(&["a", "b"], None, "item@2");
    assert_eq!(run.replay.fed_before(seq).map(|(_, digest)| digest), Some(None));
    run.replay.walked(seq, Walk { digest: None, ..walk(&["b", "a"], false) });
    assert_eq!(run.replay.broken(), None);
}

#[test]
fn a_feed_says_what_the_map_has_been_fed_with() {
    let (mut run, seq) = map_of(&["a", "b"], None, "item");
    run.replay.feed(seq, vec![item(old(0), 2)], true, items(&["a", "b", "c"]));
    let turn = run.replay.turn(TASK, &TREE);
    assert_eq!(turn.feed, [Feed { map: old(0), fed: 3, total: Some(3), digest: items(&["a", "b", "c"]) }]);
}
