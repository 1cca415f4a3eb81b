//! Notes: what code says of its execution, once for each commit.

use stent_core::backend::Purge;
use stent_core::model::Note;

use super::words::*;

list! { note:
    G1 counters_add_up,
    G1 a_counter_is_given_a_value_unless_it_has_one,
    G1 notes_of_a_commit_are_taken_in_their_order,
    G1 the_last_state_counts,
    G1 a_state_is_given_a_value_unless_it_has_one,
    G1 counters_and_states_are_told_apart,
    G1 progress_is_read_in_the_order_of_its_ids,
    G1 no_more_progress_is_kept_than_the_limit,
    G1 progress_says_who_and_when,
    G1 executions_are_told_apart,
    G1 what_has_said_nothing_has_no_notes,
    G3 a_repeated_commit_says_it_once,
    G3 a_refused_write_says_nothing,
    G1 a_task_knows_how_much_it_has_said,
    G1 notes_are_read_while_it_runs_and_after,
    G1 notes_outlive_a_crash,
    G16 notes_leave_with_their_execution,
    G14 values_come_back_byte_by_byte,
    G1 names_of_any_text_are_told_apart,
    G1 many_tasks_at_once_add_to_one_counter,
}

fn count(name: &str, add: i64) -> Note {
    Note::Count { name: name.to_owned(), add }
}

fn count_from(name: &str, value: i64) -> Note {
    Note::CountFrom { name: name.to_owned(), value }
}

fn set(name: &str, value: &str) -> Note {
    Note::Set { name: name.to_owned(), value: text(value) }
}

fn set_from(name: &str, value: &str) -> Note {
    Note::SetFrom { name: name.to_owned(), value: text(value) }
}

fn progress(id: TaskId, text: &str) -> Note {
    Note::Progress { id, text: text.to_owned() }
}

async fn counter(world: &World, root: TaskId, name: &str) -> Option<i64> {
    world.notes(root).await.counters.get(name).copied()
}

async fn state(world: &World, root: TaskId, name: &str) -> Option<Payload> {
    world.notes(root).await.states.get(name).cloned()
}

async fn counters_add_up(world: World) {
    let root = world.running("checkout").await;
    let id = root.task.id;

    world.apply(root.keep().say(count("sent", 3))).await;
    same("after the first", counter(&world, id, "sent").await, Some(3));
    world.apply(later(&root, 1, 0).keep().say(count("sent", 4)).say(count("sent", -9))).await;
    same("after the second", counter(&world, id, "sent").await, Some(-2));
    world.apply(later(&root, 2, 0).keep().say(count("zero", 0))).await;
    same("nothing was added", counter(&world, id, "zero").await, Some(0));
    world
        .apply(
            later(&root, 3, 0).complete("summary").say(count("large", i64::MAX - 1)).say(count("large", 1)),
        )
        .await;
    same("as large as can be", counter(&world, id, "large").await, Some(i64::MAX));
}

async fn a_counter_is_given_a_value_unless_it_has_one(world: World) {
    let root = world.running("checkout").await;
    let id = root.task.id;

    world.apply(root.keep().say(count_from("left", 10)).say(count("had", 1))).await;
    world.apply(later(&root, 1, 0).keep().say(count_from("left", 99)).say(count_from("had", 99))).await;

    same("given", counter(&world, id, "left").await, Some(10));
    same("it had one", counter(&world, id, "had").await, Some(1));
}

async fn notes_of_a_commit_are_taken_in_their_order(world: World) {
    let root = world.running("checkout").await;
    let id = root.task.id;

    let turn = root
        .keep()
        .say(count_from("a", 10))
        .say(count("a", 1))
        .say(count("b", 1))
        .say(count_from("b", 10))
        .say(set("s", "one"))
        .say(set_from("s", "two"))
        .say(set("s", "three"));
    world.apply(turn).await;

    same("given, then added to", counter(&world, id, "a").await, Some(11));
    same("added to, then given", counter(&world, id, "b").await, Some(1));
    same("the last one set", state(&world, id, "s").await, Some(text("three")));
}

async fn the_last_state_counts(world: World) {
    let root = world.running("checkout").await;
    let id = root.task.id;

    world.apply(root.keep().say(set("phase", "one")).say(set("phase", "two"))).await;
    same("within a commit", state(&world, id, "phase").await, Some(text("two")));
    world.apply(later(&root, 1, 0).keep().say(set("phase", "three"))).await;

    same("across commits", state(&world, id, "phase").await, Some(text("three")));
}

async fn a_state_is_given_a_value_unless_it_has_one(world: World) {
    let root = world.running("checkout").await;
    let id = root.task.id;

    world.apply(root.keep().say(set_from("phase", "one"))).await;
    world.apply(later(&root, 1, 0).keep().say(set_from("phase", "two"))).await;

    same("given once", state(&world, id, "phase").await, Some(text("one")));
}

