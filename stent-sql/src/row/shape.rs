//! Rows of statements, declared as structs: a field is a column of the same name, and the field's type is the column's
//! type. Writers and readers of a row both use the order of the fields, so nothing is matched by position.

use stent_core::backend::Result;

use super::Reader;
use crate::batch::{Batch, Cell, Column, Kind};

/// A row of a statement.
pub(crate) trait Shape {
    /// Its columns, as combined at compile time.
    const ALL: &'static Columns;
    /// Its columns.
    const COLUMNS: &'static [Column] = Self::ALL.as_slice();
}

/// A row that a statement returns.
pub(crate) trait Read: Shape + Sized {
    /// Reads the next columns of a row.
    fn read(reader: &mut Reader) -> Result<Self>;
}

/// A row that a statement takes.
pub(crate) trait Write<'a>: Shape {
    /// Adds its cells to those of a batch.
    fn write(self, cells: &mut Vec<Cell<'a>>);
}

/// A batch of rows.
pub(crate) fn batch<'a, W: Write<'a>>(rows: impl IntoIterator<Item = W>) -> Batch<'a> {
    let rows = rows.into_iter();
    let mut batch = Batch::new(W::COLUMNS, rows.size_hint().0);
    rows.for_each(|row| batch.push_row(|cells| row.write(cells)));
    batch
}

/// Most columns of a row.
const COLUMNS_MAX: usize = 64;

/// Columns that are combined at compile time. Columns that do not fit do not compile.
#[derive(Debug)]
pub(crate) struct Columns {
    all: [Column; COLUMNS_MAX],
    len: usize,
}

impl Columns {
    pub(crate) const fn new() -> Self {
        Self { all: [Column::new("", Kind::Int); COLUMNS_MAX], len: 0 }
    }

    pub(crate) const fn with(mut self, column: Column) -> Self {
        assert!(find(self.as_slice(), column.name).is_none(), "two columns of a row have the same name");
        self.all[self.len] = column;
        self.len += 1;
        self
    }

    pub(crate) const fn with_all(mut self, columns: &[Column]) -> Self {
        let mut at = 0;
        while at < columns.len() {
            self = self.with(columns[at]);
            at += 1;
        }
        self
    }

    /// The same columns, if all of them are columns of the table with the same types.
    pub(crate) const fn of(self, table: &[Column]) -> Self {
        let mut at = 0;
        while at < self.len {
            let column = &self.all[at];
            let Some(known) = find(table, column.name) else { panic!("no such column in the table") };
            assert!(known.kind as u8 == column.kind as u8, "the column holds values of another kind");
            at += 1;
        }
        self
    }

    pub(crate) const fn as_slice(&self) -> &[Column] {
        self.all.split_at(self.len).0
    }
}

/// The column with a name.
pub(crate) const fn find<'a>(columns: &'a [Column], name: &str) -> Option<&'a Column> {
    let mut at = 0;
    while at < columns.len() {
        if is_same(columns[at].name, name) {
            return Some(&columns[at]);
        }
        at += 1;
    }
    None
}

pub(crate) const fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && begins_with(one, other)
}

