//! The commands and their options, as clap reads them. `command` carries them out.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde_json::Value;
use stent::view::TaskStatus;
use stent::{ExecutionId, ExecutionStatus, TaskId, Timestamp};

use crate::value::{self, Prefix};

const EXAMPLES: &str = "\
Exit codes: 0 done; 1 failed, or a problem was found; 2 wrong use; 3 not found; 4 store unreachable.

Examples:
  stent --store sqlite://orders.db list --status failed
  STENT_STORE=postgres://app@db/shop stent stats
  stent show 0192f3c8-5d1e-7a40-8c31-000000000000 --payloads
  stent list --output jsonl | jq -r .id";

/// Shows, repairs and cleans the executions of a Stent store
#[derive(Debug, Parser)]
#[command(name = "stent", version, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The store: sqlite://orders.db, postgres://user@host/database, redis://host. A URL with a password is safer in
    /// the environment, because other users can see the arguments of a process
    #[arg(long, global = true, env = "STENT_STORE", hide_env_values = true, value_name = "URL")]
    #[arg(help_heading = "Global options")]
    pub(crate) store: Option<String>,

    /// The kind of store, if the URL has no scheme: --backend sqlite --store /var/lib/orders.db
    #[arg(long, global = true, value_enum, value_name = "KIND", help_heading = "Global options")]
    pub(crate) backend: Option<Backend>,

    /// The form of the answer: a table for people, one JSON document, or a line of JSON for each entry
    #[arg(long, short, global = true, value_enum, value_name = "FORM", default_value_t = Format::Table)]
    #[arg(help_heading = "Global options")]
    pub(crate) output: Format,
}

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
    Redis,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(List),
    Show(Show),
    Tasks(Tasks),
    Workers(Workers),
    Queues(Queues),
    Stats(Stats),
    Watch(Watch),
    Dispatch(Dispatch),
    Signal(Signal),
    Cancel(Cancel),
    Retry(Retry),
    Dlq(Dlq),
    Cleanup(Cleanup),
    Export(Export),
    Import(Import),
    Migrate(Migrate),
    Doctor(Doctor),
    Completions(Completions),
    Man(Man),
}

/// Which executions
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Select {
    /// Only executions with this status
    #[arg(long, short, value_parser = value::status(), value_name = "STATUS")]
    pub(crate) status: Option<ExecutionStatus>,

    /// Only executions of this function
    #[arg(long, short, value_name = "NAME")]
    pub(crate) function: Option<String>,

    /// Only executions on this queue
    #[arg(long, short, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,

    /// Only executions with this tag
    #[arg(long, short, value_name = "TAG")]
    pub(crate) tag: Option<String>,

    /// Only the execution of the function that was dispatched under this key
    #[arg(long, short, value_name = "KEY", requires = "function")]
    pub(crate) key: Option<String>,

    /// Only executions that were dispatched at this moment or later: 2026-11-30T20:00:00Z, or how long ago, like 2h
    #[arg(long, value_parser = value::past, value_name = "MOMENT")]
    pub(crate) since: Option<Timestamp>,

    /// Only executions that were dispatched before this moment
    #[arg(long, value_parser = value::past, value_name = "MOMENT")]
    pub(crate) until: Option<Timestamp>,
}

/// The part of a list: before an entry, after so many, at most so many
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Part {
    /// At most this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,

    /// Skips this many; they are read all the same, so prefer --before for pages far back
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) offset: usize,

    /// Only executions that were dispatched before this one
    #[arg(long, value_parser = value::execution, value_name = "ID")]
    pub(crate) before: Option<ExecutionId>,
}

/// Lists executions, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
The next page begins before the last id of this one: no execution is on both, and none is missed, however many start \
meanwhile.

Examples:
  stent list --status running --queue payments
  stent list --status failed --since 2h
  stent list --function report --key report-2026-11
  stent list --limit 100 --before 0192f3c8-5d1e-7a40-8c31-000000000000
  stent list --function checkout --status failed --output jsonl | jq -r .id")]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) select: Select,

    #[command(flatten)]
    pub(crate) part: Part,
}

/// Shows an execution: its state, what it waits for, its failure, and the tree of its tasks
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stent show 0192f3c8-5d1e-7a40-8c31-000000000000
  stent show 0192f3c8-5d1e --payloads
  stent show 0192f3c8-5d1e-7a40-8c31-000000000000 --timeline
  stent show 0192f3c8-5d1e-7a40-8c31-000000000000 --task 5f0c2a9e-8a31-5bc0-9d11-0a2b3c4d5e6f
  stent show 0192f3c8-5d1e-7a40-8c31-000000000000 --output json | jq .tasks")]
