//! What is Postgres' own, beside the conformance suite: options, errors, budgets, plans, locks.

mod budget;
mod cancel;
mod close;
mod failure;
mod migrate;
mod open;
mod plans;
mod race;
#[path = "../schema/mod.rs"]
mod schema;
mod statements;
mod support;
mod wake;
