//! Where answers go: stdout, as a table, as JSON, or as JSON lines. Knows the terminal, and nothing of the answers.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use serde_json::Value;

use crate::cli::Format;
use crate::fault::Result;
use crate::table::Table;

/// The output of one command. Errors and hints do not belong here; they go to stderr.
#[derive(Debug)]
pub(crate) struct Out {
    stdout: BufWriter<Stdout>,
    pub(crate) format: Format,
    /// The width of the terminal; `None` if the output is not for one, and so is never cut.
    pub(crate) width: Option<usize>,
    pub(crate) colour: bool,
    pub(crate) is_terminal: bool,
}

impl Out {
    pub(crate) fn new(format: Format) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            stdout: BufWriter::new(io::stdout()),
            format,
            width: width(is_terminal),
            // https://no-color.org: set to anything but the empty text.
            colour: is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            is_terminal,
        }
    }

    /// The width of the terminal again, for a command that draws more than once.
    pub(crate) fn measure(&mut self) {
        self.width = width(self.is_terminal);
    }

    /// The height of the terminal.
    pub(crate) fn height(&self) -> Option<usize> {
        if !self.is_terminal {
            return None;
        }
        terminal_size::terminal_size().map(|(_, height)| usize::from(height.0))
    }

    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> Result<()> {
        Ok(writeln!(self.stdout, "{}", line.as_ref())?)
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        Ok(self.stdout.write_all(text.as_bytes())?)
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<()> {
        let text = table.render(self.width, self.colour);
        self.text(&text)
    }

    /// One answer as JSON: over several lines for people, or in one line.
    pub(crate) fn json(&mut self, value: &Value) -> Result<()> {
        match self.format {
            Format::Jsonl => self.line(value.to_string()),
            Format::Json | Format::Table => self.line(format!("{value:#}")),
        }
    }

    /// Many answers: a table, one JSON array, or a line of JSON for each.
    pub(crate) fn list<T>(
        &mut self,
        items: &[T],
        json: impl Fn(&T) -> Value,
        table: impl FnOnce(&[T]) -> Table,
    ) -> Result<()> {
        match self.format {
            Format::Table => self.table(&table(items)),
            Format::Json => self.json(&Value::Array(items.iter().map(json).collect())),
            Format::Jsonl => items.iter().try_for_each(|item| self.line(json(item).to_string())),
        }
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        Ok(self.stdout.flush()?)
    }

    /// Bytes of a document, such as a manual page.
    pub(crate) fn bytes(&mut self) -> &mut impl Write {
        &mut self.stdout
    }
}

/// A line for the person at the terminal, which is not part of the answer.
pub(crate) fn tell(line: impl AsRef<str>) {
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{}", line.as_ref());
}

/// `COLUMNS` counts as given, also for a pipe; otherwise only a terminal has a width.
fn width(is_terminal: bool) -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    if let Some(columns) = columns.filter(|columns| *columns > 0) {
        return Some(columns);
    }
    if !is_terminal {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}
