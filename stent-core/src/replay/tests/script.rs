//! A durable function as data, and a driver that polls it like a worker's turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::Location;

use uuid::Uuid;

use super::*;
use Code::{All, Call, Chain, Delayed, Detached, Handled, Inline, Race, Slow, Try, World};

pub(super) const TASK: TaskId = id(1);
pub(super) const TREE: Tree = Tree::root(TASK.execution());

pub(super) const fn id(n: u128) -> TaskId {
    TaskId::from_uuid(Uuid::from_u128(n))
}

/// The id of a recorded step.
pub(super) fn old(seq: u32) -> TaskId {
    id(100 + u128::from(seq))
}

/// The id that a first run of the code gives to a new step.
pub(super) fn new(seq: u32) -> TaskId {
    id(1_000 + u128::from(seq))
}

pub(super) const fn t(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub(super) fn ok(text: &str) -> TaskResult {
    Ok(Payload::new("text/plain", text.into()))
}

pub(super) fn failed(message: &str) -> TaskResult {
    Err(Failure::new("Declined", message))
}

pub(super) fn text(result: &TaskResult) -> String {
    match result {
        Ok(payload) => String::from_utf8_lossy(payload.bytes()).into_owned(),
        Err(failure) => format!("!{}", failure.message),
    }
}

pub(super) fn step(seq: u32, kind: StepKind, name: &str, state: StepState) -> Step {
    Step { id: old(seq), seq: Seq(seq), kind, name: name.to_owned(), state, map: None, digest: None }
}

/// A recorded call that was the `order`-th completion, at the second of that number.
pub(super) fn done(seq: u32, name: &str, order: u32) -> Step {
    ended(seq, name, order, ok(name))
}

pub(super) fn ended(seq: u32, name: &str, order: u32, result: TaskResult) -> Step {
    step(seq, StepKind::Call, name, StepState::Done { order, at: t(order.into()), result })
}

pub(super) fn open(seq: u32, name: &str) -> Step {
    step(seq, StepKind::Call, name, StepState::Open { due: None })
}

pub(super) fn cancelled(seq: u32, name: &str) -> Step {
    step(seq, StepKind::Call, name, StepState::Cancelled)
}

pub(super) fn sleeping(seq: u32, due: i64) -> Step {
    step(seq, StepKind::Sleep, "sleep", StepState::Open { due: Some(t(due)) })
}

pub(super) fn mapping(seq: u32, fed: u32, done: u32) -> Step {
    let map = Some(Progress { fed, total: None, done });
    Step { map, ..step(seq, StepKind::Map, "item", StepState::Open { due: None }) }
}

/// A durable function. A leaf whose name begins with `!` fails.
#[derive(Clone, Debug)]
pub(super) enum Code {
    Call(&'static str),
    /// A call that does not start before this second.
    Delayed(&'static str, i64),
    Detached(&'static str),
    /// Until this second.
    Sleep(i64),
    /// A closure that ends in the poll in which it starts.
    Inline(&'static str),
    /// A closure that awaits a non-durable event.
    Slow(&'static str),
    /// A non-durable event.
    World(&'static str),
    /// A map over this many items.
    Map(u32),
    /// Sequential parts; a failure ends it.
    Chain(Vec<Self>),
    /// `join!`: waits for all of them, and then fails if one has failed.
    All(Vec<Self>),
    /// `try_join!`: the first failure drops the others.
    Try(Vec<Self>),
    /// `select!`: the first to end drops the others.
    Race(Vec<Self>),
    /// Continues after a failure.
    Handled(Box<Self>),
}

/// Code in progress.
#[derive(Debug)]
pub(super) enum Node {
    /// An async block before its first poll: nothing in it has been built.
    Lazy(Code),
    Leaf(Code, Seq, bool),
    World(&'static str),
    Chain(VecDeque<Code>, Box<Self>, String),
    Group(Code, Vec<Result<Self, TaskResult>>),
    Handled(Box<Self>),
    Over,
}

/// One run of some code, from its first line.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) replay: Replay,
    pub(super) code: Node,
    /// The non-durable events that have happened.
    pub(super) world: BTreeSet<&'static str>,
    pub(super) clock: Timestamp,
    /// Steps that it asks for get ids from here on; `None` if they get derived ids.
    pub(super) ids: Option<u128>,
    /// The ids with which it has asked for steps, by position.
    pub(super) asked: BTreeMap<Seq, TaskId>,
    pub(super) delivered: Vec<u32>,
    /// The completions that the code has seen: position, result, and the time at that point.
    pub(super) saw: Vec<(u32, String, Timestamp)>,
}

impl Run {
    pub(super) fn new(code: &Code, done: u32, steps: Vec<Step>) -> Self {
        let mut run = Self {
            replay: Replay::new(t(0), done, steps),
            code: Node::Over,
            world: BTreeSet::new(),
            clock: t(0),
            ids: Some(1_000),
            asked: BTreeMap::new(),
            delivered: Vec::new(),
            saw: Vec::new(),
        };
        run.code = run.build(code);
        run
    }

    /// When: polls and delivers until the code has ended, or is quiet and has seen all completions.
    pub(super) fn until_quiet(&mut self) -> Option<TaskResult> {
        loop {
            if let Some(result) = self.poll_once() {
                return Some(result);
            }
            match self.replay.deliver() {
                Some(seq) => self.delivered.push(seq.0),
                None => return None,
            }
        }
    }

    pub(super) fn poll_once(&mut self) -> Option<TaskResult> {
        let mut code = std::mem::replace(&mut self.code, Node::Over);
        let result = self.poll(&mut code);
        match result {
            Some(_) => self.drop(code),
            None => self.code = code,
        }
        result
    }

    pub(super) fn turn(&mut self) -> Turn {
        self.replay.turn(TASK, &TREE)
    }

    /// A turn that keeps the task, as the runtime makes it.
    pub(super) fn keep(&mut self, ran: Option<(Seq, NewTask)>) -> Turn {
        let mut turn = self.turn();
        if let Some((seq, row)) = ran {
            turn.insert.push(row);
            turn.own.push(seq);
        }
        self.replay.fire_due(self.clock, &mut turn);
        turn
    }

    /// Runs the one requested call here.
    pub(super) fn run_here(&mut self, seq: Seq, result: TaskResult) -> Turn {
        let state = NewTaskState::Done { started_at: self.clock, result: result.clone() };
        let row = self.replay.write_call(TASK, &TREE, seq, state).expect("a wished call");
        self.replay.ended(seq, self.clock, result);
        self.keep(Some((seq, row)))
    }

    pub(super) fn build(&mut self, code: &Code) -> Node {
        match code {
            World(name) => Node::World(name),
            Chain(_) => Node::Lazy(code.clone()),
            All(codes) | Try(codes) | Race(codes) => {
                Node::Group(code.clone(), codes.iter().map(|code| Ok(self.build(code))).collect())
            }
            Handled(code) => Node::Handled(Box::new(self.build(code))),
            leaf => Node::Leaf(leaf.clone(), self.replay.reserve(), false),
        }
    }

    fn poll(&mut self, node: &mut Node) -> Option<TaskResult> {
        match node {
            Node::Lazy(Chain(codes)) => {
                let mut rest: VecDeque<Code> = std::mem::take(codes).into();
                let Some(first) = rest.pop_front() else { return Some(ok("")) };
                let first = self.build(&first);
                *node = Node::Chain(rest, Box::new(first), String::new());
                self.poll(node)
            }
            Node::Lazy(_) | Node::Over => unreachable!("polled after its end"),
            Node::World(name) => self.world.contains(name).then(|| ok(name)),
            Node::Leaf(code, seq, asked) => self.poll_leaf(code, *seq, asked),
            Node::Chain(rest, current, so_far) => loop {
                let result = self.poll(current)?;
                **current = Node::Over;
                so_far.push_str(&text(&result));
                match (result, rest.pop_front()) {
                    (Err(failure), _) => return Some(Err(failure)),
                    (Ok(_), None) => return Some(ok(so_far)),
                    (Ok(_), Some(next)) => **current = self.build(&next),
                }
                so_far.push('>');
            },
            Node::Group(how, nodes) => {
                for i in 0..nodes.len() {
                    let Ok(node) = &mut nodes[i] else { continue };
                    let Some(result) = self.poll(node) else { continue };
                    let decides = match how {
                        Race(_) => true,
                        Try(_) => result.is_err(),
                        _ => false,
                    };
                    nodes[i] = Err(result.clone());
                    if decides {
                        nodes.drain(..).filter_map(Result::ok).for_each(|node| self.drop(node));
                        let won = format!("{i}:{}", text(&result));
                        return Some(result.and_then(|_| ok(&won)));
                    }
                }
                let ended: Vec<&TaskResult> = nodes.iter().filter_map(|node| node.as_ref().err()).collect();
                if ended.len() < nodes.len() {
                    return None;
                }
                let failure = ended.iter().find(|result| result.is_err());
                Some(failure.map_or_else(
                    || ok(&ended.iter().map(|result| text(result)).collect::<Vec<_>>().join(",")),
                    |result| (*result).clone(),
                ))
            }
            Node::Handled(code) => {
                let result = self.poll(code)?;
                **code = Node::Over;
                Some(ok(&format!("({})", text(&result))))
            }
        }
    }

    fn poll_leaf(&mut self, code: &Code, seq: Seq, asked: &mut bool) -> Option<TaskResult> {
        if !std::mem::replace(asked, true) {
            let _ = self.ask(seq, ask_for(code));
        }
        match code {
            Detached(name) => return Some(ok(name)),
            Inline(name) if self.replay.must_run(seq) => self.replay.record(seq, self.clock, inline(name)),
            Slow(name) if self.replay.must_run(seq) && self.world.contains(name) => {
                self.replay.record(seq, self.clock, inline(name));
            }
            Code::Map(items) => self.feed(seq, *items),
            _ => {}
        }
        let (_, result) = self.replay.take(seq)?;
        self.saw.push((seq.0, text(&result), self.replay.now()));
        Some(result)
    }

    /// Like a map future: feeds a chunk if there is room.
    fn feed(&mut self, seq: Seq, items: u32) {
        let Some((map, room, progress)) = self.replay.map_room(seq) else { return };
        if progress.total.is_some() || room == 0 {
            return;
        }
        let end = items.min(progress.fed + u32::try_from(room).expect("a chunk"));
        let chunk = (progress.fed..end).map(|n| item(map, n)).collect();
        self.replay.feed(seq, chunk, end == items, None);
    }

    /// Asks for a step at this position.
    pub(super) fn ask(&mut self, seq: Seq, ask: Ask) -> Result<Asked, Mismatch> {
        let id = match self.ids {
            Some(from) => id(from + u128::from(seq.0)),
            None => TaskId::of_step(&self.replay.origin(TASK, seq, ask.kind(), &ask.name)),
        };
        self.asked.insert(seq, id);
        self.replay.ask(seq, id, self.clock, ask)
    }

    /// Drops code, as `select!` and the end of a function do.
    pub(super) fn drop(&mut self, node: Node) {
        match node {
            Node::Leaf(code, seq, true) if !matches!(code, Detached(_)) => self.replay.forget(seq),
            Node::Leaf(..) | Node::Lazy(_) | Node::World(_) | Node::Over => {}
            Node::Chain(_, code, _) | Node::Handled(code) => self.drop(*code),
            Node::Group(_, nodes) => {
                nodes.into_iter().filter_map(Result::ok).for_each(|node| self.drop(node));
            }
        }
    }
}

/// The request of a leaf.
pub(super) fn ask_for(code: &Code) -> Ask {
    let (name, what) = match code {
        Call(name) | Detached(name) => (*name, call(name, None)),
        Delayed(name, at) => (*name, call(name, Some(t(*at)))),
        Code::Sleep(until) => ("sleep", StepSpec::Sleep { due: t(*until) }),
        Inline(name) | Slow(name) => (*name, StepSpec::Inline),
        Code::Map(_) => ("item", StepSpec::Map),
        World(_) | Chain(_) | All(_) | Try(_) | Race(_) | Handled(_) => unreachable!("not a leaf"),
    };
    Ask { detached: matches!(code, Detached(_)), ..Ask::new(what, name, Location::caller()) }
}

fn call(name: &str, ready_at: Option<Timestamp>) -> StepSpec {
    let spec = CallSpec {
        lane: Lane::new("default", name),
        priority: 0,
        args: Payload::empty(),
        retry: None,
        ready_at,
        expires_at: None,
        trace: None,
        limited: false,
    };
    StepSpec::Call { spec: Box::new(spec), keyed: None }
}

pub(super) fn inline(name: &'static str) -> TaskResult {
    name.strip_prefix('!').map_or_else(|| ok(name), failed)
}

/// The state of a run before it must commit, park or wait.
#[derive(Debug, PartialEq)]
pub(super) struct Quiet {
    pub(super) delivered: Vec<u32>,
    pub(super) saw: Vec<(u32, String)>,
    pub(super) needs: Needs,
    pub(super) turn: Turn,
    pub(super) wait: Wait,
}

/// The one helper: runs code against a record until it is quiet.
pub(super) fn quiet(code: &Code, steps: Vec<Step>) -> Quiet {
    let (_, quiet) = quiet_run(code, steps);
    quiet
}

pub(super) fn quiet_run(code: &Code, steps: Vec<Step>) -> (Run, Quiet) {
    let done = steps.iter().filter_map(Step::order).max().unwrap_or(0);
    let mut run = Run::new(code, done, steps);
    let result = run.until_quiet();
    assert_eq!(result, None, "the code ended");
    let needs = run.replay.needs();
    let turn = run.turn();
    let saw = run.saw.iter().map(|(seq, text, _)| (*seq, text.clone())).collect();
    let quiet = Quiet { delivered: run.delivered.clone(), saw, needs, turn, wait: run.replay.wait() };
    (run, quiet)
}

/// Runs code against a record to its end.
pub(super) fn end(code: &Code, steps: Vec<Step>) -> (Turn, End) {
    let done = steps.iter().filter_map(Step::order).max().unwrap_or(0);
    let mut run = Run::new(code, done, steps);
    let result = run.until_quiet().expect("the code ends");
    (run.turn(), run.replay.end(result))
}

// Then: rows.

pub(super) fn row(seq: u32, kind: StepKind, lane: Lane, state: NewTaskState) -> NewTask {
    NewTask {
        id: new(seq),
        tree: Tree::step(TREE.execution, TASK),
        seq: Seq(seq),
        kind,
        lane,
        priority: 0,
        args: Payload::empty(),
        retry: None,
        attempts: 0,
        failure: None,
        keyed: None,
        expires_at: None,
        trace: None,
        digest: None,
        state,
    }
}

pub(super) fn pending(seq: u32, name: &str) -> NewTask {
    row(seq, StepKind::Call, Lane::new("default", name), NewTaskState::Pending { ready_at: t(0) })
}

pub(super) fn timer(seq: u32, due: i64) -> NewTask {
    row(seq, StepKind::Sleep, Lane::new("", "sleep"), NewTaskState::Timer { due: t(due) })
}

pub(super) fn ran(seq: u32, name: &str, result: TaskResult) -> NewTask {
    row(seq, StepKind::Inline, Lane::new("", name), NewTaskState::Done { started_at: t(0), result })
}

pub(super) fn item(map: TaskId, n: u32) -> NewTask {
    NewTask {
        id: id(1_000_000 + u128::from(n)),
        tree: Tree::item(TREE.execution, map, TASK),
        ..row(n, StepKind::Call, Lane::new("default", "item"), NewTaskState::Pending { ready_at: t(0) })
    }
}

pub(super) fn seqs(seqs: &[u32]) -> Vec<Seq> {
    seqs.iter().copied().map(Seq).collect()
}
