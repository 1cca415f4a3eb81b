//! Notes: what code says about its execution, once for each commit.

use stent_core::backend::{NotesView, ProgressView, Purge};
use stent_core::model::Note;

use super::words::*;
use crate::say::{count, count_from, progress, set, set_from, set_to};

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
    G1 a_turn_writes_what_it_says,
    G1 every_change_of_a_lease_writes_what_was_said,
    G1 a_step_speaks_of_its_execution,
    G1 a_counter_stays_at_its_end,
    G1 a_counter_that_is_added_to_and_fro_stops_at_each_end,
    G1 a_counter_that_stands_at_zero_has_begun,
    G1 the_last_commit_counts_whatever_its_moment,
    G1 an_empty_state_has_begun,
    G1 notes_of_a_batch_are_written_as_if_one_by_one,
    G1 a_long_batch_adds_up,
    G3 an_entry_of_progress_is_written_once,
    G1 the_oldest_progress_makes_way,
    G1 progress_of_one_execution_leaves_room_for_another,
    G3 a_repeated_commit_says_nothing_twice,
    G3 a_fenced_commit_is_silent_in_a_batch_that_is_not,
    G3 a_repeat_is_not_counted_among_the_notes,
    G1 the_count_of_notes_outlives_a_retry_and_a_crash,
    G15 who_is_asked_to_end_is_still_heard,
    G1 one_of_many_handles_begins_a_counter,
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

/// A root that continues, and this many running steps.
async fn crew(world: &World, steps: usize) -> (Claimed, Vec<Claimed>) {
    let root = world.running("checkout").await;
    world.apply((0..steps).fold(root.keep(), |turn, _| turn.with(world.call("ship")))).await;
    let steps = world.claim(steps).functions(["ship"]).await;
    (later(&root, 1, 0), steps)
}

/// The texts of the entries, as they are read.
async fn told(world: &World, root: TaskId) -> Vec<String> {
    world.notes(root).await.progress.into_iter().map(|entry| entry.text).collect()
}

/// Counters, states and progress of one turn are all visible once the turn is committed.
async fn a_turn_writes_what_it_says(world: World) {
    let root = world.running("checkout").await;
    let id = world.id();

    let turn = root.keep().say(count("parcels", 3)).say(set("phase", "packing")).say(progress(id, "packed"));
    world.apply(turn.at(t(4))).await;

    let mut expected = NotesView::default();
    expected.counters = [("parcels".to_owned(), 3)].into();
    expected.states = [("phase".to_owned(), text("packing"))].into();
    expected.progress = vec![ProgressView::new(id, root.task.id, t(4), "packed".to_owned())];
    same("notes", world.notes(root.task.id).await, expected);
}

/// Every kind of change writes the notes of its turn.
async fn every_change_of_a_lease_writes_what_was_said(world: World) {
    for what in ["keep", "park", "retry", "redo", "release", "complete", "fail"] {
        let root = world.running("checkout").await;
        let turn = match what {
            "keep" => root.keep(),
            "park" => root.park(),
            "retry" => root.retry(t(900), declined()),
            "redo" => root.redo().at(t(900)),
            "release" => root.release().at(t(900)),
            "complete" => root.complete("summary"),
            _ => root.fail(declined()),
        };

        world.apply(turn.say(count("turns", 1)).say(set("last", what)).say(progress(world.id(), what))).await;

        same(what, counter(&world, root.task.id, "turns").await, Some(1));
        same(what, state(&world, root.task.id, "last").await, Some(text(what)));
        same(what, told(&world, root.task.id).await, [what]);
    }
}

/// The note of a step, at any depth, belongs to the step's execution.
async fn a_step_speaks_of_its_execution(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let below = world.spawn(step.keep(), world.call("pack")).await;

    world.apply(below.complete("packed").say(count("parcels", 2)).say(set("phase", "packed"))).await;
    world.apply(later(&step, 1, 1).complete("shipped").say(count("parcels", 5))).await;

    same("counter", counter(&world, root.task.id, "parcels").await, Some(7));
    same("state", state(&world, root.task.id, "phase").await, Some(text("packed")));
    same("by the step's id", world.notes(step.task.id).await, NotesView::default());
}

