//! Real servers in every state that a store may meet: refused, lost, restarted, full, paused, behind TLS.
//!
//! Each test starts private servers with the program in `STENT_REDIS_SERVER`, Redis or Valkey, or else with `redis-server`. Without
//! such a program these tests fail. If `STENT_REDIS_URL` is set, one test uses that server too.

mod between;
mod budgets;
mod certificates;
mod cluster;
mod costs;
mod diagnosis;
mod durability;
mod foreign;
mod hints;
mod journal;
mod login;
mod loss;
mod lost;
mod once;
mod outage;
mod races;
#[expect(dead_code, reason = "chaos needs more of it")]
mod server;
mod silent;
mod support;
mod work;
