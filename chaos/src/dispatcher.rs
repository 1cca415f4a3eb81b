//! The dispatcher process: an application that starts executions, sends signals, cancels and waits, and writes the answers to
//! its journal. After a kill, the next dispatcher resumes from the end of the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use stent::prelude::*;
use stent::{Error, ExecutionId};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::journal::{self, Answer, Journal, Told};
use crate::mutant::Mutant;
use crate::plan::{PULSES, Plan, WhenRefused};
use crate::programs::SIGNAL;
use crate::role::{self, READY, Role};

/// Open executions at a time, without pulses.
const OPEN_MAX: usize = 60;
/// How often a pulse is dispatched.
const PULSE: Duration = Duration::from_millis(250);
/// The pause before a refused request is sent again.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest wait before it is started again; far longer than any execution takes.
const WAIT: Duration = Duration::from_secs(20);

/// Dispatches until it is told to finish, and then waits for everything that it has started.
pub(crate) async fn dispatch(role: &Role, finishing: watch::Receiver<bool>) -> Result<()> {
    let folder = role::journal(&role.folder);
    let before = Before::read(&folder)?;
    let journal = Journal::open(&folder, role.life)?;
    let stent = role.connect().await;
    println!("{READY}");
    let clerk = Clerk { stent, journal, mutant: role.mutant };

    let open = Arc::new(Semaphore::new(OPEN_MAX));
    let mut cases = JoinSet::new();
    for (number, known) in before.open {
        cases.spawn(clerk.clone().see_to(Plan::of(role.backend, role.seed, number), Some(known)));
    }
    let pulses = tokio::spawn(pulse(clerk.clone(), role.clone(), before.next_pulse, finishing.clone()));
    let mut number = before.next;
    while !*finishing.borrow() {
        let plan = Plan::of(role.backend, role.seed, number);
        let pause = plan.pause;
        let mut finish = finishing.clone();
        let permit = tokio::select! {
            permit = open.clone().acquire_owned() => permit?,
            _ = finish.wait_for(|finish| *finish) => break,
        };
        let clerk = clerk.clone();
        cases.spawn(async move {
            clerk.see_to(plan, None).await;
            drop(permit);
        });
        number += 1;
        tokio::time::sleep(pause).await;
    }
    pulses.await?;
    while let Some(ended) = cases.join_next().await {
        ended?;
    }
    Ok(())
}

/// The entries that earlier lives of the dispatcher wrote.
struct Before {
    /// Executions that were started and whose end is not known yet.
    open: BTreeMap<u64, Known>,
    next: u64,
    next_pulse: u64,
}

/// The facts about an execution.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: ExecutionId,
    is_acknowledged: bool,
    is_signalled: bool,
    is_cancelled: bool,
}

impl Before {
    fn read(folder: &std::path::Path) -> Result<Self> {
        let mut before = Self { open: BTreeMap::new(), next: 0, next_pulse: PULSES };
        for entry in journal::read(folder)? {
            let next = if entry.number < PULSES { &mut before.next } else { &mut before.next_pulse };
            *next = (*next).max(entry.number + 1);
            if let Told::Intended(id) = entry.told {
                let known = Known { id, is_acknowledged: false, is_signalled: false, is_cancelled: false };
                before.open.insert(entry.number, known);
            }
            let Some(known) = before.open.get_mut(&entry.number) else { continue };
            match entry.told {
                Told::Acknowledged => known.is_acknowledged = true,
                Told::Signalled => known.is_signalled = true,
                Told::Cancelled(_) => known.is_cancelled = true,
                Told::Left | Told::Ended(_) => drop(before.open.remove(&entry.number)),
                Told::Intended(_) | Told::Refused { .. } => {}
            }
        }
        Ok(before)
    }
}

/// Dispatches pulses, one at a time, which show when the store answers again.
async fn pulse(clerk: Clerk, role: Role, first: u64, finishing: watch::Receiver<bool>) {
    let mut number = first;
    let mut waits = JoinSet::new();
    while !*finishing.borrow() {
        let plan = Plan::of(role.backend, role.seed, number);
        let id = new_id();
        clerk.journal.note(number, Told::Intended(id));
        if clerk.dispatch(&plan, id).await {
            let clerk = clerk.clone();
            waits.spawn(async move { clerk.wait(number, id).await });
        }
        number += 1;
        tokio::time::sleep(PULSE).await;
    }
    while waits.join_next().await.is_some() {}
}

