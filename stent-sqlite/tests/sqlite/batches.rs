//! A batch has the same effect as its transitions one by one: two stores get the same transitions, one store as a batch, the
//! other one by one, and in the end their tables are compared row by row.
//!
//! With one exception: if an execution closes because it was asked to, or gets another's result under its key, the waits
//! for it complete after the batch. Their order relative to other changes of the same batch may differ, which no reader can
//! have seen yet. So joined executions end by themselves here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use stent_core::backend::Claimed;
use stent_core::model::{Keyed, NewTask, NewTaskState, Note, Said, StepKind, Tree, Wait};
use stent_core::transition::{Action, Commit, Dispatch, Expire, Feed, Next, Outcome, Request, Transition};
use stent_core::{ExecutionId, Failure, Key, TaskId};
use stent_sql::SqlStore;
use uuid::Uuid;

use crate::place::Folder;
use crate::support::{claim, commit, payload, root, step, t};

const SEEDS: u64 = 24;

const TABLES: [&str; 5] = [
    "SELECT hex(id) || ' ' || name, * FROM stent_task ORDER BY id",
    "SELECT hex(key), * FROM stent_keys ORDER BY key",
    "SELECT hex(execution_id) || name, * FROM stent_note ORDER BY execution_id, kind, name",
    "SELECT hex(id), * FROM stent_progress ORDER BY id",
    "SELECT hex(task_id), * FROM stent_ended_claims ORDER BY task_id, epoch, at",
];

#[tokio::test]
async fn a_batch_comes_to_the_same_as_its_transitions_one_by_one() {
    for seed in 0..SEEDS {
        let folders = [Folder::new(), Folder::new()];
        let mut world = World {
            at_once: folders[0].ready().await,
            one_by_one: folders[1].ready().await,
            dice: Dice(seed),
            known: BTreeMap::new(),
            joined: BTreeSet::new(),
            cancelled: BTreeSet::new(),
        };
        world.run(seed).await;
    }
}

/// Pseudo-random numbers, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

struct World {
    at_once: Arc<SqlStore>,
    one_by_one: Arc<SqlStore>,
    dice: Dice,
    /// Every task, with its position in the tree and its key.
    known: BTreeMap<TaskId, (Tree, Option<Key>, bool)>,
    joined: BTreeSet<ExecutionId>,
    cancelled: BTreeSet<ExecutionId>,
}

impl World {
    async fn run(&mut self, seed: u64) {
        let dispatches: Vec<_> = (0..10).map(|_| self.start()).collect();
        let executions: Vec<_> = dispatches.iter().map(|start| start.task().execution()).collect();
        self.send(seed, dispatches).await;
        for round in 0..4 {
            let parents = self.claim("checkout", round).await;
            let turns: Vec<_> = parents.iter().map(|parent| self.turn(parent, &executions, round)).collect();
            self.send(seed, turns).await;

            let mut batch = Vec::new();
            for held in self.claim("charge", round).await {
                batch.extend(self.end(&held, round));
            }
            for task in self.known.keys().copied().collect::<Vec<_>>() {
                batch.extend(self.request(task, round));
            }
            for at in (1..batch.len()).rev() {
                batch.swap(at, self.dice.roll(at + 1));
            }
            self.send(seed, batch).await;
        }
    }

    /// Sends a batch to both, and compares the results.
    async fn send(&self, seed: u64, batch: Vec<Transition>) {
        let outcomes = commit(&self.at_once, &batch).await;
        let mut expected = Vec::new();
        for transition in &batch {
            expected.extend(commit(&self.one_by_one, std::slice::from_ref(transition)).await);
        }
        for (at, (outcome, expected)) in outcomes.iter().zip(&expected).enumerate() {
            let same = match (outcome, expected) {
                (Outcome::Applied(_), Outcome::Applied(_)) | (Outcome::Already(_), Outcome::Already(_)) => {
                    true
                }
                (outcome, expected) => outcome == expected,
            };
            assert!(same, "seed {seed}: {outcome:?}, not {expected:?}: {:#?}", batch[at]);
        }
        for table in TABLES {
            let [rows, expected] = [rows(&self.at_once, table).await, rows(&self.one_by_one, table).await];
            for (row, expected) in rows.iter().zip(&expected) {
                assert_eq!(row, expected, "seed {seed}: {table} after {batch:#?}");
            }
            assert_eq!(rows.len(), expected.len(), "seed {seed}: {table} after {batch:#?}");
        }
    }

