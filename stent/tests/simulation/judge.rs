//! Rules that a store must satisfy, whatever happened to the processes that wrote it.

use std::collections::{BTreeMap, BTreeSet};

use stent::backend::limits::PAGE_MAX;
use stent::backend::model::{Seq, TaskResult};
use stent::backend::{Inspect, ItemView, Reads, TaskView};
use stent::view::{Mark, Marks, NotesView, StepKind, TaskStatus};
use stent::{ExecutionId, ExecutionStatus, Payload, TaskId};
use stent_memory::MemoryStore;

use crate::program::{
    DOUBLES, Do, Failures, Leaf, NAP, failure_in_words, map_in_words, outcomes_in_words, said_by,
};

/// A task with its arguments and its result, as in its parent's record.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) view: TaskView,
    pub(crate) item: Option<ItemView>,
}

/// The tasks of one execution.
pub(crate) struct Tree {
    pub(crate) root: TaskId,
    pub(crate) tasks: BTreeMap<TaskId, Found>,
    children: BTreeMap<TaskId, Vec<TaskId>>,
}

impl Tree {
    pub(crate) async fn read(store: &MemoryStore, execution: ExecutionId) -> Self {
        let mut views: Vec<TaskView> = Vec::new();
        loop {
            let page = store
                .tasks(execution, views.last().map(|view| view.id), PAGE_MAX)
                .await
                .expect("memory reads");
            let whole = page.len() == PAGE_MAX;
            views.extend(page);
            if !whole {
                break;
            }
        }
        let mut children: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
        let mut tasks = BTreeMap::new();
        for view in views {
            if let Some(parent) = view.parent {
                children.entry(parent).or_default().push(view.id);
            }
            tasks.insert(view.id, Found { view, item: None });
        }
        for (parent, below) in &mut children {
            below.sort_by_key(|id| tasks[id].view.seq);
            let mut items: BTreeMap<Seq, ItemView> = BTreeMap::new();
            let mut from = Seq(0);
            loop {
                let page = store.items(*parent, from, PAGE_MAX).await.expect("memory reads");
                let whole = page.len() == PAGE_MAX;
                from = page.last().map_or(from, |item| Seq(item.seq.0 + 1));
                items.extend(page.into_iter().map(|item| (item.seq, item)));
                if !whole {
                    break;
                }
            }
            for id in below {
                let found = tasks.get_mut(id).expect("read above");
                found.item = items.get(&found.view.seq).cloned();
            }
        }
        Self { root: execution.root(), tasks, children }
    }

    fn below(&self, parent: TaskId) -> impl Iterator<Item = &Found> {
        self.children.get(&parent).into_iter().flatten().map(|id| &self.tasks[id])
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.tasks.values().all(|found| found.view.status.is_terminal())
    }

    pub(crate) fn describe(&self) -> String {
        let mut lines = String::new();
        self.describe_below(None, 0, &mut lines);
        lines
    }

    fn describe_below(&self, parent: Option<TaskId>, depth: usize, lines: &mut String) {
        use std::fmt::Write as _;
        let mut below: Vec<&TaskView> =
            self.tasks.values().map(|found| &found.view).filter(|view| view.parent == parent).collect();
        below.sort_by_key(|view| view.seq);
        for view in below.into_iter().take(30) {
            let TaskView { seq, kind, name, status, attempts, done_order, failure, ready_at, .. } = view;
            let indent = 2 * depth;
            writeln!(
                lines,
                "{:indent$}{seq} {kind} {name}: {status}, attempts {attempts}, order {done_order:?}, ready {ready_at:?}, \
                 {failure:?}",
                ""
            )
            .expect("a string takes it");
            self.describe_below(Some(view.id), depth + 1, lines);
        }
    }