/// A counter saturates at the ends of its range: it neither wraps nor changes its type, and it can return from there.
async fn a_counter_stays_at_its_end(world: World) {
    let root = world.running("checkout").await;
    world.apply(root.keep().say(count("most", i64::MAX))).await;
    same("at the end", counter(&world, root.task.id, "most").await, Some(i64::MAX));

    world.apply(later(&root, 1, 0).keep().say(count("most", 5))).await;

    same("beyond the end", counter(&world, root.task.id, "most").await, Some(i64::MAX));
    world.apply(later(&root, 2, 0).keep().say(count("most", -5))).await;
    same("and back", counter(&world, root.task.id, "most").await, Some(i64::MAX - 5));

    world.apply(later(&root, 3, 0).keep().say(count("least", i64::MIN))).await;
    world.apply(later(&root, 4, 0).keep().say(count("least", -5))).await;
    same("at the other end", counter(&world, root.task.id, "least").await, Some(i64::MIN));
}

/// Zero is a value: a counter with the value zero has started. Each addition within one commit and one batch saturates
/// separately.
async fn a_counter_that_is_added_to_and_fro_stops_at_each_end(world: World) {
    let root = world.running("checkout").await;
    let id = root.task.id;
    world
        .apply(root.keep().say(count_from("there", 5)).say(count_from("low", -5)).say(count("other", 2)))
        .await;

    let turn = later(&root, 1, 0)
        .keep()
        .say(count("there", i64::MAX))
        .say(count("there", -i64::MAX))
        .say(count("low", i64::MIN))
        .say(count("low", i64::MAX))
        .say(count("low", i64::MAX))
        .say(count("new", 7))
        .say(count("new", i64::MIN))
        .say(count("new", 1))
        .say(count("other", 3));
    let next = later(&root, 2, 0).keep().say(count("there", 1)).say(count("new", -3)).say(count("new", 2));
    world.commit_all([turn, next]).await;

    same("up and down", counter(&world, id, "there").await, Some(1));
    same("down and up and up", counter(&world, id, "low").await, Some(i64::MAX - 1));
    same("one that is new", counter(&world, id, "new").await, Some(i64::MIN + 7));
    same("one that goes one way", counter(&world, id, "other").await, Some(5));
}

async fn a_counter_that_stands_at_zero_has_begun(world: World) {
    let root = world.running("checkout").await;
    world.apply(root.keep().say(count_from("told", 0)).say(count("added", 0)).say(count("both", 4))).await;

    let turn = later(&root, 1, 0).keep().say(count("both", -4)).say(count_from("both", 7));
    world.apply(turn.say(count_from("told", 7)).say(count_from("added", 7))).await;

    for name in ["told", "added", "both"] {
        same(name, counter(&world, root.task.id, name).await, Some(0));
    }
}

/// Commits count in their order: a worker with a slow clock still overwrites.
async fn the_last_commit_counts_whatever_its_moment(world: World) {
    let (root, steps) = crew(&world, 2).await;

    world.apply(steps[0].complete("one").say(set("phase", "by the fast clock")).at(t(20))).await;
    world.apply(steps[1].complete("two").say(set("phase", "by the slow clock")).at(t(2))).await;

    same("state", state(&world, root.task.id, "phase").await, Some(text("by the slow clock")));
}

/// A value without bytes is a value: a state with it is set.
async fn an_empty_state_has_begun(world: World) {
    let root = world.running("checkout").await;
    world.apply(root.keep().say(set_to("phase", Payload::empty())).say(set("text", ""))).await;

    world
        .apply(later(&root, 1, 0).keep().say(set_from("phase", "again")).say(set_from("text", "again")))
        .await;

    same("no bytes at all", state(&world, root.task.id, "phase").await, Some(Payload::empty()));
    same("an empty text", state(&world, root.task.id, "text").await, Some(text("")));
}

/// Two transitions in one batch that write notes about the same execution do so one after the other.
async fn notes_of_a_batch_are_written_as_if_one_by_one(world: World) {
    let (one, adds_first) = crew(&world, 2).await;
    let (two, begins_first) = crew(&world, 2).await;

    let outcomes = world
        .commit_all([
            adds_first[0].complete("a").say(count("parcels", 1)).say(set("phase", "a")),
            begins_first[0].complete("b").say(count_from("parcels", 10)).say(set_from("phase", "b")),
            adds_first[1].complete("b").say(count_from("parcels", 10)).say(set_from("phase", "b")),
            begins_first[1].complete("a").say(count("parcels", 1)).say(set("phase", "a")),
            one.keep().say(count("parcels", 2)),
            two.keep().say(count("parcels", 2)).say(set_from("phase", "c")),
        ])
        .await;

    outcomes.into_iter().for_each(|outcome| drop(applied(outcome)));
    same("added to, then begun", counter(&world, one.task.id, "parcels").await, Some(3));
    same("begun, then added to", counter(&world, two.task.id, "parcels").await, Some(13));
    same("set, then begun", state(&world, one.task.id, "phase").await, Some(text("a")));
    same("begun, then set", state(&world, two.task.id, "phase").await, Some(text("a")));
}

