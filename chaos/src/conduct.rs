//! A run: starts the store and the processes, plays the faults, waits until everything has ended, and collects the evidence.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use stent::prelude::*;
use stent::view::{Filter, Mark, TaskView};
use stent::{Error, ExecutionId, TaskId};

use crate::faults::{Backend, Fault, Planned, Target, WORKERS};
use crate::journal::{self, Answer, Told};
use crate::judge::{Case, Evidence, Life, Spell, Task, Violation};
use crate::ledger::{self, Place};
use crate::moment::Moment;
use crate::mutant::Mutant;
use crate::observer;
use crate::process::Process;
use crate::role::{self, Order, Part, Role};
use crate::stall;
use crate::store::{LOCKED_MAX, Store};

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) backend: Backend,
    pub(crate) seed: u64,
    pub(crate) lease: Duration,
    pub(crate) takes: Duration,
    /// How long everything may take to end after the last fault.
    pub(crate) rest: Duration,
    pub(crate) faults: Vec<Planned>,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) folder: PathBuf,
}

/// The evidence of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) began: Moment,
    pub(crate) evidence: Evidence,
    /// Violations that the conductor saw in processes.
    pub(crate) violations: Vec<Violation>,
}

/// How long a process may take to become ready at the start, without faults.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a draining process may take to end: its grace, a lease, and a margin for a busy machine.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How often the conductor looks at the processes.
const WATCH: Duration = Duration::from_millis(100);

/// Plays a run. Dropping the future ends every process that it has started.
pub(crate) async fn conduct(settings: &Settings) -> Result<Outcome> {
    for folder in [role::ledger, role::journal, role::stalls].map(|of| of(&settings.folder)) {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::create_dir_all(settings.folder.join("said"))?;
    let store = Store::start(settings.backend, &settings.folder).await?;
    let stage = Stage::set(settings, &store)?;
    tokio::time::timeout(START_MAX, stage.ready()).await.context("the processes are not ready in time")?;
    let (watching, seen) = observer::watch(Stent::connect(&store.url).await?);

    let began = Moment::now();
    let play = async {
        try_join_all(settings.faults.iter().map(|planned| stage.play(began, *planned))).await?;
        tokio::time::sleep(settings.takes.saturating_sub(Moment::now().since(began))).await;
        stage.rest(settings.rest).await?;
        anyhow::Ok(())
    };
    tokio::select! {
        played = play => played?,
        watched = stage.watch() => watched?,
    }
    watching.abort();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Stage { spells, lives, violations, .. } = stage;
    let mut evidence = Evidence {
        seed: settings.seed,
        backend: settings.backend,
        lease: settings.lease,
        ahead: Moment::time_of_day_ahead(),
        lines: ledger::read(&role::ledger(&settings.folder))?,
        journal: journal::read(&role::journal(&settings.folder))?,
        spells: spells.into_inner(),
        stalls: stall::read(&role::stalls(&settings.folder))?,
        lives: lives.into_inner(),
        seen,
        cases: BTreeMap::new(),
        rows: BTreeMap::new(),
    };
    evidence.spells.sort_by_key(|spell| spell.from);
    // A separate handle, which has no state of the run.
    let stent = Stent::connect(&store.url).await?;
    evidence.cases = cases(&stent, &evidence).await?;
    stent.close().await?;
    for place in store.rows().await? {
        *evidence.rows.entry(Place::root(place)).or_default() += 1;
    }
    Ok(Outcome { began, evidence, violations: violations.into_inner() })
}

/// The processes of a run, and the faults that were played on them.
struct Stage<'a> {
    settings: &'a Settings,
    store: &'a Store,
    /// The workers, and the dispatcher last. Empty while one is being replaced.
    processes: Vec<RefCell<Option<Process>>>,
    next_life: Cell<u64>,
    lives: RefCell<Vec<Life>>,
    spells: RefCell<Vec<Spell>>,
    violations: RefCell<Vec<Violation>>,
    /// The size limit of files, while the disk is full.
    disk: Cell<Option<u64>>,
    /// Whether the dispatcher may end.
    is_resting: Cell<bool>,
    /// Whether the workers may end.
    is_over: Cell<bool>,
}

impl<'a> Stage<'a> {
    fn set(settings: &'a Settings, store: &'a Store) -> Result<Self> {
        let stage = Self {
            settings,
            store,
            processes: (0..=WORKERS).map(|_| RefCell::new(None)).collect(),
            next_life: Cell::new(1),
            lives: RefCell::default(),
            spells: RefCell::default(),
            violations: RefCell::default(),
            disk: Cell::new(None),
            is_resting: Cell::new(false),
            is_over: Cell::new(false),
        };
        for target in (0..WORKERS).map(Target::Worker).chain([Target::Dispatcher]) {
            stage.start(target)?;
        }
        Ok(stage)
    }

