//! Findings that only the database can make about itself.

use std::fmt::Debug;

use async_trait::async_trait;
use sea_orm::DbErr;
use stent_core::backend::Finding;

use crate::Connections;
use crate::migration::INDEXES;

/// Examines a database that has the tables of Stent.
#[async_trait]
pub trait Diagnosis: Debug + Send + Sync + 'static {
    /// Checks settings, indexes and whatever else of this database can slow work down or lose it. Reads little, however large the
    /// store is, and changes nothing.
    async fn examine(&self, connections: &Connections) -> Result<Vec<Finding>, DbErr>;
}

/// Compares the indexes of the database, and whether each can be used, with those that Stent's statements need.
#[must_use]
pub fn judge_indexes(found: &[(String, bool)]) -> Finding {
    const CHECK: &str = "indexes";
    let is_usable = |index: &&str| found.iter().any(|(name, usable)| name.as_str() == *index && *usable);
    let (usable, lacking): (Vec<&str>, Vec<&str>) = INDEXES.iter().copied().partition(is_usable);
    if lacking.is_empty() {
        return Finding::ok(CHECK, format!("all {} are there", usable.len()));
    }
    let broken =
        lacking.iter().filter(|index| found.iter().any(|(name, _)| name.as_str() == **index)).count();
    let what = match broken {
        0 => format!("missing: {}", lacking.join(", ")),
        _ => format!("missing or not usable: {}", lacking.join(", ")),
    };
    let remedy = "each call that needs one reads whole tables: create them as in a new store, whose schema has their definitions";
    Finding::problem(CHECK, what, remedy)
}

#[cfg(test)]
mod tests {
    use stent_core::backend::Verdict;

    use super::*;

    #[test]
    fn an_index_that_is_missing_or_broken_is_named() {
        let mut found: Vec<_> = INDEXES.iter().map(|index| ((*index).to_owned(), true)).collect();
        found.push(("of_the_application".to_owned(), false));
        assert_eq!(judge_indexes(&found).verdict, Verdict::Ok);

        let (first, _) = found.remove(0);
        found[1].1 = false;
        let judged = judge_indexes(&found);
        assert_eq!(judged.verdict, Verdict::Problem);
        assert_eq!(judged.what, format!("missing or not usable: {first}, {}", INDEXES[2]));
    }
}
