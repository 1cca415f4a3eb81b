//! A whole life, disturbed at any of its calls, ends like the undisturbed one.
//!
//! The life is a script: a root with steps, a retry, a map, a signal, a started execution, a key and notes, and beside it an
//! execution that is cancelled. The player dies after one of the calls, or in the middle of it with its fate unknown; a fresh
//! handle sends the unanswered transitions again, and finishes the life.

use stent_core::backend::{ExecutionView, ItemView, NotesView, TaskView};

use super::fate::dropped_after;
use super::words::*;
use crate::say::{count, progress, set};

list! { life:
    G1 it_ends_the_same_wherever_the_handle_is_lost,
    G3 it_ends_the_same_whichever_call_is_dropped_in_the_middle,
    G1 it_ends_the_same_when_every_call_is_followed_by_a_crash,
}

/// Polls after which a call is dropped: before anything is sent, on the way, and when it may have arrived.
const POLLS: [usize; 4] = [1, 3, 12, 80];

/// The interruption that the player of the script meets.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// The player dies once this call is answered.
    After(usize),
    /// The player dies in this call, after this many polls.
    Within(usize, usize),
    /// The player dies once each call is answered.
    Always,
}

/// Plays the script.
struct Player {
    world: World,
    fault: Fault,
    calls: usize,
    now: i64,
}

impl Player {
    /// Sends a batch that must be applied, and claims up to `max` tasks unless `max` is zero.
    async fn call<const N: usize>(
        &mut self,
        batch: [Transition; N],
        max: usize,
    ) -> (Vec<News>, Vec<Claimed>) {
        let call = self.calls;
        self.calls += 1;
        if let Fault::Within(at, polls) = self.fault
            && at == call
        {
            self.world.note(format_args!("call {call} is dropped after {polls} polls"));
            if max > 0 {
                // Nobody knows which tasks this claims, so their leases have to expire.
                let claim = self.world.claim(max).at(t(self.now)).lease(5).with(batch.clone());
                dropped_after(polls, claim).await;
                self.now += 6;
            } else {
                dropped_after(polls, self.world.store().exchange(&batch, None)).await;
            }
            self.world.crash_in_place().await;
        }
        let (outcomes, mut claimed) = if max > 0 {
            let claim = self.world.claim(max).at(t(self.now)).lease(9_999);
            let exchanged = claim.with(batch).await;
            (exchanged.outcomes, exchanged.claimed)
        } else {
            (self.world.commit_all(batch).await, Vec::new())
        };
        claimed.sort_by_key(|claimed| claimed.task.id);
        if matches!(self.fault, Fault::Always) || matches!(self.fault, Fault::After(at) if at == call) {
            self.world.crash_in_place().await;
        }
        let news = outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Applied(news) | Outcome::Already(news) => news,
            refused => panic!("call {call} came to {refused:?}"),
        });
        (news.collect(), claimed)
    }

    async fn send<const N: usize>(&mut self, batch: [Transition; N]) -> Vec<News> {
        self.call(batch, 0).await.0
    }

    async fn claim(&mut self, max: usize) -> Vec<Claimed> {
        let claimed = self.call([], max).await.1;
        same("the number of tasks that are due", claimed.len(), max);
        claimed
    }
}

/// Plays the script in a store in which all other lives have ended. Returns the number of calls and the final state.
async fn play(world: World, life: usize, fault: Fault) -> (World, usize, Portrait) {
    let mut player = Player { world, fault, calls: 0, now: 0 };
    let (root, other) = {
        let world = &player.world;
        (world.call("checkout").args(text("order")).retry(RetryPolicy::default()), world.call("charge"))
    };
    let roots = [root.id, other.id];
    player.send([root.start(t(0)), other.start(t(0))]).await;
    let [root, other] = player.claim(2).await.try_into().expect("two tasks");

    // A closure, and a step that fails, is retried and ends.
    let (note, step) = (player.world.inline("render", "note"), player.world.call("charge"));
    player.send([root.keep().with(note).with(step).say(count("steps", 2)).into()]).await;
    let step = player.claim(1).await.remove(0);
    player.send([step.retry(t(0), declined()).into()]).await;
    let step = player.claim(1).await.remove(0);
    let entry = progress(player.world.id(), "charged");
    player.send([step.complete("receipt").say(entry).into()]).await;

    // A map whose first items end while its owner parks, and that is fed again.
    let map = player.world.gather("ship");
    let id = map.id;
    let items: Vec<_> = (0..3).map(|n| player.world.call("ship").seq(n)).collect();
    let fed = later(&root, 1, 2).keep().with(map).items(id, items).feed(id, 3, None);
    player.send([fed.into()]).await;
    let items = player.claim(3).await;
    player.send([items[0].complete("parcel").into(), items[1].fail(declined()).into()]).await;
    player.send([later(&root, 2, 2).park_for(wait_for_items(2, id, 3)).into()]).await;
    let (_, woken) = player.call([items[2].complete("parcel").into()], 1).await;
    let root = woken.into_iter().next().expect("the owner was woken");
    let last = player.world.call("ship").seq(3);
    player.send([root.keep().items(id, [last]).feed(id, 4, Some(4)).into()]).await;
    let last = player.claim(1).await.remove(0);
    player.send([last.complete("parcel").into()]).await;

    // A signal, with a sleep and a step beside it that are given up.
    let (wait, sleep) = (player.world.wait(roots[0], "approval"), player.world.sleep(t(5_000)));
    let unwanted = player.world.call("mail").due(t(5_000));
    let given_up = [sleep.id, unwanted.id];
    player.send([later(&root, 1, 3).park().with(wait).with(sleep).with(unwanted).into()]).await;
    let send = signal(roots[0], "approval", player.world.id(), text("yes"));
    player.send([send]).await;
    let root = player.claim(1).await.remove(0);

    // A separate execution, and a call under a key.
    let child = player.world.call("pack");
    let child_id = child.id;
    let keyed = player.world.call("charge").keyed(key(&format!("life {life}")));
    let started = root.keep().cancel(given_up[0]).cancel(given_up[1]);
    let started = started.spawn(player.world.start_of(child_id), child).with(keyed).say(set("at", "the end"));
    player.send([started.into()]).await;
    let [one, two] = player.claim(2).await.try_into().expect("two tasks");
    let news = player.send([one.complete("packed").into(), two.complete("packed").into()]).await;
    same("answers", news.len(), 2);

    // An execution that is asked to end and does, and the end of the other one.
    player.send([cancel(roots[1], 60, t(0))]).await;
    let stopped = player.send([other.complete("too late").into()]).await;
    same("stopped", stopped[0].stopped, true);
    player.send([later(&root, 1, 6).complete("summary").into()]).await;

    let Player { world, calls, now, .. } = player;
    same("left over", world.claim(9).at(t(now)).await.len(), 0);
    let portrait = Portrait::of(&world, [roots[0], roots[1], child_id]).await;
    (world, calls, portrait)
}

