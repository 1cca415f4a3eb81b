//! What is SQLite's own, beside the conformance suite: options, errors, budgets, plans, locks.

mod batches;
mod bounds;
mod budget;
mod cancel;
mod close;
mod lanes;
mod migrate;
mod open;
mod payloads;
mod plans;
mod race;
mod statements;
mod support;
mod wake;