    /// The rules for every tree that is quiet.
    pub(crate) fn invariants(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for found in self.tasks.values().filter(|found| !found.view.kind.is_map()) {
            let task = &found.view;
            let seqs: Vec<Seq> = self.below(task.id).map(|step| step.view.seq).collect();
            if seqs.windows(2).any(|two| two[0] == two[1]) {
                broken.push(format!("a position of {} is taken twice: {seqs:?}", task.name));
            }
            let orders: Vec<u32> = self.below(task.id).filter_map(|step| step.view.done_order).collect();
            let distinct: BTreeSet<u32> = orders.iter().copied().collect();
            if distinct.len() < orders.len() {
                broken.push(format!("two completions of {} have one order: {orders:?}", task.name));
            }
            // Steps that a retry cut from the record leave gaps.
            let last = distinct.last().copied().unwrap_or(0) as usize;
            if task.attempts == 0 && last != distinct.len() {
                broken.push(format!("completions of {} are missing: {orders:?}", task.name));
            }
        }
        for found in self.tasks.values().filter(|found| found.view.kind.is_map()) {
            let seqs: Vec<u32> = self.below(found.view.id).map(|item| item.view.seq.0).collect();
            if !seqs.iter().copied().eq(0..u32::try_from(seqs.len()).expect("small")) {
                broken.push(format!("items of a map are missing or doubled: {seqs:?}"));
            }
        }
        broken
    }

    /// How the root ended.
    pub(crate) fn status(&self) -> ExecutionStatus {
        let root = &self.tasks[&self.root].view;
        ExecutionStatus::of_root(root.status, root.started_at.is_some(), root.marks)
    }

    /// Errors of the counters: code counts each point that it reaches exactly once.
    pub(crate) fn miscounted(&self, notes: &NotesView, dos: &[Do]) -> Vec<String> {
        let mut broken = Vec::new();
        let counted = |name: &str| notes.counters.get(name).copied().unwrap_or(0);
        let all = || self.tasks.values().map(|found| &found.view);
        let doubled = all()
            .filter(|task| {
                task.kind == StepKind::Call
                    && task.name == "sim.double"
                    && task.status == TaskStatus::Completed
            })
            .count() as i64;
        // Steps that a retry removed from the record were counted; so were steps that were about to end when they were
        // asked to.
        let recounts = all().any(|task| task.name == "sim.stubborn" && task.attempts > 0)
            || self.status() == ExecutionStatus::Cancelled;
        let doubles = counted(DOUBLES);
        if doubles < doubled || (doubles > doubled && !recounts) {
            broken.push(format!("{doubled} were doubled, and {doubles} were counted"));
        }
        if self.status() == ExecutionStatus::Completed {
            let said = counted(&said_by(self.root));
            if said != dos.len() as i64 {
                broken.push(format!("{} statements were made, and {said} were counted", dos.len()));
            }
        }
        broken
    }

    /// Executions that were spawned.
    pub(crate) fn spawned(&self) -> Vec<ExecutionId> {
        let spawns = self.tasks.values().filter(|found| found.view.kind == StepKind::Spawn);
        spawns.filter_map(|found| found.result()?.as_ref().ok()?.decode().ok()).collect()
    }

    /// Values that waits for signals took, with the signals' names, except values that were returned.
    pub(crate) fn taken(&self) -> Vec<(String, u64)> {
        let waits = self.tasks.values().filter(|found| found.view.kind == StepKind::Signal);
        let kept = waits.filter(|found| !found.view.marks.contains(Mark::Cancel));
        kept.filter_map(|found| Some((found.view.name.clone(), number(found.result()?.as_ref().ok()?)?)))
            .collect()
    }

    /// The results of calls under keys, by their arguments.
    pub(crate) fn under_keys(&self) -> Vec<(String, u64, Marks)> {
        let calls = self.tasks.values().filter(|found| found.view.name == "sim.keyed");
        let given = calls.filter_map(|found| {
            let item = found.item.as_ref()?;
            let value = number(item.result.as_ref()?.as_ref().ok()?)?;
            Some((format!("{:?}", item.args.bytes()), value, found.view.marks))
        });
        given.collect()
    }

    /// The result that a program must have, according to the record of its steps. Differences are noted.
    pub(crate) fn expected(
        &self,
        task: TaskId,
        dos: &[Do],
        failures: Failures,
        broken: &mut Vec<String>,
    ) -> Words {
        let mut reader = Reader { tree: self, task, failures, next: 0, broken };
        let said = dos.iter().map(|one| reader.one(one)).collect::<Result<Vec<_>, _>>()?;
        Ok(said.join("; "))
    }
}