pub(crate) const fn begins_with(text: &str, start: &str) -> bool {
    let (text, start) = (text.as_bytes(), start.as_bytes());
    let mut at = 0;
    while at < start.len() {
        if at == text.len() || text[at] != start[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Declares rows of statements.
///
/// ```text
/// read Held of task { id: TaskId, epoch: Epoch, }          a row that a statement returns
/// write Claim of task { ..held: Held, started_at: …, }     a row that a statement takes, with all columns of another
/// both OneId of task { id: Uuid, }                         either
/// ```
///
/// All columns of a row `of` a table are columns of the table, with the same types: anything else does not compile.
macro_rules! rows {
    () => {};
    ($(#[$doc:meta])* read $name:ident $(of $table:ident)? {
        $(..$part:ident: $part_type:ty,)* $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    } $($rest:tt)*) => {
        $crate::row::shape::rows!(@shape [$(#[$doc])*] [$name] [] [$($table)?] [$($part: $part_type,)*] [$($(#[$field_doc])* $field: $type,)*]);

        impl $crate::row::shape::Read for $name {
            fn read(reader: &mut $crate::row::Reader) -> stent_core::backend::Result<Self> {
                Ok(Self {
                    $($part: <$part_type as $crate::row::shape::Read>::read(reader)?,)*
                    $($field: reader.take(stringify!($field))?,)*
                })
            }
        }

        $crate::row::shape::rows!($($rest)*);
    };
    ($(#[$doc:meta])* both $name:ident $(of $table:ident)? { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* } $($rest:tt)*) => {
        $crate::row::shape::rows! {
            $(#[$doc])* read $name $(of $table)? { $($(#[$field_doc])* $field: $type,)* }
        }
        $crate::row::shape::rows!(@write [$name] [] [] [$($field)*]);
        $crate::row::shape::rows!($($rest)*);
    };
    ($(#[$doc:meta])* write $name:ident $(<$life:lifetime>)? $(of $table:ident)? {
        $(..$part:ident: $part_type:ty,)* $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    } $($rest:tt)*) => {
        $crate::row::shape::rows!(@shape [$(#[$doc])*] [$name $(<$life>)?] [$(<$life>)?] [$($table)?] [$($part: $part_type,)*] [$($(#[$field_doc])* $field: $type,)*]);
        $crate::row::shape::rows!(@write [$name $(<$life>)?] [$($life)?] [$($part)*] [$($field)*]);
        $crate::row::shape::rows!($($rest)*);
    };
    (@shape [$($doc:tt)*] [$($name:tt)+] [$($generics:tt)*] [$($table:ident)?] [$($part:ident: $part_type:ty,)*] [$($(#[$field_doc:meta])* $field:ident: $type:ty,)*]) => {
        $($doc)*
        #[derive(Clone, Debug)]
        pub(crate) struct $($name)+ {
            $(pub(crate) $part: $part_type,)*
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }

        impl $($generics)* $crate::row::shape::Shape for $($name)+ {
            const ALL: &'static $crate::row::shape::Columns = &$crate::row::shape::Columns::new()
                $(.with_all(<$part_type as $crate::row::shape::Shape>::COLUMNS))*
                $(.with($crate::row::shape::column::<$type>(stringify!($field))))*
                $(.of($table::COLUMNS))?;
        }
    };
    (@write [$($name:tt)+] [] [$($part:ident)*] [$($field:ident)*]) => {
        impl<'a> $crate::row::shape::Write<'a> for $($name)+ {
            fn write(self, cells: &mut Vec<$crate::batch::Cell<'a>>) {
                $($crate::row::shape::Write::write(self.$part, cells);)*
                $(cells.push($crate::row::cell::Encode::encode(self.$field));)*
            }
        }
    };
    (@write [$($name:tt)+] [$life:lifetime] [$($part:ident)*] [$($field:ident)*]) => {
        impl<$life> $crate::row::shape::Write<$life> for $($name)+ {
            fn write(self, cells: &mut Vec<$crate::batch::Cell<$life>>) {
                $($crate::row::shape::Write::write(self.$part, cells);)*
                $(cells.push($crate::row::cell::Encode::encode(self.$field));)*
            }
        }
    };
}
pub(crate) use rows;

/// A column that holds values of a type.
pub(crate) const fn column<T: super::cell::Field>(name: &'static str) -> Column {
    let column = Column::new(name, T::KIND);
    if T::NULLABLE { column.or_null() } else { column }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Reader;

    rows! {
        both One {
            id: i64,
            name: String,
        }

        read Two {
            ..one: One,
            at: Option<i64>,
        }
    }

    const TABLE: &[Column] = &[Column::new("id", Kind::Int), Column::new("name", Kind::Text).or_null()];

    #[test]
    fn columns_have_the_names_and_the_order_of_the_fields() {
        let columns: Vec<_> =
            Two::COLUMNS.iter().map(|Column { name, kind, nullable }| (*name, *kind, *nullable)).collect();

        assert_eq!(columns, [("id", Kind::Int, false), ("name", Kind::Text, false), ("at", Kind::Int, true)]);
    }

    #[test]
    fn what_is_written_is_read() {
        let batch = batch([One { id: 7, name: "charge".to_owned() }]);
        let cells: Vec<_> = batch.rows().flatten().cloned().chain([Cell::Int(9)]).collect();

        let Two { one, at } = Two::read(&mut Reader::new(Two::COLUMNS, cells.into_iter())).expect("reads");

        assert_eq!((one.id, one.name.as_str(), at), (7, "charge", Some(9)));
    }

    #[test]
    fn what_does_not_fit_a_type_is_told_by_the_name_of_its_column() {
        let cells = vec![Cell::Int(7), Cell::Int(8)];

        let error = One::read(&mut Reader::new(One::COLUMNS, cells.into_iter())).expect_err("is no text");

        assert!(error.to_string().contains("\"name\""), "{error}");
    }

    #[test]
    #[should_panic(expected = "another column is next")]
    fn rows_of_other_columns_are_not_read() {
        let cells = vec![Cell::Int(7), Cell::text("charge")];

        drop(One::read(&mut Reader::new(TABLE_OF_OTHERS, cells.into_iter())));
    }

    const TABLE_OF_OTHERS: &[Column] = &[Column::new("key", Kind::Int), Column::new("name", Kind::Text)];

    #[test]
    #[should_panic(expected = "no such column in the table")]
    fn a_row_of_a_table_has_no_other_columns() {
        let _ = Columns::new().with(Column::new("nmae", Kind::Text)).of(TABLE);
    }

    #[test]
    #[should_panic(expected = "values of another kind")]
    fn a_row_of_a_table_holds_what_the_table_holds() {
        let _ = Columns::new().with(Column::new("name", Kind::Int)).of(TABLE);
    }

    #[test]
    #[should_panic(expected = "the same name")]
    fn a_row_has_a_column_once() {
        let _ = Columns::new().with(Column::new("name", Kind::Text)).with(Column::new("name", Kind::Text));
    }
}
