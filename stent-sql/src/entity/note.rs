//! `stent_note`: what the code of an execution has said of it, and what is left of its steps.

use sea_orm::entity::prelude::*;

/// A note.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stent_note")]
pub struct Model {
    /// The execution.
    #[sea_orm(primary_key, auto_increment = false)]
    pub execution_id: Uuid,
    /// `counter`, `state` or `summary`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    /// The counter's or the state's name; of a summary, kind, name and status of the steps, with slashes between.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The count, for all but states.
    pub count: Option<i64>,
    /// Content type of `value`.
    pub value_type: Option<String>,
    /// The encoded value of a state.
    pub value: Option<Vec<u8>>,
}

/// A note refers to an execution; no foreign key, which would cost every insert a look-up.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
