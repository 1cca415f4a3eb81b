//! `stent completions` and `stent man`: pages that are made from the tree of commands.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use clap::CommandFactory as _;
use clap_mangen::Man as Page;

use crate::cli::{Cli, Completions, Man};
use crate::fault::{FAILED, Fault, Result};
use crate::out::Out;

pub(crate) fn completions(args: &Completions, out: &mut Out) -> Result<()> {
    // Into memory: the generator panics if it cannot write, as into a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stent", &mut script);
    Ok(out.bytes().write_all(&script)?)
}

pub(crate) fn man(args: &Man, out: &mut Out) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &args.dir else { return Ok(Page::new(command).render(out.bytes())?) };
    let mut names = Vec::new();
    for command in tree(command) {
        let page = Page::new(command);
        let name = page.get_filename();
        let write = || {
            let mut file = BufWriter::new(File::create(dir.join(&name))?);
            page.render(&mut file)?;
            file.flush()
        };
        write().map_err(|error| {
            Fault::new(FAILED, format!("cannot write {}: {error}", dir.join(&name).display()))
        })?;
        names.push(name);
    }
    names.iter().try_for_each(|name| out.line(dir.join(name).display().to_string()))
}

/// A command and all commands below it.
fn tree(command: clap::Command) -> Vec<clap::Command> {
    // `help` has nothing to say of itself.
    let is_own = |below: &&clap::Command| !below.is_hide_set() && below.get_name() != "help";
    let below: Vec<_> = command.get_subcommands().filter(is_own).cloned().collect();
    std::iter::once(command).chain(below.into_iter().flat_map(tree)).collect()
}