/// Everything visible of a life, with ids and positions replaced by their order.
#[derive(Clone, Debug, PartialEq)]
struct Portrait {
    executions: Vec<ExecutionView>,
    tasks: Vec<TaskView>,
    items: Vec<ItemView>,
    ended_claims: usize,
    notes: Vec<NotesView>,
}

impl Portrait {
    async fn of(world: &World, roots: [TaskId; 3]) -> Self {
        let mut portrait = Self {
            executions: Vec::new(),
            tasks: Vec::new(),
            items: Vec::new(),
            ended_claims: 0,
            notes: Vec::new(),
        };
        let mut ids = Vec::new();
        for root in roots {
            let view = world.execution(root).await.expect("is there");
            let tasks = world.timeline(view.id).await;
            ids.extend(tasks.iter().map(|task| task.id));
            for task in tasks {
                portrait.ended_claims += world.ended_claims(task.id).await.len();
                if task.map.is_some() {
                    portrait.items.extend(world.items(task.id).await);
                }
                portrait.tasks.push(task);
            }
            portrait.notes.push(world.notes(root).await);
            portrait.executions.push(view);
        }
        // Ids have the order of their creation in every life.
        ids.sort_unstable();
        let short = |id: TaskId| {
            crate::task::id(ids.iter().position(|known| *known == id).map_or(u64::MAX >> 2, |at| at as u64))
        };
        for task in &mut portrait.tasks {
            (task.id, task.parent, task.seq) = (short(task.id), task.parent.map(short), Seq(0));
        }
        for execution in &mut portrait.executions {
            execution.id = short(execution.id.root()).execution();
        }
        for entry in portrait.notes.iter_mut().flat_map(|notes| &mut notes.progress) {
            (entry.id, entry.task) = (short(entry.task), short(entry.task));
        }
        portrait
    }

    /// Without the traces of a lost claim: an ended claim, a later moment.
    fn without_ended_claims(mut self) -> Self {
        self.ended_claims = 0;
        for task in &mut self.tasks {
            task.crashes = 0;
            (task.started_at, task.ready_at) = (None, None);
        }
        for execution in &mut self.executions {
            execution.started_at = None;
        }
        self
    }
}

async fn it_ends_the_same_wherever_the_handle_is_lost(world: World) {
    let (mut world, calls, expected) = play(world, 0, Fault::None).await;
    for call in 0..calls {
        let portrait;
        (world, _, portrait) = play(world, 1 + call, Fault::After(call)).await;
        same(&format!("the end, with a crash after call {call}"), portrait, expected.clone());
    }
}

async fn it_ends_the_same_whichever_call_is_dropped_in_the_middle(world: World) {
    let (mut world, calls, expected) = play(world, 0, Fault::None).await;
    for call in 0..calls {
        for polls in POLLS {
            let portrait;
            (world, _, portrait) = play(world, 1 + call * 100 + polls, Fault::Within(call, polls)).await;
            let what = format!("the end, with call {call} dropped after {polls} polls");
            same(&what, portrait.without_ended_claims(), expected.clone().without_ended_claims());
        }
    }
}

async fn it_ends_the_same_when_every_call_is_followed_by_a_crash(world: World) {
    let (world, _, expected) = play(world, 0, Fault::None).await;

    let (_, _, portrait) = play(world, 1, Fault::Always).await;

    same("the end", portrait, expected);
}
