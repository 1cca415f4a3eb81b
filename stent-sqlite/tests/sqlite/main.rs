//! Tests of SQLite beside the conformance suite: options, errors, budgets, plans, locks. Tests that Postgres shares are in
//! `stent-sql/tests/shared`.

#[path = "../../../stent-sql/tests/shared/atomic.rs"]
mod atomic;
mod batches;
mod bounds;
#[path = "../../../stent-sql/tests/shared/budget.rs"]
mod budget;
mod cancel;
mod close;
#[path = "../../../stent-sql/tests/shared/connection.rs"]
mod connection;
mod connections;
mod diagnosis;
mod files;
mod lanes;
#[path = "../../../stent-sql/tests/shared/lost.rs"]
mod lost;
#[path = "../../../stent-sql/tests/shared/marks.rs"]
mod marks;
#[path = "../../../stent-sql/tests/shared/migrate.rs"]
mod migrate;
mod open;
mod payloads;
mod place;
mod plans;
#[path = "../../../stent-sql/tests/shared/purge.rs"]
mod purge;
#[path = "../../../stent-sql/tests/shared/race.rs"]
mod race;
mod statements;
#[path = "../../../stent-sql/tests/shared/support.rs"]
mod support;
mod wake;
