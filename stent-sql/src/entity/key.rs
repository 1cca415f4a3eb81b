//! `stent_keys`: what is kept under keys: signals, results that answer other calls, dispatches.

use sea_orm::entity::prelude::*;

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stent_keys")]
pub struct Model {
    /// The key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: Uuid,
    /// `signal`, `result` or `dispatch`.
    pub kind: String,
    /// Of a signal the execution that it is sent to, of others the holder's.
    pub execution_id: Uuid,
    /// The signal's name; for others the function's.
    pub name: String,
    /// The task whose result it is or will be.
    pub holder_id: Option<Uuid>,
    /// How long a result is good for, in microseconds.
    pub ttl: Option<i64>,
    /// When the value came.
    pub ended_at: Option<i64>,
    /// When the value is no good any more.
    pub expires_at: Option<i64>,
    /// Ids of the last sends of a signal, as a JSON array.
    pub sends: Option<String>,
    /// Content type of `value`; null where there is no value.
    pub value_type: Option<String>,
    /// The encoded value.
    pub value: Option<Vec<u8>>,
}

/// A key entry refers to an execution and a task; no foreign keys, which would cost every insert a look-up.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