/// The result of code, or the message of its failure.
pub(crate) type Words = Result<String, String>;

/// Walks the record of one program.
struct Reader<'a> {
    tree: &'a Tree,
    task: TaskId,
    failures: Failures,
    next: u32,
    broken: &'a mut Vec<String>,
}

/// A step's place in its statement, and its record.
type Place<'a> = (usize, Option<&'a Found>);

impl<'a> Reader<'a> {
    fn one(&mut self, one: &Do) -> Words {
        let leaves = match one {
            Do::One(leaf) => std::slice::from_ref(leaf),
            Do::All(leaves)
            | Do::Beside(leaves)
            | Do::Race(leaves)
            | Do::Unordered(leaves)
            | Do::Doomed(leaves) => leaves,
            Do::Detach(n) => {
                let (_, step) = self.places(1)[0];
                self.said(step, &Leaf::Double(*n))?;
                return Ok("let go".to_owned());
            }
            Do::World(_) => return Ok("the world".to_owned()),
            Do::Child(n) => {
                let join = self.places(2)[1].1;
                return self.handled(join, &Leaf::Double(*n));
            }
        };
        let mut places = self.places(leaves.len());
        let order = |place: &Place<'_>| place.1.and_then(|step| step.view.done_order);
        match one {
            Do::Race(_) => {
                let first =
                    places.iter().filter(|place| order(place).is_some()).min_by_key(|place| order(place));
                let Some((winner, step)) = first else { return Ok("a race that nobody won".to_owned()) };
                Ok(format!("{winner} won with {}", self.handled(*step, &leaves[*winner])?))
            }
            Do::Unordered(_) => {
                places.sort_by_key(order);
                let said =
                    places.iter().map(|(i, step)| Ok(format!("{i}: {}", self.handled(*step, &leaves[*i])?)));
                Ok(said.collect::<Result<Vec<_>, String>>()?.join(", "))
            }
            // The others were dropped when the first of them failed.
            Do::Doomed(_) => self.said(places[0].1, &leaves[0]),
            _ => {
                let said = places.iter().map(|(i, step)| self.handled(*step, &leaves[*i]));
                Ok(said.collect::<Result<Vec<_>, _>>()?.join(", "))
            }
        }
    }

