//! A few confused workers: their knowledge of a store, and their next actions.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{ClaimRequest, Claimed, Exchanged, Expired, Limit, Purge, PurgeRequest};
use stent_core::model::{Fence, Mark, Note, RetryPolicy, StepKind, Wait};
use stent_core::transition::{Action, Next, Outcome, Transition};
use stent_core::{Digest, ExecutionId, Failure, Payload, TaskId, Timestamp, WorkerId};

use super::Oracle;
use super::tally::Tally;
use super::watch::{Pace, Watch, agree, say};
use crate::chance::Chance;
use crate::harness::Harness;
use crate::request::{self, At};
use crate::task::{Draft, dispatch_key, key, t, text};
use crate::turn::{Holder, Turn, later, wait_for_items};
use crate::world::{Memory, Trace, World};

/// Claims and transitions that are kept to be sent again, or too late.
const REMEMBERED_MAX: usize = 30;

/// Two stores, and the knowledge of a few confused workers about them.
pub(super) struct Play {
    /// Two handles on the store, as two processes have them: one reads what the other writes.
    handles: [World; 2],
    memory: World,
    workers: [WorkerId; 2],
    /// The current handle and worker.
    at: usize,
    now: i64,
    held: Vec<Held>,
    /// Claims that were released or overtaken.
    lost: VecDeque<Held>,
    sent: VecDeque<Transition>,
    /// Executions that were dispatched or spawned.
    roots: VecDeque<TaskId>,
    /// Executions that failed.
    dead: Vec<TaskId>,
    /// Tasks whose deadline has passed, as a claim reported them.
    over: Vec<Expired>,
    /// Executions that the current operation has named.
    named: BTreeSet<ExecutionId>,
    watch: Watch,
    tally: Tally,
}

/// A claim, and the record as its holder knows it.
#[derive(Clone, Debug)]
struct Held {
    claimed: Claimed,
    steps: Vec<(TaskId, StepKind)>,
    maps: Vec<(TaskId, u32, Option<u32>)>,
}

const FUNCTIONS: [&str; 3] = ["checkout", "charge", "ship"];
const QUEUES: [&str; 2] = ["default", "eu"];
const TAGS: [&str; 2] = ["gpu", "disk"];

/// Keys of calls, names of signals, counters and states: few, so that they collide.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// One of the names; the first is more likely than the others.
fn name(chance: &mut Chance) -> &'static str {
    NAMES[if chance.happens(60) { 0 } else { chance.below(3) }]
}

/// Something to be stored: text, nothing, falsy values, and bytes that are not text.
fn payload(chance: &mut Chance) -> Payload {
    match chance.below(8) {
        0 => Payload::empty(),
        1 => {
            let falsy = ["null", "false", "0", "\"\""][chance.below(4)];
            Payload::new("application/json", falsy.as_bytes().to_vec())
        }
        2 => Payload::new("application/octet-stream", chance.next().to_le_bytes().to_vec()),
        _ => text(&format!("{:x}", chance.next())),
    }
}

/// One of a few, or any.
fn digest(chance: &mut Chance) -> Digest {
    let any = chance.next().cast_signed();
    Digest::from_i64(*chance.pick(&[0, -1, i64::MIN, i64::MAX, any, any]).unwrap_or(&any))
}

impl Play {
    /// Two empty stores. The trace is that of one side: both receive the same calls.
    pub(super) async fn new(harness: Arc<dyn Harness>, trace: &Trace) -> Self {
        let store = World::new(harness, trace.clone()).await;
        let memory = World::new(Arc::new(Oracle), Trace::default()).await;
        let other = WorkerId::from_uuid(*memory.id().as_uuid());
        Self {
            handles: [store.peer().await, store],
            workers: [memory.worker, other],
            memory,
            at: 0,
            now: 0,
            held: Vec::new(),
            lost: VecDeque::new(),
            sent: VecDeque::new(),
            roots: VecDeque::new(),
            dead: Vec::new(),
            over: Vec::new(),
            named: BTreeSet::new(),
            watch: Watch::default(),
            tally: Tally::default(),
        }
    }

    /// One operation on both sides, and whether they still agree.
    pub(super) async fn step(&mut self, chance: &mut Chance, pace: Pace) -> Result<(), String> {
        self.at = chance.below(2);
        self.named.clear();
        self.operate(chance).await?;
        // The reader need not be the writer.
        let reader = &self.handles[chance.below(2)];
        let named = std::mem::take(&mut self.named);
        let worlds = (reader, &self.memory);
        self.watch.compare(worlds, named, t(self.now), pace, &mut self.tally).await
    }

