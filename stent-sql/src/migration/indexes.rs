//! The indexes of the present schema as they are now, whichever migration created them: to find those that are missing, and to
//! create them again. Primary keys are not among them, because no table can lose its own.

/// An index that Stent's statements find their rows by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    table: &'static str,
    /// Its columns and its condition.
    rest: &'static str,
}

impl Index {
    /// The statement that creates it, on a table in this schema: a quoted name, or `None` for the connection's own. `how` stands
    /// before its name, such as `CONCURRENTLY`.
    #[must_use]
    pub fn create(&self, how: &str, schema: Option<&str>) -> String {
        let Self { name, table, rest } = self;
        let space = if how.is_empty() { "" } else { " " };
        let schema = schema.map_or_else(String::new, |schema| format!("{schema}."));
        format!("CREATE INDEX{space}{how} \"{name}\" ON {schema}\"{table}\" {rest}")
    }
}

const fn index(name: &'static str, table: &'static str, rest: &'static str) -> Index {
    Index { name, table, rest }
}

const TASK: &str = "stent_task";
const KEYS: &str = "stent_keys";

/// The indexes, by name. The migrations say what each is for.
pub const INDEXES: [Index; 20] = [
    index("stent_ended_claims_execution", "stent_ended_claims", "(\"execution_id\")"),
    index("stent_keys_ended", KEYS, "(\"ended_at\") WHERE kind = 'result' AND ended_at IS NOT NULL"),
    index("stent_keys_execution", KEYS, "(\"execution_id\")"),
    index("stent_keys_expiry", KEYS, "(\"expires_at\") WHERE kind = 'result' AND expires_at IS NOT NULL"),
    index("stent_progress_execution", "stent_progress", "(\"execution_id\", \"id\")"),
    index(
        "stent_task_dead",
        TASK,
        "(\"status\", \"ended_at\", \"id\") WHERE parent_id IS NULL AND status = 'failed' AND mark IS NULL",
    ),
    index(
        "stent_task_ended",
        TASK,
        "(\"compacted\", \"ended_at\", \"id\") \
         WHERE parent_id IS NULL AND ended_at IS NOT NULL AND (status <> 'failed' OR mark IS NOT NULL)",
    ),
    index("stent_task_execution", TASK, "(\"execution_id\", \"id\") WHERE parent_id IS NOT NULL"),
    index(
        "stent_task_expiry",
        TASK,
        "(\"expires_at\", \"id\") WHERE expires_at IS NOT NULL AND ended_at IS NULL",
    ),
    index("stent_task_key", TASK, "(\"key\") WHERE key IS NOT NULL AND ended_at IS NULL"),
    index("stent_task_limit", TASK, "(\"limit_key\", \"ready_at\") WHERE limit_key IS NOT NULL"),
    index("stent_task_live", TASK, "(\"id\") WHERE parent_id IS NULL AND ended_at IS NULL"),
    index("stent_task_open", TASK, "(\"parent_id\") WHERE lane IS NULL AND ended_at IS NULL"),
    index(
        "stent_task_past",
        TASK,
        "(\"status\", \"id\", \"mark\", \"parent_id\", \"ended_at\") WHERE parent_id IS NULL AND ended_at IS NOT NULL",
    ),
    index(
        "stent_task_ready",
        TASK,
        "(\"lane\", \"priority\" DESC, \"ready_at\", \"id\", \"status\", \"mark\", \"expires_at\") \
         WHERE lane IS NOT NULL AND ready_at IS NOT NULL",
    ),
    index(
        "stent_task_reason",
        TASK,
        "(\"status\", \"reason\", \"name\", \"parent_id\", \"mark\") \
         WHERE parent_id IS NULL AND status = 'failed' AND mark IS NULL",
    ),
    index("stent_task_step", TASK, "(\"parent_id\", \"done_order\", \"seq\") WHERE parent_id IS NOT NULL"),
    index(
        "stent_task_stopped_by",
        TASK,
        "(\"worker_id\") WHERE substr(mark, 1, 6) = 'cancel' AND worker_id IS NOT NULL",
    ),
    index(
        "stent_task_stopping",
        TASK,
        "(\"execution_id\", \"id\") WHERE substr(mark, 1, 6) = 'cancel' AND ended_at IS NULL",
    ),
    index("stent_worker_seen", "stent_worker", "(\"seen_at\", \"id\")"),
];