#[derive(Clone, Debug)]
struct Clerk {
    stent: Stent,
    journal: Journal,
    mutant: Option<Mutant>,
}

impl Clerk {
    fn is(&self, mutant: Mutant, number: u64) -> bool {
        self.mutant == Some(mutant) && number % 8 == 3
    }

    /// Handles one execution, from before its dispatch to its end.
    async fn see_to(self, plan: Plan, known: Option<Known>) {
        let number = plan.number;
        let known = known.unwrap_or_else(|| {
            let known =
                Known { id: new_id(), is_acknowledged: false, is_signalled: false, is_cancelled: false };
            self.journal.note(number, Told::Intended(known.id));
            known
        });
        // An acknowledged execution is not dispatched again: that would hide its loss.
        if !known.is_acknowledged && !self.dispatch(&plan, known.id).await {
            return;
        }
        if let Some((after, value)) = plan.signal.filter(|_| !known.is_signalled) {
            tokio::time::sleep(after).await;
            if !self.is(Mutant::Mute, number) {
                let (stent, id) = (self.stent.clone(), known.id);
                let send = move || stent.send_signal(id, SIGNAL, &value).into_future();
                if self.insist(number, "signal", send).await.is_none() {
                    return;
                }
            }
            self.journal.note(number, Told::Signalled);
        }
        if let Some(after) = plan.cancel_after.filter(|_| !known.is_cancelled) {
            tokio::time::sleep(after).await;
            let (stent, id) = (self.stent.clone(), known.id);
            let cancel = move || stent.cancel(id).grace("2s").into_future();
            let status = if self.mutant == Some(Mutant::Deaf) {
                Some(stent::ExecutionStatus::Cancelling)
            } else {
                self.insist(number, "cancel", cancel).await
            };
            let Some(status) = status else { return };
            self.journal.note(number, Told::Cancelled(status));
        }
        self.wait(number, known.id).await;
    }

    /// Dispatches until the execution exists or is given up. Returns whether it exists.
    async fn dispatch(&self, plan: &Plan, id: ExecutionId) -> bool {
        if self.is(Mutant::Forget, plan.number) && plan.signal.is_none() && plan.cancel_after.is_none() {
            self.journal.note(plan.number, Told::Acknowledged);
            return false;
        }
        loop {
            match plan.dispatch(&self.stent, id).await {
                Ok(()) => {
                    self.journal.note(plan.number, Told::Acknowledged);
                    return true;
                }
                Err(error) => self.note_refusal(plan.number, "dispatch", &error),
            }
            if plan.when_refused == WhenRefused::Leave {
                self.journal.note(plan.number, Told::Left);
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Repeats the request until the answer is `Ok`; gives up on an execution that does not exist or has ended.
    async fn insist<T>(&self, number: u64, what: &str, ask: impl AsyncFn() -> Result<T, Error>) -> Option<T> {
        loop {
            match ask().await {
                Ok(answer) => return Some(answer),
                Err(error) => self.note_refusal(number, what, &error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn wait(&self, number: u64, id: ExecutionId) {
        let answer = loop {
            match self.stent.handle::<u64>(id).result().timeout(WAIT).await {
                Ok(value) => break Answer::Value(value),
                Err(Error::Failed(failure)) => break Answer::Failed(failure.kind.into()),
                Err(Error::Cancelled) => break Answer::Cancelled,
                Err(Error::TimedOut) => break Answer::TimedOut,
                Err(Error::WaitTimeout { .. }) => {}
                Err(error) => {
                    self.note_refusal(number, "wait", &error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        self.journal.note(number, Told::Ended(answer));
    }

    fn note_refusal(&self, number: u64, what: &str, error: &Error) {
        let refused =
            Told::Refused { what: what.into(), error: error.to_string(), passes: error.is_transient() };
        self.journal.note(number, refused);
    }
}

fn new_id() -> ExecutionId {
    ExecutionId::from_uuid(uuid::Uuid::now_v7())
}
