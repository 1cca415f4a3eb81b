//! `stent_rate`: how many tasks of limited functions started, and when.

use sea_orm::entity::prelude::*;

/// How many tasks of a function started in a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stent_rate")]
pub struct Model {
    /// Drawn from the function's name, the same in every process.
    #[sea_orm(primary_key, auto_increment = false)]
    pub function_key: i64,
    /// Where the stretch begins.
    #[sea_orm(primary_key, auto_increment = false)]
    pub bucket: i64,
    /// How many.
    pub used: i64,
}

/// Nothing refers to it.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