    /// A last comparison of everything, and the tally.
    pub(super) async fn end(self) -> Result<Tally, String> {
        self.watch.all((self.store(), &self.memory)).await?;
        Ok(self.tally)
    }

    async fn operate(&mut self, chance: &mut Chance) -> Result<(), String> {
        match chance.below(100) {
            0..8 => {
                let start = self.dispatch(chance);
                self.send(Some(start), chance).await
            }
            8..30 => self.claim(Vec::new(), chance).await,
            30..58 => {
                let turn = self.turn(chance);
                self.send(turn, chance).await
            }
            58..68 => {
                let request = self.request(chance);
                self.send(request, chance).await
            }
            68..80 => {
                let batch = self.batch(chance);
                if chance.happens(70) {
                    self.claim(batch, chance).await
                } else {
                    self.send(batch, chance).await
                }
            }
            80..84 => {
                let again = chance.pick(self.sent.make_contiguous()).cloned();
                self.send(again, chance).await
            }
            84..87 => {
                let late = self.late(chance);
                self.send(late, chance).await
            }
            87..90 => self.renew(chance).await,
            90..96 => {
                self.now += i64::try_from(chance.below(12)).unwrap_or_default();
                Ok(())
            }
            96..99 => self.purge(chance).await,
            _ => {
                self.handles[self.at].crash_in_place().await;
                Ok(())
            }
        }
    }

    /// Sends transitions, or claims if there are none.
    async fn send(
        &mut self,
        batch: impl IntoIterator<Item = Transition>,
        chance: &mut Chance,
    ) -> Result<(), String> {
        let batch: Vec<_> = batch.into_iter().collect();
        if batch.is_empty() {
            return self.claim(batch, chance).await;
        }
        self.exchange(batch, None).await.map(drop)
    }

    const fn store(&self) -> &World {
        &self.handles[self.at]
    }

    const fn worker(&self) -> WorkerId {
        self.workers[self.at]
    }

    fn moment(&self, chance: &mut Chance) -> Timestamp {
        let moment = t(self.now + *chance.pick(&[0, 0, 0, 1, 4, 20]).unwrap_or(&0));
        // Some are a microsecond apart, which only an exact number distinguishes.
        moment + Duration::from_micros(*chance.pick(&[0, 0, 0, 1, 2]).unwrap_or(&0))
    }