    fn places(&mut self, count: usize) -> Vec<Place<'a>> {
        let from = self.next;
        self.next += u32::try_from(count).expect("few");
        let found = |seq| self.tree.below(self.task).find(|step| step.view.seq == Seq(seq));
        (from..self.next).map(found).enumerate().collect()
    }

    fn handled(&mut self, step: Option<&Found>, leaf: &Leaf) -> Words {
        match (self.said(step, leaf), self.failures) {
            (Err(message), Failures::Handled) => Ok(failure_in_words(&message)),
            (words, _) => words,
        }
    }

    /// The result of a step, as text; the expected result is known for most steps.
    fn said(&mut self, step: Option<&Found>, leaf: &Leaf) -> Words {
        let Some(step) = step else {
            self.broken.push(format!("{leaf:?} is not recorded"));
            return Ok("nothing".to_owned());
        };
        let recorded = match (leaf, step.result()) {
            (_, Some(Err(failure))) => Err(failure.message.clone()),
            // Sleeps and maps end without a result of their own.
            (Leaf::Nap(_), None) if step.view.status == TaskStatus::Completed => Ok(NAP.to_owned()),
            (Leaf::Map(_), None) if step.view.status == TaskStatus::Completed => {
                let items =
                    self.tree.below(step.view.id).filter_map(|item| number(item.result()?.as_ref().ok()?));
                Ok(map_in_words(&items.collect::<Vec<_>>()))
            }
            (Leaf::Outcomes(..), None) if step.view.status == TaskStatus::Completed => {
                let items: Vec<&Found> = self.tree.below(step.view.id).collect();
                let well: Vec<u64> =
                    items.iter().filter_map(|item| number(item.result()?.as_ref().ok()?)).collect();
                Ok(outcomes_in_words(items.len(), &well))
            }
            (_, None) => Err(format!("no result, {}", step.view.status)),
            (_, Some(Ok(payload))) => {
                let text = || payload.decode().unwrap_or_else(|error| panic!("{leaf:?}: no text: {error}"));
                Ok(number(payload).map_or_else(text, |n| n.to_string()))
            }
        };
        let expected = match leaf {
            Leaf::Double(n) => Ok((2 * n).to_string()),
            Leaf::Flaky(key, _) | Leaf::Frail(key, _) => Ok(key.to_string()),
            Leaf::Broken(n) => Err(format!("broken {n}")),
            Leaf::Nap(_) => Ok(NAP.to_owned()),
            Leaf::Inline(n) => Ok(format!("inline {n}")),
            Leaf::Slow(n) => Ok(format!("slow {n}")),
            Leaf::Map(items) => Ok(map_in_words(&(0..*items).map(|n| 2 * n).collect::<Vec<_>>())),
            Leaf::Outcomes(first, items) => {
                let well: Vec<u64> = (*first..first + items).filter(|n| n % 2 == 0).collect();
                Ok(outcomes_in_words(*items as usize, &well))
            }
            // The results of these are checked over all executions.
            Leaf::Keyed(..) => recorded.clone().map_err(|_| "not yet".to_owned()),
            Leaf::Signal(_) => Ok(recorded.clone().unwrap_or_default()),
            Leaf::Limited(n) => Ok(n.to_string()),
            Leaf::Nested(dos) => self.tree.expected(step.view.id, dos, Failures::Handled, self.broken),
            Leaf::Stubborn(dos) => self.tree.expected(step.view.id, dos, Failures::Returned, self.broken),
        };
        if recorded != expected {
            self.broken.push(format!("{leaf:?} was to give {expected:?}, and gave {recorded:?}"));
        }
        recorded
    }
}

fn number(payload: &Payload) -> Option<u64> {
    payload.decode().ok()
}

impl Found {
    fn result(&self) -> Option<&TaskResult> {
        self.item.as_ref()?.result.as_ref()
    }
}

/// Remembers ended tasks, which must not change (G4, G7).
#[derive(Debug, Default)]
pub(crate) struct Witness {
    ended: BTreeMap<TaskId, (TaskView, Option<TaskResult>)>,
    /// Tasks of executions that were ended from outside.
    closed: BTreeMap<TaskId, BTreeSet<TaskId>>,
}

impl Witness {
    pub(crate) fn look(&mut self, tree: &Tree) -> Vec<String> {
        let mut broken = Vec::new();
        for (id, found) in tree.tasks.iter().filter(|(_, found)| found.view.status.is_terminal()) {
            let mut now = (found.view.clone(), found.result().cloned());
            if now.0.kind == StepKind::Signal {
                now.0.marks = Marks::NONE; // It may give its value back.
            }
            let before = self.ended.entry(*id).or_insert_with(|| now.clone());
            if *before != now {
                broken.push(format!("G4: {before:?} has become {now:?}"));
            }
        }
        if matches!(tree.status(), ExecutionStatus::Cancelled | ExecutionStatus::TimedOut) {
            let ids: BTreeSet<TaskId> = tree.tasks.keys().copied().collect();
            let before = self.closed.entry(tree.root).or_insert_with(|| ids.clone());
            if *before != ids || !tree.is_at_rest() {
                broken.push(format!("G15: something goes on below what was ended\n{}", tree.describe()));
            }
        }
        let mut cut: BTreeSet<TaskId> = BTreeSet::new();
        for (id, (view, _)) in &self.ended {
            if tree.tasks.contains_key(id) || view.parent.is_none() {
                continue;
            }
            // Only a retry of a function removes steps from its record, with everything below them. Ids sort by age.
            let parent = view.parent.expect("not a root");
            let retried = tree.tasks.get(&parent).is_some_and(|parent| parent.view.attempts > 0);
            if !retried && tree.tasks.contains_key(&parent) {
                broken.push(format!("G4: {view:?} has left the record"));
            }
            cut.insert(*id);
        }
        self.ended.retain(|id, _| !cut.contains(id));
        broken
    }
}
