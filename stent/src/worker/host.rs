//! What a worker gives the code that it runs. Knows nothing of turns and of the worker's loop.

use std::sync::Arc;

use stent_core::WorkerId;

use super::drop_queue::DropQueue;
use super::fleet::Fleet;
use crate::engine::Engine;
use crate::function::state::States;

/// Where the code of a worker runs.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) engine: Arc<Engine>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) states: Arc<States>,
    pub(super) worker: WorkerId,
    /// Takes the code that is not resumed.
    pub(super) drop_queue: Arc<DropQueue>,
}
