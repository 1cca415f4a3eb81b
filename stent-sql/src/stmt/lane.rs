//! Writes and reads lanes.

use sea_orm::sea_query::{OnConflict, Query};

use super::{Built, Sql, names};
use crate::entity::lane::{Column, Entity};
use crate::row::columns::{LANE_NAME, ONE_LANE};

/// A lane that is there already is written over with its own key, so that what is stored comes back: another lane under
/// the same key must be an error and never a mix-up.
pub(super) fn insert(sql: Sql<'_>) -> Built {
    let mut insert = Query::insert();
    insert.into_table(Entity).columns(names(&LANE_NAME));
    insert.select_from(sql.upserted(&LANE_NAME)).expect("as many columns as values");
    insert.on_conflict(OnConflict::column(Column::Key).update_column(Column::Key).to_owned());
    insert.returning(Query::returning().columns(names(&LANE_NAME)));
    Built::read(&LANE_NAME, insert)
}

/// The lanes that are stored under keys.
pub(super) fn read(sql: Sql<'_>) -> Built {
    let among = sql.in_batch_of(Column::Key, &ONE_LANE);
    Built::read(&LANE_NAME, Query::select().columns(names(&LANE_NAME)).from(Entity).and_where(among).take())
}
