//! `stent_progress`: entries of the progress of executions.

use sea_orm::entity::prelude::*;

/// An entry of progress.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stent_progress")]
pub struct Model {
    /// Version 7, so it sorts by age.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The execution.
    pub execution_id: Uuid,
    /// The task whose code has made it.
    pub task_id: Uuid,
    /// When it was committed.
    pub at: i64,
    /// What it says.
    pub text: String,
}

/// An entry refers to an execution; no foreign key, which would cost every insert a look-up.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
