//! Prefetched tasks: claimed before a slot is free. They start when slots become free, oldest claim first; a task that
//! waits too long is released, so that another worker can run it.

use std::collections::VecDeque;
use std::time::Duration;

use stent_core::decide::Held;
use stent_core::model::Lease;
use stent_core::{TaskId, Timestamp};

use super::activation::Activation;
use super::report::Subject;

/// A claimed task whose code is ready to run.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) held: Held,
    pub(super) lease: Lease,
    pub(super) activation: Activation,
    pub(super) subject: Subject,
    pub(super) expires_at: Option<Timestamp>,
}

/// Tasks that wait for a slot, in the order of their claims.
#[derive(Debug, Default)]
pub(super) struct Prefetched {
    waiting: VecDeque<(Timestamp, Ready)>,
}

impl Prefetched {
    pub(super) fn push(&mut self, now: Timestamp, ready: Ready) {
        self.waiting.push_back((now, ready));
    }

    /// The next task to start.
    pub(super) fn next(&mut self) -> Option<Ready> {
        self.waiting.pop_front().map(|(_, ready)| ready)
    }

    /// Takes a task that has waited longer than `patience`.
    pub(super) fn overdue(&mut self, now: Timestamp, patience: Duration) -> Option<Ready> {
        self.waiting.pop_front_if(|(since, _)| now >= *since + patience).map(|(_, ready)| ready)
    }

    /// When the oldest task will have waited that long.
    pub(super) fn overdue_at(&self, patience: Duration) -> Option<Timestamp> {
        self.waiting.front().map(|(since, _)| *since + patience)
    }

    pub(super) fn get(&self, task: TaskId) -> Option<&Ready> {
        self.waiting.iter().map(|(_, ready)| ready).find(|ready| ready.lease.task == task)
    }

    pub(super) fn remove(&mut self, task: TaskId) -> Option<Ready> {
        let at = self.waiting.iter().position(|(_, ready)| ready.lease.task == task)?;
        self.waiting.remove(at).map(|(_, ready)| ready)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