pub(crate) struct Show {
    /// The execution: its id, or the first characters of it, at least 8
    #[arg(value_parser = value::prefix, value_name = "ID")]
    pub(crate) id: Prefix,

    /// Also shows arguments and results
    #[arg(long)]
    pub(crate) payloads: bool,

    /// Draws when each task waited and ran
    #[arg(long)]
    pub(crate) timeline: bool,

    /// Also shows the items of maps, not only their number
    #[arg(long)]
    pub(crate) items: bool,

    /// Also shows the ids of tasks
    #[arg(long)]
    pub(crate) ids: bool,

    /// Shows one task of it instead, with each of its claims that ended badly
    #[arg(long, value_parser = value::task, value_name = "ID", conflicts_with_all = ["timeline", "items", "ids"])]
    pub(crate) task: Option<TaskId>,

    /// Shows at most this many tasks; items count only with --items
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10_000)]
    pub(crate) limit: usize,
}

/// Lists the tasks that workers run now, or the tasks of one execution
#[derive(Debug, Args)]
#[command(after_help = "\
A task whose lease is over belonged to a worker that is gone; another one will take it.

Examples:
  stent tasks
  stent tasks --execution 0192f3c8-5d1e-7a40-8c31-000000000000 --status failed")]
pub(crate) struct Tasks {
    /// All tasks of this execution, whatever their status, oldest first
    #[arg(long, value_parser = value::prefix, value_name = "ID")]
    pub(crate) execution: Option<Prefix>,

    /// Of the execution, only tasks with this status
    #[arg(long, short, value_parser = value::task_status(), value_name = "STATUS", requires = "execution")]
    pub(crate) status: Option<TaskStatus>,

    /// Only tasks of this function, or with this name
    #[arg(long, short, value_name = "NAME")]
    pub(crate) function: Option<String>,

    /// At most this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}

/// Lists the workers of all processes, as they describe themselves in the store
#[derive(Debug, Args)]
#[command(after_help = "\
A worker reports at least every 30 seconds. One that was not SEEN for two minutes, and has not stopped, is dead. SLOTS are \
turns: those that ran when it reported, of those that it can run. DRIFT is how far the store's clock is ahead of its host's.

Examples:
  stent workers
  stent workers --function charge --queue payments
  stent workers --state dead --output jsonl | jq -r .host")]
pub(crate) struct Workers {
    /// Also workers that have stopped, crashed or died
    #[arg(long, short)]
    pub(crate) all: bool,

    /// Only workers in this state
    #[arg(long, short, value_parser = value::worker_state(), value_name = "STATE", conflicts_with = "all")]
    pub(crate) state: Option<String>,

    /// Only workers that know this function
    #[arg(long, short, value_name = "NAME")]
    pub(crate) function: Option<String>,

    /// Only workers that take work from this queue
    #[arg(long, short, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,

    /// At most this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}

/// Shows the work that waits for a worker: by queue, function and tags
#[derive(Debug, Args)]
#[command(after_help = "\
DUE can start at once, and the oldest of it has waited for OLDEST. DELAYED is due later.

Examples:
  stent queues
  stent queues --queue payments --output json")]
pub(crate) struct Queues {
    /// Only this queue
    #[arg(long, short, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,

    /// Only work of this function
    #[arg(long, short, value_name = "NAME")]
    pub(crate) function: Option<String>,
}

/// Counts executions by status, dead letters, and waiting work
#[derive(Debug, Args)]
#[command(after_help = "\
The store counts; nothing is listed for it. It counts at most 1,000,000 open executions, and as many of each status in \
which executions end.

Examples:
  stent stats
  stent stats --output json | jq .executions.failed")]
pub(crate) struct Stats {}

/// Shows counts, running tasks and recent executions, again and again, until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = "\
Each reading is one counting query; the lists are read again when a count has changed, and at every fifth reading. The \
terminal is left as it was. Into a pipe or a file, each reading is printed below the one before.

Examples:
  stent watch
  stent watch --interval 500ms
  stent watch --count 10 --output jsonl")]
pub(crate) struct Watch {
    /// The pause between two readings
    #[arg(long, short, value_parser = value::interval, value_name = "DURATION", default_value = "2s")]
    pub(crate) interval: Duration,

