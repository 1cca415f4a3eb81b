//! `stent_lane`: the lines in which tasks wait to be claimed.

use sea_orm::entity::prelude::*;

/// A line of tasks of one function on one queue, with the same tags.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stent_lane")]
pub struct Model {
    /// Drawn from queue, function and tags, the same in every process.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: i64,
    /// The queue.
    pub queue: String,
    /// The function.
    pub function: String,
    /// The tags, as a JSON array.
    pub tags: String,
}

/// A lane is referred to by `stent_task.lane`; no foreign key, which would cost every insert a look-up.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
