//! The command line as its users have it: the real program, on stores that the tests have filled.

mod acting;
mod fitting;
mod helping;
mod looking;
mod moving;
mod opening;
mod program;
mod servers;
mod shop;
mod watching;

#[path = "../../../stent-redis/tests/namespace/mod.rs"]
mod namespace;
#[path = "../../../stent-postgres/tests/schema/mod.rs"]
mod schema;