    /// Ends after this many readings
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

/// Starts an execution of a function by its name
#[derive(Debug, Args)]
#[command(after_help = "\
Each JSON is one argument of the function. Texts need quotes: '\"eu\"'. A number that would change is refused. This program \
does not know the function: queue, priority, tags and retries of its attribute do not apply unless they are given here.

Examples:
  stent dispatch checkout '{\"number\": 7, \"cents\": 1999}' --queue orders
  stent dispatch report '\"2026-11\"' --key report-2026-11 --wait 10m
  stent dispatch cleanup_carts --delay 1h")]
pub(crate) struct Dispatch {
    /// The function's name in the store, with its version if it has one: charge@2
    #[arg(value_name = "FUNCTION")]
    pub(crate) function: String,

    /// The arguments, in order
    #[arg(value_parser = value::json, value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) args: Vec<Value>,

    /// Runs on this queue instead of `default`
    #[arg(long, short, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,

    /// Runs before work of lower priority
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: Option<i16>,

    /// Only workers with one of these tags, or without tags, run it; may be repeated
    #[arg(long, short, value_name = "TAG")]
    pub(crate) tag: Vec<String>,

    /// Starts after this long
    #[arg(long, value_parser = value::duration, value_name = "DURATION")]
    pub(crate) delay: Option<Duration>,

    /// Starts at this moment: 2026-11-30T20:00:00Z
    #[arg(long, value_parser = value::moment, value_name = "MOMENT", conflicts_with = "delay")]
    pub(crate) at: Option<Timestamp>,

    /// Starts at most one execution of the function under this key; again, it prints the id of the first
    #[arg(long, short, value_parser = value::key, value_name = "KEY")]
    pub(crate) key: Option<String>,

    /// Gives the execution this id; again, it starts nothing
    #[arg(long, value_parser = value::execution, value_name = "ID")]
    pub(crate) id: Option<ExecutionId>,

    /// Ends it as timed_out after this long
    #[arg(long, value_parser = value::duration, value_name = "DURATION")]
    pub(crate) max_duration: Option<Duration>,

    #[command(flatten)]
    pub(crate) policy: Policy,

    /// Waits for the end, at most this long, and prints the result; without a duration, however long it takes. A word
    /// after it is its duration, so JSON comes before it
    // With `require_equals`, `--wait 10` would start the function with the argument 10.
    #[arg(long, value_parser = value::patience, value_name = "DURATION", num_args = 0..=1)]
    #[arg(default_missing_value = "0s")]
    pub(crate) wait: Option<Duration>,
}

/// How failures of the function are retried from now on
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Policy {
    /// Tries the function at most this often
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,

    /// The delay before the first retry
    #[arg(long, value_parser = value::duration, value_name = "DURATION")]
    pub(crate) initial_delay: Option<Duration>,

    /// Multiplies each further delay
    #[arg(long, value_name = "FACTOR")]
    pub(crate) backoff_factor: Option<f64>,

    /// The longest delay
    #[arg(long, value_parser = value::duration, value_name = "DURATION")]
    pub(crate) max_delay: Option<Duration>,
}

/// Whether a filter acts on what it matches
#[derive(Clone, Debug, Args)]
pub(crate) struct Confirm {
    /// Acts on what the filter matches; without it, the matches are only shown
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Shows what would be done, and does nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}

/// Sends a value to an execution's current or next wait for a signal
#[derive(Debug, Args)]
#[command(override_usage = "\
stent signal [OPTIONS] <ID> <NAME> [VALUE]
       stent signal [OPTIONS] --function <NAME> --yes <NAME> [VALUE]")]
#[command(after_help = "\
VALUE is JSON, and null if it is left out. Texts need quotes, or --text with a VALUE. The latest value wins until it is consumed.

Examples:
  stent signal 0192f3c8-5d1e-7a40-8c31-000000000000 approval '{\"by\": \"kim\"}'
  stent signal 0192f3c8-5d1e-7a40-8c31-000000000000 note --text 'call back'
  stent signal --function checkout --status running --yes reload true")]
pub(crate) struct Signal {
    /// The execution, unless a filter chooses it; the signal's name; and its value
    #[arg(value_name = "ID|NAME|VALUE", required = true, num_args = 1..=3, allow_negative_numbers = true)]
    pub(crate) words: Vec<String>,

    /// Sends VALUE as a text, without reading it as JSON
    #[arg(long)]
    pub(crate) text: bool,

    #[command(flatten)]
    pub(crate) select: Select,

