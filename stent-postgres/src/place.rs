//! The schema of Stent's tables, and how statements name the tables in it.

use std::sync::{Arc, OnceLock};

use stent_core::backend::Topic;

/// The prefix of Stent's tables and views.
const PREFIX: &str = "\"stent_";

/// The schema once it is known: the options name it, or the database reports the first schema of the user's
/// `search_path`.
#[derive(Debug)]
pub(crate) struct Place {
    schema: OnceLock<String>,
    is_asked_for: bool,
}

impl Place {
    pub(crate) fn new(schema: Option<String>) -> Arc<Self> {
        let place = Self { schema: OnceLock::new(), is_asked_for: schema.is_some() };
        if let Some(schema) = schema {
            place.settle(schema);
        }
        Arc::new(place)
    }

    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.get().map(String::as_str)
    }

    /// Sets the schema, unless it is set already.
    pub(crate) fn settle(&self, schema: String) {
        let _ = self.schema.set(schema);
    }

    /// The schema as a quoted identifier.
    pub(crate) fn quoted(&self) -> Option<String> {
        self.schema().map(|schema| format!("\"{}\"", schema.replace('"', "\"\"")))
    }

    /// As [`quoted`](Self::quoted), but only if the options name the schema.
    pub(crate) fn asked_for(&self) -> Option<String> {
        self.quoted().filter(|_| self.is_asked_for)
    }

    /// Qualifies each of Stent's tables in a statement with the schema.
    ///
    /// A name counts as a table if it is neither the table of a column (`"stent_task"."id"`) nor an alias (`AS
    /// "stent_task"`). The statement builders do not know the schema, because it is only known once there is a
    /// connection.
    pub(crate) fn name_in(&self, text: &str) -> String {
        let Some(schema) = self.quoted() else { return text.to_owned() };
        let mut named = String::with_capacity(text.len() + text.len() / 8);
        let mut rest = text;
        while let Some(start) = rest.find(PREFIX) {
            let (before, name) = rest.split_at(start);
            let end = name[1..].find('"').map_or(name.len(), |length| length + 2);
            let is_column = name[end..].starts_with('.');
            let is_alias = before.ends_with("AS ");
            let is_named = before.ends_with('.');
            named.push_str(before);
            if !is_column && !is_alias && !is_named {
                named.push_str(&schema);
                named.push('.');
            }
            named.push_str(&name[..end]);
            rest = &name[end..];
        }
        named.push_str(rest);
        named
    }

    /// The name of a topic's channel, as an SQL expression. It is derived from the schema, so that the stores of one
    /// database do not hear each other.
    pub(crate) fn channel(&self, topic: Topic) -> String {
        let topic = match topic {
            Topic::Work => "work",
            Topic::Ended => "ended",
        };
        let schema = self.schema().map_or_else(
            || "current_schema()".to_owned(),
            |schema| format!("'{}'", schema.replace('\'', "\'\'")),
        );
        format!("'stent_{topic}_' || md5({schema})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_their_schema_and_columns_and_aliases_are_not() {
        let place = Place::new(Some("orders".to_owned()));
        let text = "WITH \"a\" AS (SELECT 1) UPDATE \"stent_task\" SET \"x\" = \"stent_task\".\"y\" FROM (SELECT \"head\".* FROM \
                    \"stent_task\" AS \"head\") AS \"stent_task\", \"stent_lane\" WHERE \"stent_lane\".\"key\" = 1";
        let named = "WITH \"a\" AS (SELECT 1) UPDATE \"orders\".\"stent_task\" SET \"x\" = \"stent_task\".\"y\" FROM (SELECT \
                     \"head\".* FROM \"orders\".\"stent_task\" AS \"head\") AS \"stent_task\", \"orders\".\"stent_lane\" WHERE \
                     \"stent_lane\".\"key\" = 1";
        assert_eq!(place.name_in(text), named);
        assert_eq!(place.name_in(named), named, "they are named once");
    }

    #[test]
    fn a_schema_that_the_database_tells_may_have_any_name() {
        let place = Place::new(None);
        assert_eq!(place.name_in("SELECT 1 FROM \"stent_task\""), "SELECT 1 FROM \"stent_task\"");
        assert_eq!(place.channel(Topic::Work), "'stent_work_' || md5(current_schema())");

        place.settle("o'brien \"x\"".to_owned());

        assert_eq!(
            place.name_in("SELECT 1 FROM \"stent_task\""),
            "SELECT 1 FROM \"o'brien \"\"x\"\"\".\"stent_task\""
        );
        assert_eq!(place.channel(Topic::Ended), "'stent_ended_' || md5('o''brien \"x\"')");
    }
}
