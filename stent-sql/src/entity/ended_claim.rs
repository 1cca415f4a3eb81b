//! `stent_ended_claims`: claims that ended badly.

use sea_orm::entity::prelude::*;

/// A claim that ended badly.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stent_ended_claims")]
pub struct Model {
    /// The task.
    #[sea_orm(primary_key, auto_increment = false)]
    pub task_id: Uuid,
    /// The claim; zero for an attempt that was made before the task was written.
    #[sea_orm(primary_key, auto_increment = false)]
    pub epoch: i64,
    /// When it ended.
    #[sea_orm(primary_key, auto_increment = false)]
    pub at: i64,
    /// The execution that the task belongs to.
    pub execution_id: Uuid,
    /// Whose claim it was.
    pub worker_id: Option<Uuid>,
    /// `failed`, `crashed` or `released`.
    pub how: String,
    /// What the code failed with, as JSON; the user's own data of it is in `data`.
    pub failure: Option<String>,
    /// Content type of `data`.
    pub data_type: Option<String>,
    /// The data of the failure.
    pub data: Option<Vec<u8>>,
}

/// An ended claim refers to a task; no foreign key, which would cost every insert a look-up.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
