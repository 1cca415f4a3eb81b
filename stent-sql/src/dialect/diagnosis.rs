//! Findings that only the database can make about itself.

use std::fmt::Debug;

use async_trait::async_trait;
use sea_orm::DbErr;
use stent_core::backend::Finding;

use crate::Connections;
use crate::migration::{INDEXES, Index};

/// Examines a database that has the tables of Stent.
#[async_trait]
pub trait Diagnosis: Debug + Send + Sync + 'static {
    /// Checks settings, indexes and whatever else of this database can slow work down or lose it. Reads little, however large the
    /// store is, and changes nothing.
    async fn examine(&self, connections: &Connections) -> Result<Vec<Finding>, DbErr>;

    /// A query for the indexes of Stent's tables: the name of each, and whether it can be used.
    fn indexes(&self) -> String;

    /// A query for one of Stent's tables: no row if it does not exist. If it does, a text that says what the user lacks to read
    /// it, with the remedy; null if nothing.
    fn find_table(&self, table: &str) -> String;
}

/// Compares the indexes of the database, and whether each can be used, with those that Stent's statements need. `create` and
/// `repair` write the statements for one that is missing, and for one that cannot be used.
#[must_use]
pub fn judge_indexes(
    found: &[(String, bool)],
    create: impl Fn(&Index) -> String,
    repair: impl Fn(&Index) -> String,
) -> Finding {
    const CHECK: &str = "indexes";
    let state = |index: &Index| found.iter().find(|(name, _)| name == index.name).map(|(_, usable)| *usable);
    let lacking: Vec<_> = INDEXES.iter().filter(|index| state(index) != Some(true)).collect();
    if lacking.is_empty() {
        return Finding::ok(CHECK, format!("all {} are there", INDEXES.len()));
    }
    let names = lacking.iter().map(|index| index.name).collect::<Vec<_>>().join(", ");
    let missing = lacking.iter().filter(|index| state(index).is_none()).count();
    let what = if missing == lacking.len() { "missing" } else { "missing or not usable" };
    let statement = |index: &&Index| match state(index) {
        None => create(index),
        Some(_) => repair(index),
    };
    let statements = lacking.iter().map(statement).collect::<Vec<_>>().join("; ");
    let by_command = if missing > 0 {
        "`stent migrate` creates missing ones again, while writers wait; to do it yourself, one statement at a time: "
    } else {
        ""
    };
    let remedy = format!("each call that needs one reads whole tables: {by_command}{statements}");
    Finding::problem(CHECK, format!("{what}: {names}"), remedy)
}

#[cfg(test)]
mod tests {
    use stent_core::backend::Verdict;

    use super::*;

    #[test]
    fn an_index_that_is_missing_or_broken_is_named_with_the_statement_that_helps() {
        let judge = |found: &[(String, bool)]| {
            judge_indexes(
                found,
                |index| format!("CREATE {}", index.name),
                |index| format!("REINDEX {}", index.name),
            )
        };
        let mut found: Vec<_> = INDEXES.iter().map(|index| (index.name.to_owned(), true)).collect();
        found.push(("of_the_application".to_owned(), false));
        assert_eq!(judge(&found).verdict, Verdict::Ok);

        let (first, _) = found.remove(0);
        let missing = judge(&found);
        found[1].1 = false;
        let both = judge(&found);
        let third = INDEXES[2].name;

        assert_eq!((missing.verdict, missing.what), (Verdict::Problem, format!("missing: {first}")));
        assert!(
            missing.remedy.ends_with(&format!("to do it yourself, one statement at a time: CREATE {first}")),
            "{}",
            missing.remedy
        );
        assert_eq!(both.what, format!("missing or not usable: {first}, {third}"));
        assert!(both.remedy.ends_with(&format!(": CREATE {first}; REINDEX {third}")), "{}", both.remedy);
    }
}