    async fn claim(&self, function: &str, round: u64) -> Vec<Claimed> {
        let now = t(10 * round);
        let claimed = claim(&self.at_once, &[function], 500, now).await;
        let expected = claim(&self.one_by_one, &[function], 500, now).await;
        let shown = |claimed: &[Claimed]| -> Vec<_> {
            claimed.iter().map(|claimed| (claimed.fence, claimed.task.done, claimed.steps.len())).collect()
        };
        assert_eq!(shown(&claimed), shown(&expected));
        claimed
    }

    fn root(&mut self) -> NewTask {
        let mut task = root("checkout");
        if self.dice.roll(4) == 0 {
            task.keyed = Some(Keyed::new(Key::of_user("checkout", None, &self.dice.roll(2).to_string())));
        }
        self.limited(task)
    }

    /// Perhaps with a deadline.
    fn limited(&mut self, mut task: NewTask) -> NewTask {
        if self.dice.roll(5) == 0 {
            task.expires_at = Some(t(5 + 10 * self.dice.roll(3) as u64));
        }
        let key = task.keyed.map(|keyed| keyed.key);
        self.known.insert(task.id, (task.tree, key, task.expires_at.is_some()));
        task
    }

    fn start(&mut self) -> Transition {
        let root = self.root();
        let key =
            (self.dice.roll(3) == 0).then(|| Key::of_dispatch("checkout", &self.dice.roll(4).to_string()));
        Dispatch { root, key, at: t(0) }.into()
    }

    /// A parent asks for some steps, gives up others, and parks or ends.
    fn turn(&mut self, parent: &Claimed, executions: &[ExecutionId], round: u64) -> Transition {
        let at = t(10 * round + 1);
        let ended = self.dice.roll(6) == 0;
        let next = match ended {
            true => Next::End(Ok(payload(b"summary"))),
            false => Next::Park(Wait::for_next(parent.task.done)),
        };
        let mut turn = Commit::new(parent.fence, parent.task.tree, parent.task.key, at, next);
        for step in &parent.steps {
            let open = step.order().is_none();
            match self.dice.roll(4) {
                0 if open || step.kind == StepKind::Signal => turn.cancel.push(step.id),
                1 => turn.erase.push(step.id),
                _ if ended && open => turn.cancel.push(step.id),
                _ => {}
            }
        }
        if !ended {
            for seq in 0..1 + self.dice.roll(4) as u32 {
                self.step(&mut turn, parent, 10 * round as u32 + seq, executions);
            }
        }
        turn.notes = vec![
            Said { task: parent.task.id, note: Note::CountFrom { name: "turns".to_owned(), value: 5 } },
            Said { task: parent.task.id, note: Note::Count { name: "turns".to_owned(), add: 1 } },
            Said {
                task: parent.task.id,
                note: Note::Set { name: "at".to_owned(), value: payload(&[round as u8]) },
            },
        ];
        turn.into()
    }