async fn counters_and_states_are_told_apart(world: World) {
    let root = world.running("checkout").await;

    world.apply(root.keep().say(count("x", 1)).say(set("x", "state")).say(count("x", 1))).await;

    let notes = world.notes(root.task.id).await;
    same("counters", notes.counters.into_iter().collect::<Vec<_>>(), [("x".to_owned(), 2)]);
    same("states", notes.states.into_iter().collect::<Vec<_>>(), [("x".to_owned(), text("state"))]);
}

async fn progress_is_read_in_the_order_of_its_ids(world: World) {
    let root = world.running("checkout").await;
    let ids = [world.id(), world.id(), world.id()];

    world.apply(root.keep().say(progress(ids[1], "two")).say(progress(ids[2], "three"))).await;
    world.apply(later(&root, 1, 0).keep().say(progress(ids[0], "one"))).await;

    let read: Vec<_> = world.notes(root.task.id).await.progress.into_iter().map(|entry| entry.text).collect();
    same("in order", read, ["one", "two", "three"]);
}

async fn no_more_progress_is_kept_than_the_limit(world: World) {
    const MORE: usize = 15;
    let root = world.running("checkout").await;
    let ids: Vec<_> = (0..limits::PROGRESS_MAX + MORE).map(|_| world.id()).collect();
    let (first, rest) = ids.split_at(limits::PROGRESS_MAX - 5);

    world.apply(first.iter().fold(root.keep(), |turn, id| turn.say(progress(*id, "first")))).await;
    same("before the limit", world.notes(root.task.id).await.progress.len(), first.len());
    for (n, id) in rest.iter().enumerate() {
        let commits = u32::try_from(n).expect("a small number") + 1;
        world.apply(later(&root, commits, 0).keep().say(progress(*id, "rest"))).await;
    }

    let kept: Vec<_> = world.notes(root.task.id).await.progress.into_iter().map(|entry| entry.id).collect();
    same("the oldest are gone", kept, &ids[MORE..]);
}

async fn progress_says_who_and_when(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let (own, local, entries) =
        (root.task.id, world.call("pack").done(t(1), Ok(text("x"))), [world.id(), world.id(), world.id()]);
    let local_id = local.id;

    world.apply(step.complete("parcel").say(progress(entries[0], "from the step")).at(t(2))).await;
    let turn = later(&root, 1, 1).keep().with(local).say(progress(entries[1], "own"));
    world.apply(turn.say_for(local_id, progress(entries[2], "from what ran here")).at(t(3))).await;

    let read: Vec<_> =
        world.notes(own).await.progress.into_iter().map(|entry| (entry.task, entry.at, entry.text)).collect();
    let expected = [
        (step.task.id, t(2), "from the step".to_owned()),
        (own, t(3), "own".to_owned()),
        (local_id, t(3), "from what ran here".to_owned()),
    ];
    same("progress", read, expected);
}

async fn executions_are_told_apart(world: World) {
    let one = world.running("checkout").await;
    let other = world.running("checkout").await;

    world.apply(one.keep().say(count("sent", 1)).say(set("phase", "one"))).await;
    world.apply(other.keep().say(count("sent", 5))).await;

    same("of one", counter(&world, one.task.id, "sent").await, Some(1));
    same("of the other", counter(&world, other.task.id, "sent").await, Some(5));
    same("what the other did not say", state(&world, other.task.id, "phase").await, None);
}

async fn what_has_said_nothing_has_no_notes(world: World) {
    let root = world.running("checkout").await;

    same("of one that is there", world.notes(root.task.id).await, Default::default());
    same("of one that is not", world.notes(world.id()).await, Default::default());
}

async fn a_repeated_commit_says_it_once(world: World) {
    let root = world.running("checkout").await;
    let turn = root.keep().say(count("sent", 1)).say(progress(world.id(), "sent"));

    let outcomes = world.commit_all([turn.clone(), turn.clone()]).await;
    applied(outcomes[0].clone());
    already(outcomes[1].clone());
    let world = world.crash().await;
    already(world.commit(turn).await);

    let notes = world.notes(root.task.id).await;
    same("counted", notes.counters.get("sent"), Some(&1));
    same("progress", notes.progress.len(), 1);
}

async fn a_refused_write_says_nothing(world: World) {
    let stale = world.running("checkout").await;
    let id = stale.task.id;
    let live = world.claim_one(t(30)).await;
    let say =
        |turn: Turn| turn.say(count("sent", 1)).say(set("phase", "late")).say(progress(world.id(), "late"));

    same("fenced", world.commit(say(stale.keep())).await, Outcome::Fenced);
    same("fenced", world.commit(say(stale.complete("late"))).await, Outcome::Fenced);
    world.apply(live.complete("summary")).await;
    same("gone", world.commit(say(stale.park())).await, Outcome::Gone);

    same("notes", world.notes(id).await, Default::default());
}

