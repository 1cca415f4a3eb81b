//! `stent import`: an execution from another store, as `stent export` wrote it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _};

use serde_json::{Value, json};
use stent::view::ExportRecord;
use stent::{Imported, Stent};

use crate::cli::{Format, Import};
use crate::fault::{FAILED, Fault, Result};
use crate::out::Out;
use crate::text::count;

/// The longest line. The largest part of an export is a task whose arguments and result have the largest size, with each byte as a
/// number in JSON.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where the lines come from.
pub(crate) struct Source {
    name: String,
    lines: Box<dyn BufRead>,
}

impl Source {
    pub(crate) fn open(args: &Import) -> Result<Self> {
        let Some(path) = args.file.as_ref().filter(|path| path.as_os_str() != "-") else {
            if io::stdin().is_terminal() {
                return Err(Fault::usage("no export is given")
                    .hint("name a file, or pipe `stent export ID` into this"));
            }
            return Ok(Self { name: "stdin".to_owned(), lines: Box::new(io::stdin().lock()) });
        };
        let name = path.display().to_string();
        let file =
            File::open(path).map_err(|error| Fault::new(FAILED, format!("cannot read {name}: {error}")))?;
        Ok(Self { name, lines: Box::new(BufReader::new(file)) })
    }

    /// The next line; `None` at the end.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        let Self { name, lines } = self;
        let failed = |error| Fault::new(FAILED, format!("cannot read {name}: {error}"));
        line.clear();
        lines.take(LINE_BYTES_MAX).read_until(b'\n', line).map_err(failed)?;
        Ok(!line.is_empty())
    }
}

pub(crate) async fn run(stent: &Stent, args: &Import, mut source: Source, out: &mut Out) -> Result<()> {
    let mut import = stent.import();
    let (mut line, mut number, mut format) = (Vec::new(), 0_u64, None::<String>);
    while source.next(&mut line)? {
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let part = decode(&line, number, &source.name, format.as_deref())?;
        if let ExportRecord::Format { writer, .. } = &part {
            format = Some(writer.clone());
        }
        import.add(part)?;
    }
    if let Some(queue) = &args.queue {
        import = import.queue(queue);
    }
    let imported = if args.dry_run { import.check().await? } else { import.write().await? };
    report(out, &imported, args.dry_run)
}

/// A line as a part of an export.
fn decode(line: &[u8], number: u64, name: &str, writer: Option<&str>) -> Result<ExportRecord> {
    serde_json::from_slice(line).map_err(|error| {
        let is_json = serde_json::from_slice::<Value>(line).is_ok();
        let kind = if is_json { "part of an export" } else { "JSON" };
        let fault = Fault::new(FAILED, format!("line {number} of {name} is not {kind}: {error}"));
        match (is_json, writer) {
            // The last line of a file that was cut off ends in the middle.
            (false, _) if error.is_eof() => fault.hint("the file is cut off: export the execution again"),
            (false, _) => fault.hint("import the output of `stent export` as it is"),
            (true, Some(writer)) => {
                fault.hint(format!("stent {writer} wrote it; import it with that version or a later one"))
            }
            (true, None) => fault.hint("import the whole output of one `stent export`"),
        }
    })
}

fn report(out: &mut Out, imported: &Imported, dry_run: bool) -> Result<()> {
    let Imported { execution, function, tasks, open, queues, bytes, .. } = imported;
    match out.format {
        Format::Table => {
            let verb = if dry_run { "would import" } else { "imported" };
            let tasks = count(*tasks, "task");
            let queues: Vec<_> = queues.iter().map(String::as_str).collect();
            let rest = match open {
                0 => String::new(),
                open => format!("; {open} of them open, on {}", queues.join(", ")),
            };
            out.line(format!("{verb} {execution} ({function}) with {tasks}{rest}"))
        }
        Format::Json | Format::Jsonl => out.json(&json!({
            "id": execution, "function": function, "tasks": tasks, "open": open, "queues": queues, "bytes": bytes,
            "dry_run": dry_run,
        })),
    }
}
