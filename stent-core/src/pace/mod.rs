//! The worker's loop as data: when to claim, when to renew, when to stop.

mod pump;

pub use pump::{Action, Pump, PumpConfig};
