//! Random operations, on the backend and on memory side by side.

use std::sync::Arc;

use crate::harness::Harness;
use crate::world::Trace;

pub(crate) fn seeds() -> u64 {
    0
}

pub(crate) async fn check(_harness: &Arc<dyn Harness>, _seed: u64, _trace: &Trace) -> Result<(), String> {
    Ok(())
}