async fn a_task_knows_how_much_it_has_said(world: World) {
    let root = world.running("checkout").await;
    let local = world.call("pack").done(t(0), Ok(text("x")));
    let local_id = local.id;
    let step = world.spawn(root.keep().say(count("a", 1)).say(count("b", 1)), world.call("ship")).await;
    same("before anything", (root.task.noted, step.task.noted), (0, 0));
    world.apply(step.retry(t(0), declined()).say(count("a", 1))).await;
    let turn = later(&root, 1, 0).park_for(wait_for(1)).with(local);
    world.apply(turn.say_for(local_id, count("a", 1)).say(set("s", "x"))).await;

    let claimed = world.claim(2).await;

    let noted =
        |id: TaskId| claimed.iter().find(|claimed| claimed.task.id == id).map(|claimed| claimed.task.noted);
    same("of the step", noted(step.task.id), Some(1));
    same("of the root, without what ran in its turn", noted(root.task.id), Some(3));
    same("counted", counter(&world, root.task.id, "a").await, Some(3));
}

async fn notes_are_read_while_it_runs_and_after(world: World) {
    let root = world.running("checkout").await;
    world
        .apply(root.keep().say(count("sent", 1)).say(set("phase", "x")).say(progress(world.id(), "y")))
        .await;
    let running = world.peer().await.notes(root.task.id).await;
    same("while it runs", (running.counters.len(), running.states.len(), running.progress.len()), (1, 1, 1));

    world.apply(later(&root, 1, 0).complete("summary").say(count("sent", 1))).await;

    same("after", counter(&world, root.task.id, "sent").await, Some(2));
}

async fn notes_outlive_a_crash(world: World) {
    let root = world.running("checkout").await;
    world
        .apply(root.keep().say(count("sent", 1)).say(set("phase", "x")).say(progress(world.id(), "y")))
        .await;
    let before = world.notes(root.task.id).await;

    let world = world.crash().await;

    same("notes", world.notes(root.task.id).await, before);
    same("noted", world.claim_one(t(30)).await.task.noted, 3);
}

async fn notes_leave_with_their_execution(world: World) {
    let root = world.running("checkout").await;
    world
        .apply(root.complete("x").say(count("sent", 1)).say(set("phase", "x")).say(progress(world.id(), "y")))
        .await;
    let other = world.running("checkout").await;
    world.apply(other.keep().say(count("sent", 1))).await;

    same("purged", world.purge_of(Purge::Executions, t(1), 9).await, 1);

    same("of what has left", world.notes(root.task.id).await, Default::default());
    same("of another", counter(&world, other.task.id, "sent").await, Some(1));
}

async fn values_come_back_byte_by_byte(world: World) {
    let root = world.running("checkout").await;
    let values = [
        Payload::empty(),
        Payload::new("application/json", b"null".to_vec()),
        Payload::new("application/cbor", (0..=255).cycle().take(70_000).collect::<Vec<u8>>()),
        Payload::new("é/\u{1F600}", b"\0'\"\\".to_vec()),
    ];
    for (n, value) in values.iter().enumerate() {
        let note = Note::Set { name: n.to_string(), value: value.clone() };
        let commits = u32::try_from(n).expect("a small number");
        world.apply(later(&root, commits, 0).keep().say(note)).await;
    }

    for (n, value) in values.into_iter().enumerate() {
        same("value", state(&world, root.task.id, &n.to_string()).await, Some(value));
    }
}

async fn names_of_any_text_are_told_apart(world: World) {
    let root = world.running("checkout").await;
    let names = ["", " ", "a", "A", "é", "e\u{301}", "'\"\\", "\u{1F600}", "a\nb"];

    world
        .apply(names.iter().fold(root.keep(), |turn, name| turn.say(count(name, 1)).say(set(name, name))))
        .await;

    let notes = world.notes(root.task.id).await;
    for name in names {
        same(&format!("the counter {name:?}"), notes.counters.get(name), Some(&1));
        same(&format!("the state {name:?}"), notes.states.get(name), Some(&text(name)));
    }
    same("how many", (notes.counters.len(), notes.states.len()), (names.len(), names.len()));
}

async fn many_tasks_at_once_add_to_one_counter(world: World) {
    const TASKS: usize = 40;
    let root = world.running("checkout").await;
    let steps = (0..TASKS).map(|_| world.call("ship"));
    world.apply(steps.fold(root.park_for(wait_for(40)), Turn::with)).await;

    at_once(&world, 8, |peer, n| async move {
        let steps = peer.claim(5).functions(["ship"]).await;
        let add = i64::try_from(n).expect("a small number") + 1;
        let turns = steps.iter().map(|step| {
            let entry = progress(peer.id(), "sent");
            step.complete("parcel").say(count("sent", 1)).say(count("weight", add)).say(entry)
        });
        if n % 2 == 0 {
            peer.commit_all(turns).await;
        } else {
            for turn in turns {
                peer.apply(turn).await;
            }
        }
    })
    .await;

    let notes = world.notes(root.task.id).await;
    same("sent", notes.counters.get("sent"), Some(&40));
    same("weight", notes.counters.get("weight"), Some(&(5 * (1..=8).sum::<i64>())));
    same("progress", notes.progress.len(), TASKS);
}