    #[command(flatten)]
    pub(crate) confirm: Confirm,

    /// A filter chooses at most this many; if more match, the exit code is 1
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) max: usize,
}

/// Cancels executions and everything below them
#[derive(Debug, Args)]
#[command(after_help = "\
Running code is told, and dropped when its grace is over. Without --status, a filter chooses pending and running \
executions.

Examples:
  stent cancel 0192f3c8-5d1e-7a40-8c31-000000000000
  stent cancel --function import --queue batch            # shows what it matches
  stent cancel --function import --queue batch --yes --no-grace")]
pub(crate) struct Cancel {
    /// The executions
    #[arg(value_parser = value::execution, value_name = "ID")]
    pub(crate) ids: Vec<ExecutionId>,

    #[command(flatten)]
    pub(crate) select: Select,

    #[command(flatten)]
    pub(crate) confirm: Confirm,

    /// A filter chooses at most this many; if more match, the exit code is 1
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) max: usize,

    /// How long running code may clean up; 0s is no limit
    #[arg(long, value_parser = value::duration, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: Duration,

    /// Does not wait for running code
    #[arg(long, conflicts_with = "grace")]
    pub(crate) no_grace: bool,
}

/// Which dead letters
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Dead {
    /// Only dead letters of this function
    #[arg(long, short, value_name = "NAME")]
    pub(crate) function: Option<String>,

    /// Only dead letters whose failure has this kind, as `stent dlq stats` shows it
    #[arg(long, short, value_name = "KIND")]
    pub(crate) reason: Option<String>,

    /// Only dead letters on this queue
    #[arg(long, short, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,

    /// Only dead letters with this tag
    #[arg(long, short, value_name = "TAG")]
    pub(crate) tag: Option<String>,
}

/// The dead letters to act on: by id, by filter, or all
#[derive(Debug, Args)]
pub(crate) struct Letters {
    /// The dead letters
    #[arg(value_parser = value::execution, value_name = "ID")]
    pub(crate) ids: Vec<ExecutionId>,

    #[command(flatten)]
    pub(crate) dead: Dead,

    /// All dead letters
    #[arg(long, conflicts_with_all = ["ids", "function", "reason", "queue", "tag"])]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) confirm: Confirm,

    /// A filter chooses at most this many; if more match, the exit code is 1
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) max: usize,
}

/// Retries dead letters from their failed steps
#[derive(Debug, Args)]
#[command(after_help = "\
Completed steps do not run again. Without a policy, the function keeps the one it has; without --to-queue, its queue.

Examples:
  stent retry 0192f3c8-5d1e-7a40-8c31-000000000000
  stent retry --function charge --reason shop::Declined          # shows what it matches
  stent retry --all --yes --max-attempts 10
  stent retry --queue batch --to-queue urgent --yes              # moves what it retries")]
pub(crate) struct Retry {
    #[command(flatten)]
    pub(crate) letters: Letters,

    /// Runs them on this queue from now on; their steps keep the queues of their functions and calls
    #[arg(long, value_parser = value::queue, value_name = "QUEUE")]
    pub(crate) to_queue: Option<String>,

    #[command(flatten)]
    pub(crate) policy: Policy,
}

/// Lists, shows, retries and discards dead letters: executions that failed for good
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stent dlq stats
  stent dlq list --function charge
  stent dlq show 0192f3c8-5d1e-7a40-8c31-000000000000
  stent dlq retry --reason shop::Declined --yes")]
pub(crate) struct Dlq {
    #[command(subcommand)]
    pub(crate) command: DlqCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    List(DlqList),
    Show(DlqShow),
    Retry(Retry),
    Discard(Discard),
    Stats(DlqStats),
}

/// Lists dead letters, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stent dlq list
  stent dlq list --reason stent::CrashLoop
  stent dlq list --limit 100 --before 0192f3c8-5d1e-7a40-8c31-000000000000")]
pub(crate) struct DlqList {
    #[command(flatten)]
    pub(crate) dead: Dead,

    #[command(flatten)]
    pub(crate) part: Part,
}

/// Shows a dead letter: its failure, its arguments, and the history of its claims
#[derive(Debug, Args)]
#[command(after_help = "\
`stent show` shows its tasks.

Examples:
  stent dlq show 0192f3c8-5d1e-7a40-8c31-000000000000")]
pub(crate) struct DlqShow {
    /// The dead letter: its id, or the first characters of it, at least 8
    #[arg(value_parser = value::prefix, value_name = "ID")]
    pub(crate) id: Prefix,
}

