//! The commands: each reads or writes through a `Stent`, and prints the answer.

mod act;
mod cancel;
mod cleanup;
mod dispatch;
mod dlq;
mod doctor;
mod export;
mod find;
mod import;
mod list;
mod migrate;
mod pages;
mod paging;
mod queues;
mod show;
mod signal;
mod stats;
mod tasks;
mod timeline;
mod tree;
mod watch;
mod workers;

use crate::cli::{Cli, Command, DlqCommand};
use crate::fault::Result;
use crate::out::Out;
use crate::store;

pub(crate) async fn run(cli: Cli, out: &mut Out) -> Result<()> {
    let Cli { global, command } = cli;
    match command {
        Command::Completions(args) => pages::completions(&args, out),
        Command::Man(args) => pages::man(&args, out),
        Command::Migrate(args) => migrate::run(&global, &args, out).await,
        Command::Doctor(args) => doctor::run(&global, &args, out).await,
        Command::List(args) => {
            paging::check_period(&args.select)?;
            store::look(&global, async |stent| list::run(stent, &args, out).await).await
        }
        Command::Show(args) => store::look(&global, async |stent| show::run(stent, &args, out).await).await,
        Command::Tasks(args) => store::look(&global, async |stent| tasks::run(stent, &args, out).await).await,
        Command::Workers(args) => {
            store::look(&global, async |stent| workers::run(stent, &args, out).await).await
        }
        Command::Queues(args) => {
            store::look(&global, async |stent| queues::run(stent, &args, out).await).await
        }
        Command::Stats(_) => store::look(&global, async |stent| stats::run(stent, out).await).await,
        Command::Watch(args) => {
            let watched = store::look(&global, async |stent| watch::run(stent, &args, out).await).await;
            // Ctrl-C is the way to end it.
            watched.or_else(|fault| if fault.is_interrupt() { Ok(()) } else { Err(fault) })
        }
        Command::Dispatch(args) => {
            store::with(&global, async |stent| dispatch::run(stent, args, out).await).await
        }
        Command::Signal(args) => {
            let asked = signal::Asked::read(&args)?;
            store::with(&global, async |stent| signal::run(stent, &args, asked, out).await).await
        }
        Command::Cancel(args) => {
            cancel::check(&args)?;
            store::with(&global, async |stent| cancel::run(stent, &args, out).await).await
        }
        Command::Retry(args) => retry(&global, &args, out).await,
        Command::Dlq(args) => match args.command {
            DlqCommand::List(args) => {
                store::look(&global, async |stent| dlq::list(stent, &args, out).await).await
            }
            DlqCommand::Show(args) => {
                store::look(&global, async |stent| dlq::show(stent, &args, out).await).await
            }
            DlqCommand::Retry(args) => retry(&global, &args, out).await,
            DlqCommand::Discard(args) => {
                dlq::check(&args.letters)?;
                store::with(&global, async |stent| dlq::discard(stent, &args, out).await).await
            }
            DlqCommand::Stats(_) => store::look(&global, async |stent| dlq::stats(stent, out).await).await,
        },
        Command::Export(args) => {
            store::look(&global, async |stent| export::run(stent, &args, out).await).await
        }
        Command::Import(args) => {
            // An unreadable file is found before the store is opened.
            let source = import::Source::open(&args)?;
            store::with(&global, async |stent| import::run(stent, &args, source, out).await).await
        }
        Command::Cleanup(args) => {
            store::with(&global, async |stent| cleanup::run(stent, &args, out).await).await
        }
    }
}

async fn retry(global: &crate::cli::Global, args: &crate::cli::Retry, out: &mut Out) -> Result<()> {
    dlq::check(&args.letters)?;
    let policy = dlq::policy(&args.policy)?;
    store::with(global, async |stent| dlq::retry(stent, args, policy, out).await).await
}
