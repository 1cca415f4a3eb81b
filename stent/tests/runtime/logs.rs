//! Captured log events, with the fields of their spans.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// One event, with its own fields and those of the spans that it is in.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Line {
    pub(crate) fn message(&self) -> &str {
        self.field("message")
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// All matching events so far. Tests of one process share a log: search by ids, or by names that only one test uses.
pub(crate) fn lines(fits: impl Fn(&Line) -> bool) -> Vec<Line> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|line| fits(line)).cloned().collect()
}

/// Captures log events.
#[derive(Debug)]
pub(crate) struct Collector;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        fields.panic_where_a_test_wants_it();
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(around) = span.extensions().get::<Fields>() {
                fields.0.extend(around.0.clone());
            }
        }
        event.record(&mut fields);
        let line = Line {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            fields: fields.0,
        };
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    /// Layers are code of the application and may panic anywhere: see `destroying`.
    fn panic_where_a_test_wants_it(&self) {
        static PANICKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let field = |name| self.0.get(name).map_or("", String::as_str);
        let panics = match field("function") {
            // The span of the task itself, which the worker's loop opens, and not that of the dispatch.
            "destroying.ends_the_loop" => self.0.contains_key("worker"),
            "destroying.cannot_be_traced" => {
                let execution = field("execution").to_owned();
                PANICKED.lock().unwrap_or_else(PoisonError::into_inner).insert(execution)
            }
            _ => false,
        };
        assert!(!panics, "this layer cannot show {}", field("function"));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.0.insert(field.name(), text);
    }
}