/// A batch with many transitions, each with several notes, loses no note.
async fn a_long_batch_adds_up(world: World) {
    let (root, steps) = crew(&world, 100).await;

    let turns = (0..).zip(&steps).map(|(n, step)| {
        let turn = step.complete("shipped").say(count("parcels", n)).say(count(&format!("of {}", n % 7), 1));
        turn.say(set("last", &n.to_string())).say(progress(world.id(), &n.to_string()))
    });
    world.commit_all(turns.collect::<Vec<_>>()).await;

    let notes = world.notes(root.task.id).await;
    same("parcels", notes.counters.get("parcels"), Some(&4950));
    let shares: Vec<_> = (0..7).map(|n| notes.counters.get(&format!("of {n}")).copied()).collect();
    same("shares", shares, [15, 15, 14, 14, 14, 14, 14].map(Some));
    same("the last", notes.states.get("last"), Some(&text("99")));
    let texts: Vec<_> = notes.progress.into_iter().map(|entry| entry.text).collect();
    same("progress", texts, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// The id identifies an entry: a second entry with the same id is the same entry.
async fn an_entry_of_progress_is_written_once(world: World) {
    let root = world.running("checkout").await;
    let id = world.id();

    world.apply(root.keep().say(progress(id, "once")).say(progress(id, "once more"))).await;
    world.apply(later(&root, 1, 0).keep().say(progress(id, "and again"))).await;

    same("progress", told(&world, root.task.id).await, ["once"]);
}

/// At most `PROGRESS_MAX` entries are kept: those with the oldest ids are deleted, even if they are written last.
async fn the_oldest_progress_makes_way(world: World) {
    let root = world.running("checkout").await;
    let early = world.id();
    let texts: Vec<_> = (0..limits::PROGRESS_MAX + 5).map(|n| n.to_string()).collect();
    let (first, rest) = texts.split_at(limits::PROGRESS_MAX - 5);
    let tell = |turn: Turn, text: &String| turn.say(progress(world.id(), text));

    world.apply(first.iter().fold(root.keep(), tell)).await;
    same("below the bound", told(&world, root.task.id).await, first);
    world.apply(rest.iter().fold(later(&root, 1, 0).keep(), tell)).await;
    same("above the bound", told(&world, root.task.id).await, &texts[5..]);
    world.apply(later(&root, 2, 0).keep().say(progress(early, "too late")).say(count("turns", 1))).await;

    same("an old one that comes late", told(&world, root.task.id).await, &texts[5..]);
    same("what else the turn says", counter(&world, root.task.id, "turns").await, Some(1));
}

/// Each execution has a separate bound.
async fn progress_of_one_execution_leaves_room_for_another(world: World) {
    let quiet = world.running("checkout").await;
    world.apply(quiet.keep().say(progress(world.id(), "the only one"))).await;
    let loud = world.running("checkout").await;

    let tell = |turn: Turn, n: usize| turn.say(progress(world.id(), &n.to_string()));
    world.apply((0..=limits::PROGRESS_MAX).fold(loud.keep(), tell)).await;

    same("the quiet one's", told(&world, quiet.task.id).await, ["the only one"]);
    same("the loud one's", told(&world, loud.task.id).await.len(), limits::PROGRESS_MAX);
}

/// The same commit, sent again, is answered `Already` and adds nothing, also on another handle.
async fn a_repeated_commit_says_nothing_twice(world: World) {
    let root = world.running("checkout").await;
    let turn: Transition = root
        .park()
        .say(count("parcels", 3))
        .say(set("phase", "packing"))
        .say(progress(world.id(), "packed"))
        .into();
    world.apply(turn.clone()).await;
    world.apply(root.unpark()).await;
    let next = world.claim_one(t(0)).await;
    let before = world.snapshot().await;

    already(world.commit(turn.clone()).await);
    already(world.peer().await.commit(turn.clone()).await);
    world.snapshot().await.expect_same("the repeat said something", &before);
    world.apply(next.keep().say(set("phase", "sent"))).await;
    same("after the next write", world.commit(turn).await, Outcome::Fenced);

    same("counter", counter(&world, root.task.id, "parcels").await, Some(3));
    same("state", state(&world, root.task.id, "phase").await, Some(text("sent")));
}

/// In a batch, refused transitions write no notes and applied ones do.
async fn a_fenced_commit_is_silent_in_a_batch_that_is_not(world: World) {
    let (root, lost) = crew(&world, 3).await;
    let taken = world.claim(3).at(t(30)).functions(["ship"]).await;
    same("taken over", taken.len(), 3);

    let turns = lost.iter().zip(&taken).flat_map(|(lost, taken)| {
        let (late, live) = (lost.complete("late"), taken.complete("in time"));
        [
            late.say(count("late", 1)).say(set("phase", "late")),
            live.say(count("parcels", 1)).say(set("phase", "live")),
        ]
    });
    let outcomes = world.commit_all(turns.collect::<Vec<_>>()).await;

    same("applied", outcomes.iter().filter(|outcome| outcome.stands()).count(), 3);
    let notes = world.notes(root.task.id).await;
    same("counters", notes.counters, [("parcels".to_owned(), 3)].into());
    same("states", notes.states, [("phase".to_owned(), text("live"))].into());
}

/// A repeated or fenced commit does not add to the number of notes.
async fn a_repeat_is_not_counted_among_the_notes(world: World) {
    let root = world.running("checkout").await;
    let turn: Transition = root.release().say(count("a", 1)).say(count("a", 1)).into();
    world.apply(turn.clone()).await;
    already(world.commit(turn).await);
    let lost = world.claim_one(t(0)).await;
    same("after a repeat", lost.task.noted, 2);

    let taken = world.peer().await.claim_one(t(30)).await;
    same("outcome", world.commit(lost.keep().say(count("a", 1))).await, Outcome::Fenced);
    world.apply(taken.release()).await;

    same("after a fenced commit", world.claim_one(t(30)).await.task.noted, 2);
}

/// The number of notes stays when the code runs again, so that the runtime can tell old notes from new ones.
async fn the_count_of_notes_outlives_a_retry_and_a_crash(world: World) {
    let first = world.running("checkout").await;
    world.apply(first.keep().say(count("a", 1))).await;
    world.apply(later(&first, 1, 0).retry(t(1), declined()).say(count("a", 1))).await;

    let world = world.crash().await;
    let second = world.claim_one(t(1)).await;
    same("after a retry", (second.task.attempts, second.task.noted), (1, 2));
    let third = world.claim_one(t(60)).await;

    same("after a take-over", (third.task.crashes, third.task.noted), (1, 2));
}

/// A function that is ending may still write notes, including with its last turn.
async fn who_is_asked_to_end_is_still_heard(world: World) {
    let root = world.running("checkout").await;
    world.apply(cancel(root.task.id, 10, t(1))).await;

    world.apply(root.keep().say(count("tidied", 1)).at(t(2))).await;
    let last = later(&root, 1, 0).complete("too late").say(set("phase", "tidy"));
    same("ended as it was asked to", world.apply(last.at(t(3))).await.stopped, true);

    same("counter", counter(&world, root.task.id, "tidied").await, Some(1));
    same("state", state(&world, root.task.id, "phase").await, Some(text("tidy")));
    same("status", world.status(root.task.id).await, ExecutionStatus::Cancelled);
}

/// The first handle starts the counter; the others add to it.
async fn one_of_many_handles_begins_a_counter(world: World) {
    for _ in 0..5 {
        let (root, steps) = crew(&world, 4).await;

        at_once(&world, 4, |peer, n| {
            let begin = i64::try_from(n).expect("a small number") * 100 + 100;
            let turn =
                steps[n].complete("shipped").say(count_from("parcels", begin)).say(count("parcels", 1));
            let turn = turn.say(set_from("first", &begin.to_string()));
            async move { peer.apply(turn).await }
        })
        .await;

        let parcels = counter(&world, root.task.id, "parcels").await.expect("a counter");
        same("one began, and four added", parcels % 100, 4);
        let first = (parcels - 4).to_string();
        same("the same one", state(&world, root.task.id, "first").await, Some(text(&first)));
    }
}
