//! `stent export`: an execution's whole record as lines of JSON, in bounded memory.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use stent::{ExecutionId, Stent};

use super::find;
use crate::cli::Export;
use crate::fault::{FAILED, Fault, Result};
use crate::out::{Out, tell};
use crate::text::count;

pub(crate) async fn run(stent: &Stent, args: &Export, out: &mut Out) -> Result<()> {
    let id = find::execution(stent, &args.id).await?;
    let Some(path) = &args.file else {
        write(stent, id, out.bytes(), Fault::io).await?;
        return out.flush();
    };
    // An unknown execution leaves no file.
    stent.inspect().describe(id).await?;
    let failed = |error| Fault::new(FAILED, format!("cannot write {}: {error}", path.display()));
    let file = File::create_new(path).map_err(|error| {
        let fault = failed(error);
        if path.exists() {
            fault.hint("name a file that does not exist yet, or remove this one")
        } else if let Some(folder) =
            path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        {
            fault.hint(format!("create the directory first: mkdir -p {}", folder.display()))
        } else {
            fault
        }
    })?;
    let partial = Partial(Some(path));
    let mut file = BufWriter::new(file);
    let lines = write(stent, id, &mut file, failed).await?;
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed)?;
    partial.keep();
    tell(format!("wrote {} to {}", count(lines, "line"), path.display()));
    Ok(())
}

/// Writes a line for each part, and returns their number.
async fn write(
    stent: &Stent,
    id: ExecutionId,
    to: &mut impl Write,
    failed: impl Fn(std::io::Error) -> Fault,
) -> Result<usize> {
    let (mut export, mut lines) = (stent.inspect().export(id), 0);
    while let Some(part) = export.next().await? {
        let line = serde_json::to_string(&part).map_err(|error| failed(error.into()))?;
        writeln!(to, "{line}").map_err(&failed)?;
        lines += 1;
    }
    Ok(lines)
}

/// A file that is removed unless it is complete, also if the command is interrupted.
#[derive(Debug)]
struct Partial<'a>(Option<&'a PathBuf>);

impl Partial<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0.map(Path::new) {
            // Nothing more can be done about it, and the failure that led here is reported.
            let _ = fs::remove_file(path);
        }
    }
}