    fn slot(&self, target: Target) -> &RefCell<Option<Process>> {
        match target {
            Target::Worker(number) => &self.processes[number],
            Target::Dispatcher => &self.processes[WORKERS],
        }
    }

    /// Starts the process of a target, in a new life.
    fn start(&self, target: Target) -> Result<()> {
        let life = self.next_life.replace(self.next_life.get() + 1);
        let role = Role {
            part: match target {
                Target::Worker(_) => Part::Worker,
                Target::Dispatcher => Part::Dispatcher,
            },
            life,
            seed: self.settings.seed,
            backend: self.settings.backend,
            url: self.store.url.clone(),
            folder: self.settings.folder.clone(),
            lease: self.settings.lease,
            mutant: self.settings.mutant,
        };
        let name = target.to_string().replace(' ', "-");
        let said = self.settings.folder.join("said").join(format!("life{life:04}-{name}"));
        let mut process = Process::start(&role, &said)?;
        if let Some(bytes) = self.disk.get() {
            process.tell(Order::DiskFull { bytes })?;
        }
        if self.is_resting.get() && target == Target::Dispatcher {
            process.tell(Order::Finish)?;
        }
        self.lives.borrow_mut().push(Life { life, target, from: Moment::now(), to: None });
        *self.slot(target).borrow_mut() = Some(process);
        Ok(())
    }

    async fn ready(&self) {
        for slot in &self.processes {
            let Some(mut process) = slot.take() else { continue };
            process.ready().await;
            *slot.borrow_mut() = Some(process);
        }
    }

    fn life_of(&self, target: Target) -> Option<u64> {
        self.slot(target).borrow().as_ref().map(|process| process.life)
    }

    fn ended(&self, life: u64) {
        let mut lives = self.lives.borrow_mut();
        if let Some(life) = lives.iter_mut().find(|known| known.life == life) {
            life.to = Some(Moment::now());
        }
    }

    fn violated(&self, rule: &'static str, about: impl ToString, what: impl Into<String>) {
        self.violations.borrow_mut().push(Violation::new(rule, about, what));
    }

    /// Plays one fault when it is due.
    async fn play(&self, began: Moment, planned: Planned) -> Result<()> {
        tokio::time::sleep(planned.at.saturating_sub(Moment::now().since(began))).await;
        let fault = planned.fault;
        let (mut from, mut life, mut executions) = (Moment::now(), None, Vec::new());
        match fault {
            Fault::Kill(target) => {
                life = self.life_of(target);
                self.kill(target)?;
            }
            Fault::Pause(target, duration) => {
                life = self.life_of(target);
                self.signal(target, Process::pause)?;
                tokio::time::sleep(duration).await;
                self.signal(target, Process::resume)?;
            }
            Fault::Drain(target) => {
                life = self.life_of(target);
                self.drain(target).await?;
            }
            Fault::Restart(duration) => self.store.restart(duration).await?,
            Fault::Terminate => self.store.terminate().await?,
            Fault::ReadOnly(duration) => self.store.be_read_only(duration).await?,
            Fault::Freeze(duration) => self.store.freeze(duration).await?,
            Fault::FillMemory(duration) => self.store.fill_memory(duration).await?,
            Fault::LockRows(duration) => (from, executions) = self.store.lock_rows(duration).await?,
            Fault::LockFile(duration) => match self.store.lock_file(duration).await? {
                Some(began) => from = began,
                None => self.violated(
                    "locked",
                    "the store",
                    format!("its write lock was not available from {from} on, for {LOCKED_MAX:?}"),
                ),
            },
            Fault::FillDisk(duration, bytes) => {
                self.disk.set(Some(bytes));
                self.tell_all(Order::DiskFull { bytes })?;
                tokio::time::sleep(duration).await;
                self.disk.set(None);
                self.tell_all(Order::DiskFree)?;
            }
        }
        self.spells.borrow_mut().push(Spell { fault, from, to: Moment::now(), life, executions });
        Ok(())
    }

    fn kill(&self, target: Target) -> Result<()> {
        let Some(mut process) = self.slot(target).take() else { return Ok(()) };
        process.kill()?;
        self.ended(process.life);
        self.start(target)
    }

    fn signal(&self, target: Target, send: impl Fn(&Process) -> Result<()>) -> Result<()> {
        self.slot(target).borrow().as_ref().map_or(Ok(()), send)
    }

    async fn drain(&self, target: Target) -> Result<()> {
        let Some(mut process) = self.slot(target).take() else { return Ok(()) };
        if !process.drain(DRAIN_MAX).await? {
            self.violated(
                "drain",
                format!("{target}, life {}", process.life),
                format!("it was asked to drain, and did not end within {DRAIN_MAX:?}"),
            );
            process.kill()?;
        }
        self.ended(process.life);
        self.start(target)
    }