/// Discards dead letters: they stay failed, and cannot be retried any more
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stent dlq discard 0192f3c8-5d1e-7a40-8c31-000000000000
  stent dlq discard --function import --yes")]
pub(crate) struct Discard {
    #[command(flatten)]
    pub(crate) letters: Letters,
}

/// Counts dead letters by reason and function
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stent dlq stats
  stent dlq stats --output json")]
pub(crate) struct DlqStats {}

/// Deletes ended executions and dead letters that are old enough
#[derive(Debug, Args)]
#[command(after_help = "\
Without a choice, executions and dead letters are deleted. Open executions are never touched. --dry-run counts at most \
10,000 of each.

Examples:
  stent cleanup --older-than 30d --dry-run
  stent cleanup --older-than 30d --yes
  stent cleanup --older-than 7d --details --yes")]
pub(crate) struct Cleanup {
    /// Deletes what ended longer ago than this
    #[arg(long, value_parser = value::age, value_name = "DURATION", default_value = "30d")]
    pub(crate) older_than: Duration,

    /// Ended executions, except dead letters
    #[arg(long)]
    pub(crate) executions: bool,

    /// Dead letters, counted from their failure
    #[arg(long)]
    pub(crate) dead_letters: bool,

    /// Steps, history and progress of ended executions, which themselves stay
    #[arg(long)]
    pub(crate) details: bool,

    /// Results that answer repeated calls
    #[arg(long)]
    pub(crate) results: bool,

    #[command(flatten)]
    pub(crate) confirm: Confirm,
}

/// Writes an execution's whole record as lines of JSON
#[derive(Debug, Args)]
#[command(after_help = "\
The record has the execution, its tasks with arguments and results, the claims that ended badly, and its notes. Payloads are \
their stored bytes. If the execution is still running, the lines are not of one moment.

Examples:
  stent export 0192f3c8-5d1e-7a40-8c31-000000000000 > execution.jsonl
  stent export 0192f3c8-5d1e-7a40-8c31-000000000000 --file execution.jsonl
  stent export 0192f3c8-5d1e-7a40-8c31-000000000000 | jq 'select(.task.task.status == \"failed\").task.task'")]
pub(crate) struct Export {
    /// The execution: its id, or the first characters of it, at least 8
    #[arg(value_parser = value::prefix, value_name = "ID")]
    pub(crate) id: Prefix,

    /// Writes to this file, which must not exist yet. A failure leaves no file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Writes an execution that `stent export` has read from another store
#[derive(Debug, Args)]
#[command(after_help = "\
All of it is written, or nothing. An open execution runs on in this store, and completed steps do not run again; the other \
store is not changed. At most 10,000 tasks and 64 MiB.

Examples:
  stent import execution.jsonl --dry-run
  stent import execution.jsonl --queue debugging
  stent export 0192f3c8-5d1e-7a40-8c31-000000000000 --store postgres://prod/shop | stent import --store sqlite://shop.db")]
pub(crate) struct Import {
    /// The export; `-` or nothing is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Moves the execution and its open calls to this queue, so that workers of other queues leave them alone; calls that its code
    /// makes later run on their own queues
    #[arg(long, short, value_parser = value::queue, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,

    /// Checks everything and says what would be written, and writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Creates the store's tables, or brings them up to date
#[derive(Debug, Args)]
#[command(after_help = "\
The only command that creates a store. Programs do the same when they connect, unless they are told not to.

Examples:
  stent migrate --dry-run
  stent --store sqlite://orders.db migrate")]
pub(crate) struct Migrate {
    /// Says what would be done, and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Checks the store, its clock, and whether work is stuck
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 if all is well, also with warnings; 1 if there is a problem; 4 if the store cannot be reached.

Examples:
  stent doctor
  stent doctor --patience 15m --output json")]
pub(crate) struct Doctor {
    /// Work that is due for longer than this is a problem
    #[arg(long, value_parser = value::duration, value_name = "DURATION", default_value = "5m")]
    pub(crate) patience: Duration,

    /// Warnings are problems, too
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Prints completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stent completions bash > /etc/bash_completion.d/stent
  stent completions zsh > ~/.zfunc/_stent
  stent completions fish > ~/.config/fish/completions/stent.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Prints the manual page, or writes one for each command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stent man | man -l -
  stent man --dir /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Writes stent.1, stent-list.1 and so on to this directory instead
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