    fn step(&mut self, turn: &mut Commit, parent: &Claimed, seq: u32, executions: &[ExecutionId]) {
        let tree = parent.task.tree;
        let mut task = step(parent, seq, "charge");
        task.state = NewTaskState::Pending { ready_at: turn.at };
        match self.dice.roll(6) {
            0 => {}
            1 | 2 => {
                task.keyed = Some(Keyed::new(Key::of_user("charge", None, &self.dice.roll(3).to_string())));
            }
            3 => {
                task.kind = StepKind::Signal;
                task.keyed = Some(Keyed::new(Key::of_signal(tree.execution, "go")));
                task.state = NewTaskState::Signal;
            }
            4 => {
                let execution = executions[self.dice.roll(executions.len())];
                if self.cancelled.contains(&execution) || self.known[&execution.root()].1.is_some() {
                    return;
                }
                self.joined.insert(execution);
                task.kind = StepKind::Join;
                task.keyed = Some(Keyed::new(Key::of_execution(execution)));
                task.state = NewTaskState::Join { execution };
            }
            _ => {
                task.kind = if self.dice.roll(2) == 0 { StepKind::Map } else { StepKind::Gather };
                task.state = NewTaskState::Map;
                for at in 0..2 {
                    let item = NewTask {
                        tree: Tree::item(tree.execution, task.id, parent.task.id),
                        state: NewTaskState::Pending { ready_at: turn.at },
                        ..step_of(parent, at)
                    };
                    let item = self.limited(item);
                    turn.insert.push(item);
                }
                turn.feed.push(Feed { map: task.id, fed: 2, total: Some(2), digest: None });
            }
        }
        let task = self.limited(task);
        turn.insert.push(task);
    }

    fn end(&mut self, held: &Claimed, round: u64) -> Option<Transition> {
        let at = t(10 * round + 6);
        let failure = || Failure::new("Declined", "no funds");
        let next = match self.dice.roll(8) {
            0 => Next::End(Err(failure())),
            1 => Next::Release,
            2 => Next::Retry { ready_at: at, failure: failure() },
            3 => return None,
            _ => Next::End(Ok(payload(&[round as u8]))),
        };
        Some(Commit::new(held.fence, held.task.tree, held.task.key, at, next).into())
    }

    /// A request from outside.
    fn request(&mut self, task: TaskId, round: u64) -> Option<Transition> {
        let (tree, key, limited) = *self.known.get(&task)?;
        let at = t(10 * round + 6);
        if limited && self.dice.roll(2) == 0 {
            let failure = Failure::new(Failure::TIMED_OUT, "too late");
            return Some(Expire { task, tree, key, at, failure }.into());
        }
        if tree.parent.is_some() {
            return None;
        }
        let action = match self.dice.roll(12) {
            0 if !self.joined.contains(&tree.execution) => {
                self.cancelled.insert(tree.execution);
                Action::Cancel { until: at }
            }
            1..4 => Action::Signal {
                key: Key::of_signal(tree.execution, "go"),
                name: "go".to_owned(),
                id: TaskId::from_uuid(Uuid::now_v7()),
                value: payload(&[self.dice.roll(256) as u8]),
            },
            4 => Action::Redrive { retry: None, queue: None },
            5 => Action::Discard,
            _ => return None,
        };
        Some(Request { execution: tree.execution, at, action }.into())
    }
}

fn step_of(parent: &Claimed, seq: u32) -> NewTask {
    step(parent, seq, "charge")
}

async fn rows(store: &SqlStore, query: &str) -> Vec<String> {
    let columns = {
        let statement = Statement::from_string(DbBackend::Sqlite, query);
        store.connections().read.query_all_raw(statement).await.expect("reads")
    };
    columns
        .iter()
        .map(|row| {
            let names = row.column_names().into_iter().enumerate();
            let cells = names.filter(|(_, name)| name != "done_order").map(|(at, name)| {
                let text = row
                    .try_get_by_index::<Option<String>>(at)
                    .map(|text| format!("{text:?}"))
                    .or_else(|_| row.try_get_by_index::<Option<i64>>(at).map(|number| format!("{number:?}")))
                    .or_else(|_| {
                        row.try_get_by_index::<Option<Vec<u8>>>(at).map(|bytes| format!("{bytes:?}"))
                    });
                format!("{name}={}", text.unwrap_or_else(|_| "?".to_owned()))
            });
            cells.collect::<Vec<_>>().join(" ")
        })
        .collect()
}
