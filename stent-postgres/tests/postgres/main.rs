//! Tests of Postgres beside the conformance suite: options, errors, budgets, plans, locks. Tests that SQLite shares are in
//! `stent-sql/tests/shared`.

#[path = "../../../stent-sql/tests/shared/atomic.rs"]
mod atomic;
#[path = "../../../stent-sql/tests/shared/budget.rs"]
mod budget;
mod cancel;
#[path = "../../../stent-redis/tests/servers/certificates.rs"]
mod certificates;
mod close;
#[path = "../../../stent-sql/tests/shared/connection.rs"]
mod connection;
mod connections;
mod diagnosis;
mod failure;
#[path = "../../../stent-sql/tests/shared/lost.rs"]
mod lost;
#[path = "../../../stent-sql/tests/shared/marks.rs"]
mod marks;
#[path = "../../../stent-sql/tests/shared/migrate.rs"]
mod migrate;
mod open;
mod place;
mod plans;
#[path = "../../../stent-sql/tests/shared/purge.rs"]
mod purge;
#[path = "../../../stent-sql/tests/shared/race.rs"]
mod race;
#[path = "../schema/mod.rs"]
mod schema;
mod sessions;
mod slices;
mod statements;
#[path = "../../../stent-sql/tests/shared/support.rs"]
mod support;
mod tls;
mod wake;
