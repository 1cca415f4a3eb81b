//! Helper code of the examples. The examples themselves are beside this folder, one file each, to be read from top to bottom.

pub mod meter;
pub mod path;
pub mod report;
pub mod runs;
pub mod sha256;
pub mod timeline;
pub mod walk;

/// The pages of the guide, so that the doc tests compile and run their code. The library contains nothing of them.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../docs/guide/cancellation.md")]
    mod cancellation {}
    #[doc = include_str!("../../docs/guide/child-executions.md")]
    mod child_executions {}
    #[doc = include_str!("../../docs/guide/dead-letters.md")]
    mod dead_letters {}
    #[doc = include_str!("../../docs/guide/execution.md")]
    mod execution {}
    #[doc = include_str!("../../docs/guide/failures.md")]
    mod failures {}
    #[doc = include_str!("../../docs/guide/functions.md")]
    mod functions {}
    #[doc = include_str!("../../docs/guide/inspect.md")]
    mod inspect {}
    #[doc = include_str!("../../docs/guide/observability.md")]
    mod observability {}
    #[doc = include_str!("../../docs/guide/sqlite.md")]
    mod sqlite {}
    #[doc = include_str!("../../docs/guide/testing.md")]
    mod testing {}
    #[doc = include_str!("../../docs/guide/idempotency.md")]
    mod idempotency {}
    #[doc = include_str!("../../docs/guide/limits.md")]
    mod limits {}
    #[doc = include_str!("../../docs/guide/maps.md")]
    mod maps {}
    #[cfg(feature = "postgres")]
    #[doc = include_str!("../../docs/guide/postgres.md")]
    mod postgres {}
    #[cfg(all(feature = "postgres", feature = "redis"))]
    #[doc = include_str!("../../docs/guide/redis.md")]
    mod redis {}
    #[doc = include_str!("../../docs/guide/signals.md")]
    mod signals {}
    #[doc = include_str!("../../docs/guide/time.md")]
    mod time {}
    #[doc = include_str!("../../docs/guide/transactions.md")]
    mod transactions {}
    #[doc = include_str!("../../docs/guide/waiting.md")]
    mod waiting {}
    #[doc = include_str!("../../docs/guide/workers.md")]
    mod workers {}
    #[doc = include_str!("../../docs/guide/concepts.md")]
    mod concepts {}
    #[doc = include_str!("../../docs/guide/determinism.md")]
    mod determinism {}
    #[doc = include_str!("../../docs/guide/deploying.md")]
    mod deploying {}
    #[doc = include_str!("../../docs/guide/errors.md")]
    mod errors {}
    #[doc = include_str!("../../docs/guide/performance.md")]
    mod performance {}
    #[doc = include_str!("../../docs/guide/quickstart.md")]
    mod quickstart {}
    #[doc = include_str!("../../docs/guide/recipes.md")]
    mod recipes {}
    #[doc = include_str!("../../docs/guide/sqlite-in-production.md")]
    mod sqlite_in_production {}
    #[doc = include_str!("../../docs/guide/steps.md")]
    mod steps {}
    #[doc = include_str!("../../docs/guide/troubleshooting.md")]
    mod troubleshooting {}
}