    fn tell_all(&self, order: Order) -> Result<()> {
        for process in self
            .processes
            .iter()
            .filter_map(|slot| slot.borrow_mut().as_mut().map(|process| process.tell(order)))
        {
            process?;
        }
        Ok(())
    }

    /// Checks that no process ends by itself, and restarts those that do.
    async fn watch(&self) -> Result<()> {
        loop {
            tokio::time::sleep(WATCH).await;
            for target in (0..WORKERS).map(Target::Worker).chain([Target::Dispatcher]) {
                let is_expected = match target {
                    Target::Worker(_) => self.is_over.get(),
                    Target::Dispatcher => self.is_resting.get(),
                };
                let status = match self.slot(target).borrow_mut().as_mut() {
                    Some(process) if !is_expected => process.ended()?.map(|status| (process.life, status)),
                    _ => None,
                };
                let Some((life, status)) = status else { continue };
                self.violated(
                    "died",
                    format!("{target}, life {life}"),
                    format!("it ended by itself: {status}"),
                );
                self.ended(life);
                self.start(target)?;
            }
        }
    }

    /// Lets everything end: first the executions, then the workers.
    async fn rest(&self, patience: Duration) -> Result<()> {
        self.is_resting.set(true);
        let Some(mut dispatcher) = self.slot(Target::Dispatcher).take() else { return Ok(()) };
        // If the dispatcher died at this moment, the judge sees the executions that it left open.
        let _ = dispatcher.tell(Order::Finish);
        if !dispatcher.wait(patience).await? {
            dispatcher.kill()?;
        }
        self.ended(dispatcher.life);
        self.is_over.set(true);
        for target in (0..WORKERS).map(Target::Worker) {
            let Some(mut process) = self.slot(target).take() else { continue };
            if !process.drain(DRAIN_MAX).await? {
                self.violated(
                    "drain",
                    format!("{target}, life {}", process.life),
                    format!("it was asked to drain at the end, and did not end within {DRAIN_MAX:?}"),
                );
                process.kill()?;
            }
            self.ended(process.life);
        }
        Ok(())
    }
}

/// Every execution of the store, with its tasks.
async fn cases(stent: &Stent, evidence: &Evidence) -> Result<BTreeMap<ExecutionId, Case>> {
    /// Executions of one read.
    const PAGE: usize = 500;
    let mut roots = BTreeMap::<ExecutionId, Place>::new();
    for entry in &evidence.journal {
        if let Told::Intended(id) = entry.told {
            roots.insert(id, Place::root(entry.number));
        }
    }
    for line in &evidence.lines {
        roots.entry(line.execution).or_insert_with(|| line.place.of_root());
    }
    let (mut cases, mut before) = (BTreeMap::new(), None);
    loop {
        let page = stent.inspect().list(&Filter::default(), before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(cases) };
        before = Some(last.id);
        for view in page {
            let root = roots.get(&view.id).cloned().unwrap_or_else(|| Place::root(view.id));
            let tasks = stent.inspect().timeline(view.id).await?;
            let by_id: BTreeMap<TaskId, &TaskView> = tasks.iter().map(|task| (task.id, task)).collect();
            let tasks = tasks.iter().map(|task| Task {
                id: task.id,
                place: place(&root, &by_id, task),
                kind: task.kind,
                name: task.name.clone(),
                status: task.status,
                is_hit: task.marks.contains(Mark::Hit),
                started_at: task.started_at,
            });
            let answer = if view.status.is_terminal() { Some(answer(stent, view.id).await?) } else { None };
            let case = Case { function: view.function, status: view.status, answer, tasks: tasks.collect() };
            cases.insert(view.id, case);
        }
    }
}

async fn answer(stent: &Stent, id: ExecutionId) -> Result<Answer> {
    Ok(match stent.result_of(id).await {
        Ok(Some(payload)) => Answer::Value(payload.decode()?),
        Ok(None) => Answer::Failed("it has not ended".into()),
        Err(Error::Failed(failure)) => Answer::Failed(failure.kind.into()),
        Err(Error::Cancelled) => Answer::Cancelled,
        Err(Error::TimedOut) => Answer::TimedOut,
        Err(error) => return Err(error.into()),
    })
}

fn place(root: &Place, tasks: &BTreeMap<TaskId, &TaskView>, task: &TaskView) -> Place {
    match task.parent.and_then(|parent| tasks.get(&parent)) {
        Some(parent) => place(root, tasks, parent).at(task.seq),
        None => root.clone(),
    }
}

/// Lines in which a process reports a panic: a worker has to survive every fault.
pub(crate) fn panics(folder: &Path) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for entry in std::fs::read_dir(folder.join("said"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for line in String::from_utf8_lossy(&std::fs::read(&path)?).lines() {
            if line.contains("panicked at") {
                violations.push(Violation::new("panic", &name, line));
            }
        }
    }
    Ok(violations)
}