    fn call(&self, chance: &mut Chance) -> Draft {
        let function = chance.pick(&FUNCTIONS).copied().unwrap_or_default();
        let queue = chance.pick(&QUEUES).copied().unwrap_or_default();
        let priority = chance.pick(&[0, 0, 0, -3, 5, i16::MIN, i16::MAX]).copied().unwrap_or_default();
        let call = self.memory.call(function).on(queue).priority(priority);
        let mut call = call.args(payload(chance));
        if chance.happens(50) {
            call = call.digest(digest(chance));
        }
        if chance.happens(20) {
            call = call.retry(RetryPolicy::default().max_attempts(1 + chance.below(4) as u32));
        }
        if chance.happens(10) {
            call = call.traced("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        }
        if chance.happens(20) {
            call = call.tags([TAGS[chance.below(2)]]);
        }
        if chance.happens(15) {
            call = call.expires(self.moment(chance));
        }
        if chance.happens(25) {
            call = call.keyed(key(NAMES[chance.below(3)]));
            if chance.happens(30) {
                call = call.ttl(10);
            }
            return call.due(self.moment(chance));
        }
        match chance.below(12) {
            0 => call.leased(t(self.now), self.worker(), t(self.now + 10)),
            1 => call.done(t(self.now), Ok(text("cached"))),
            2 => call
                .failed_before(1)
                .failure(Failure::new("Busy", "before it was written"))
                .due(self.moment(chance)),
            _ => call.due(self.moment(chance)),
        }
    }

    fn dispatch(&self, chance: &mut Chance) -> Transition {
        let under = chance.happens(15).then(|| dispatch_key(NAMES[chance.below(3)]));
        self.call(chance).start_under(under, t(self.now))
    }

    /// A request from outside.
    fn request(&mut self, chance: &mut Chance) -> Option<Transition> {
        let now = t(self.now);
        if chance.happens(35) {
            return chance.pick(&self.over).map(|expired| request::expire(expired, now));
        }
        let among = self.roots.make_contiguous();
        let among = if chance.happens(25) { &self.dead[..] } else { &*among };
        let root = *chance.pick(among)?;
        let is_dead = self.dead.contains(&root);
        Some(match chance.below(8) {
            0..4 if !is_dead => {
                // Often to the slot of the last one, so that values collide.
                let slot = |sent: &Transition| match sent.action() {
                    Some(Action::Signal { name, .. }) => Some((sent.task(), name.clone())),
                    _ => None,
                };
                let again = self.sent.iter().rev().find_map(slot).filter(|_| chance.happens(50));
                let (root, name) = again.unwrap_or_else(|| (root, name(chance).to_owned()));
                request::signal(root, &name, self.memory.id(), payload(chance)).at(now)
            }
            4..6 => request::cancel(root, *chance.pick(&[0, 5, 20]).unwrap_or(&5), now),
            6 => request::discard(root).at(now),
            7 => request::redrive_by(root, RetryPolicy::never()).at(now),
            _ if chance.happens(50) => request::redrive_on(root, QUEUES[chance.below(2)]).at(now),
            _ => request::redrive(root).at(now),
        })
    }

    fn batch(&mut self, chance: &mut Chance) -> Vec<Transition> {
        let mut batch = Vec::new();
        // Most are small; few have more than one part of each kind.
        let most = if chance.happens(10) { 40 } else { 5 };
        for _ in 0..=chance.below(most) {
            match chance.below(12) {
                0..2 => batch.push(self.dispatch(chance)),
                10..12 => batch.extend(self.request(chance)),
                2 => batch.extend(self.late(chance)),
                3 => batch.extend(chance.pick(self.sent.make_contiguous()).cloned()),
                _ => batch.extend(self.turn(chance)),
            }
        }
        batch
    }

    /// A write of a worker that no longer holds the task, or an unpark of parked code.
    fn late(&mut self, chance: &mut Chance) -> Option<Transition> {
        let lost = chance.pick(self.lost.make_contiguous())?.clone();
        if chance.happens(40) {
            return Some(lost.claimed.unpark().decided_at(t(self.now)));
        }
        let ahead = chance.below(2) as u32;
        let late = Held { claimed: later(&lost.claimed, ahead, lost.claimed.task.done), ..lost };
        Some(self.draw_turn(&late, chance))
    }

    /// The next write of a worker that holds a task.
    fn turn(&self, chance: &mut Chance) -> Option<Transition> {
        let held = chance.pick(&self.held)?.clone();
        Some(self.draw_turn(&held, chance))
    }

    fn draw_turn(&self, held: &Held, chance: &mut Chance) -> Transition {
        let claimed = &held.claimed;
        let seen = claimed.task.done;
        let is_item = claimed.task.tree.owner.is_some();
        let mut turn = match chance.below(20) {
            // A redriven task repeats what failed; items end, or no map ever would.
            _ if claimed.task.marks.contains(Mark::Redrive) && chance.happens(40) => claimed.redo(),
            _ if is_item && chance.happens(40) => claimed.complete("parcel"),
            _ if is_item && chance.happens(15) => claimed.fail(Failure::new("Lost", "on the way")),
            0..8 => claimed.keep(),
            8..13 => {
                let mut wait = match held.maps.last() {
                    Some((map, fed, None)) if chance.happens(60) => wait_for_items(seen, *map, *fed / 2 + 1),
                    _ => Wait::for_next(seen + chance.below(2) as u32),
                };
                if chance.happens(40) {
                    wait = wait.until(Some(self.moment(chance)));
                }
                claimed.park_for(wait)
            }
            13..15 => claimed.complete("result"),
            15..17 => claimed.fail(Failure::new("Declined", "no funds")),
            17..19 => claimed.retry(self.moment(chance), Failure::new("Busy", "try again")),
            _ => claimed.release(),
        }
        .at(t(self.now))
        .seen(seen);

        for _ in 0..chance.below(5) {
            turn = self.draw_part(held, turn, chance);
        }
        turn.keep_fed().into()
    }

    fn draw_part(&self, held: &Held, turn: Turn, chance: &mut Chance) -> Turn {
        let step = chance.pick(&held.steps).copied();
        let root = held.claimed.task.tree.execution.root();
        let name = name(chance);
        match (chance.below(18), step) {
            (0..3, _) => turn.with(self.call(chance)),
            (3, _) => turn.with(self.memory.inline("render", "note")),
            (4, _) => {
                // A closure that failed, or that wrote a note.
                let inline = self.memory.inline("render", "note");
                let (id, now) = (inline.id, t(self.now));
                if chance.happens(50) {
                    turn.with(inline.done(now, Err(Failure::new("Torn", "the paper"))))
                } else {
                    turn.with(inline).say_for(id, self.note(name, chance))
                }
            }
            (5, _) => turn.with(self.memory.sleep(self.moment(chance))),
            (6, _) => {
                let map =
                    if chance.happens(60) { self.memory.map("ship") } else { self.memory.gather("ship") };
                let (id, items) = (map.id, chance.below(4));
                let total = chance.happens(60).then_some(items as u32);
                let items: Vec<_> = (0..items).map(|_| self.item(chance)).collect();
                let fed = items.len() as u32;
                let digest = chance.happens(70).then(|| digest(chance));
                turn.with(map).items(id, items).feed_with(id, fed, total, digest)
            }
            (7..9, _) => match chance.pick(&held.maps).copied() {
                Some((map, fed, None)) => {
                    let items: Vec<_> = (0..chance.below(3)).map(|_| self.item(chance)).collect();
                    let fed = fed + items.len() as u32;
                    let digest = chance.happens(70).then(|| digest(chance));
                    turn.items(map, items).feed_with(map, fed, chance.happens(70).then_some(fed), digest)
                }
                _ => turn,
            },
            (9, Some((step, StepKind::Sleep))) => turn.fire(step),
            (9 | 10, Some((step, _))) => turn.cancel(step),
            (11, Some((step, _))) => turn.erase(step),
            (12..14, _) => turn.with(self.memory.wait(root, name)),
            (14, _) => match chance.pick(&self.roots.iter().copied().collect::<Vec<_>>()) {
                Some(joined) => turn.with(self.memory.join(*joined)),
                None => turn,
            },
            (15, _) => {
                let child = self.call(chance).due(self.moment(chance));
                turn.spawn(self.memory.start_of(child.id), child)
            }
            (16..18, _) => turn.say(self.note(name, chance)),
            _ => turn,
        }
    }

    fn note(&self, name: &str, chance: &mut Chance) -> Note {
        let (name, value) = (name.to_owned(), i64::try_from(chance.below(9)).unwrap_or_default() - 3);
        let state = payload(chance);
        match chance.below(6) {
            0..2 => Note::Count { name, add: value },
            2 => Note::CountFrom { name, value },
            3 => Note::Set { name, value: state },
            4 => Note::SetFrom { name, value: state },
            _ => Note::Progress { id: self.memory.id(), text: name },
        }
    }

    fn item(&self, chance: &mut Chance) -> Draft {
        let item = self.memory.call("ship").due(self.moment(chance));
        if chance.happens(25) { item.keyed(key(NAMES[chance.below(3)])) } else { item }
    }

    async fn exchange(
        &mut self,
        batch: Vec<Transition>,
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, String> {
        let expected = self.memory.exchange(&batch, claim).await;
        let actual = self.store().exchange(&batch, claim).await;
        agree("the outcomes", &actual.outcomes, &expected.outcomes)?;
        agree("the claimed tasks", &actual.claimed, &expected.claimed)?;
        agree("the next moment", &actual.next_due, &expected.next_due)?;
        agree("what is over", &actual.expired, &expected.expired)?;
        agree("what is to end", &actual.stopping, &expected.stopping)?;
        if claim.is_some() {
            self.over.clone_from(&expected.expired);
        }
        for (transition, outcome) in batch.iter().zip(&expected.outcomes) {
            self.tally.sent(transition, outcome);
            self.named.extend(self.memory.home(transition.task()));
            self.learn(transition, outcome);
        }
        self.named.extend(expected.claimed.iter().map(|claimed| claimed.task.tree.execution));
        self.sent.extend(batch);
        while self.sent.len() > REMEMBERED_MAX {
            self.sent.pop_front();
        }
        Ok(expected)
    }

    /// Updates the holder's knowledge with its own write.
    fn learn(&mut self, transition: &Transition, outcome: &Outcome) {
        let task = transition.task();
        if let Outcome::Applied(_) = outcome {
            let started = transition.rows().iter().filter(|new| new.tree.parent.is_none());
            self.roots.extend(started.map(|new| new.id));
            while self.roots.len() > REMEMBERED_MAX {
                self.roots.pop_front();
            }
        }
        let Some(commit) = transition.commit() else { return };
        if let (Outcome::Applied(_), Next::End(Err(_))) = (outcome, &commit.next) {
            self.dead.extend(self.roots.contains(&task).then_some(task));
        }
        let Some(place) = self.held.iter().position(|held| held.claimed.task.id == task) else { return };
        let held = &mut self.held[place];
        match (outcome, &commit.next) {
            (Outcome::Applied(news), Next::Keep) => {
                held.claimed = later(&held.claimed, 1, news.done);
                let steps = commit.insert.iter().filter(|new| new.tree.parent == Some(task));
                held.steps.extend(steps.map(|new| (new.id, new.kind)));
                for feed in &commit.feed {
                    held.maps.retain(|(map, ..)| *map != feed.map);
                    held.maps.push((feed.map, feed.fed, feed.total));
                }
                held.maps.retain(|(map, ..)| !commit.erase.contains(map));
            }
            (Outcome::Applied(_) | Outcome::Fenced | Outcome::Gone | Outcome::Exists(_), _) => {
                let mut held = self.held.swap_remove(place);
                held.claimed = later(&held.claimed, 1, held.claimed.task.done);
                self.lose(held);
            }
            (Outcome::Already(_), _) => {}
        }
    }

    fn lose(&mut self, held: Held) {
        self.lost.push_back(held);
        if self.lost.len() > REMEMBERED_MAX {
            self.lost.pop_front();
        }
    }

    async fn claim(&mut self, batch: Vec<Transition>, chance: &mut Chance) -> Result<(), String> {
        let all: Vec<_> = FUNCTIONS.map(str::to_owned).into();
        let functions = if chance.happens(80) { all } else { vec![FUNCTIONS[chance.below(3)].to_owned()] };
        let queues = chance.happens(20).then(|| vec![QUEUES[chance.below(2)].to_owned()]);
        // A worker's cache may be behind the store, and contain tasks that the worker never had.
        let nonce = self.store().nonce();
        let mut memory = Memory::default();
        for held in self.lost.iter().chain(&self.held).filter(|held| held.claimed.task.done % 2 == 0) {
            let (fence, done) = (held.claimed.fence, held.claimed.task.done);
            memory.0.insert(fence, done);
            memory.0.insert(fence.next(), done);
            memory.0.insert(Fence { epoch: fence.epoch.next(nonce), ..fence }, done / 2);
        }
        let tags: Vec<_> = chance.happens(30).then(|| TAGS[chance.below(2)].to_owned()).into_iter().collect();
        // Every worker that limits a function uses the same limit.
        let limits = [
            Limit { function: "charge".to_owned(), max_concurrent: Some(2), rate: None },
            Limit { function: "ship".to_owned(), max_concurrent: Some(3), rate: "5/20s".parse().ok() },
        ];
        let request = ClaimRequest {
            worker: self.worker(),
            nonce,
            now: t(self.now),
            until: t(self.now + *chance.pick(&[3, 10, 30]).unwrap_or(&30)),
            max: chance.below(5),
            functions: &functions,
            queues: queues.as_deref(),
            tags: &tags,
            limits: &limits,
            cache: &memory,
        };
        let exchanged = self.exchange(batch, Some(&request)).await?;
        for claimed in exchanged.claimed {
            if let Some(place) = self.held.iter().position(|held| held.claimed.task.id == claimed.task.id) {
                let overtaken = self.held.swap_remove(place);
                self.lose(overtaken);
            }
            let steps = claimed.steps.iter().map(|step| (step.id, step.kind)).collect();
            let open = claimed.steps.iter().filter(|step| step.order().is_none());
            let maps = open.filter_map(|step| step.map.map(|map| (step.id, map.fed, map.total))).collect();
            self.held.push(Held { claimed, steps, maps });
        }
        Ok(())
    }

    async fn renew(&mut self, chance: &mut Chance) -> Result<(), String> {
        let known: Vec<_> = self.held.iter().chain(&self.lost).collect();
        let leases: Vec<_> = (0..4).filter_map(|_| Some(chance.pick(&known)?.claimed.lease)).collect();
        // A renewal may have been decided some time before it arrives.
        let ago = *chance.pick(&[0, 0, 0, 10]).unwrap_or(&0);
        let (now, until) = (t(self.now - ago), t(self.now + 25));
        let expected = self.memory.store().renew(&leases, now, until).await.map_err(say)?;
        let actual = self.store().store().renew(&leases, now, until).await.map_err(say)?;
        self.store().note(format_args!("renew {leases:?} until {until} -> {actual:?}"));
        self.tally.renewed(&expected);
        agree("the renewals", &actual, &expected)
    }

    async fn purge(&mut self, chance: &mut Chance) -> Result<(), String> {
        let what = [
            Purge::Executions,
            Purge::Executions,
            Purge::DeadLetters,
            Purge::Details,
            Purge::Results,
            Purge::Results,
        ];
        let request = PurgeRequest {
            what: what[chance.below(what.len())],
            before: t(self.now - *chance.pick(&[0, 0, 10]).unwrap_or(&0)),
            now: t(self.now),
            max: chance.below(9) as u32,
        };
        let expected = self.memory.purge_as(request).await;
        self.tally.purged(request.what, expected);
        agree("what was purged", &self.store().purge_as(request).await, &expected)
    }
}
