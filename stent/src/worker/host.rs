//! The environment that a worker gives its code. Knows neither turns nor the worker's loop.

use std::sync::Arc;

use stent_core::WorkerId;

use super::drop_queue::DropQueue;
use super::fleet::Fleet;
use crate::engine::Engine;
use crate::function::state::States;

/// The environment of a worker's code.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) engine: Arc<Engine>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) states: Arc<States>,
    pub(super) worker: WorkerId,
    /// Drops code that is not resumed.
    pub(super) drop_queue: Arc<DropQueue>,
}
