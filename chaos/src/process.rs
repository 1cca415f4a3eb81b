//! Processes of a run: started, killed, paused, drained, given orders. No process outlives its value.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::moment::Moment;
use crate::role::{Order, READY, Role, TOLD};

/// How often a process that is ending is checked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One life of a process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) life: u64,
    child: Child,
    stdin: Option<ChildStdin>,
    ready: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Process {
    /// Starts a process in this role. Its standard error goes to a separate file.
    pub(crate) fn start(role: &Role, log: &Path) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .env(TOLD, serde_json::to_string(role)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a process of this program")?;
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (say, ready) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut say = Some(say);
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).flatten() {
                if line == READY {
                    say.take().map(|say| say.send(()));
                }
            }
        });
        // Through a pipe: a process whose disk is full cannot write to a file that is longer than its limit.
        let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        std::thread::spawn(move || {
            for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n')).flatten() {
                let _ = writeln!(log, "{} {}", Moment::now(), String::from_utf8_lossy(&line));
            }
        });
        Ok(Self { life: role.life, child, stdin, ready: Some(ready) })
    }

    /// Waits until it reports that it is ready; forever if it ends before.
    pub(crate) async fn ready(&mut self) {
        if let Some(ready) = self.ready.take()
            && ready.await.is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to drain, and waits for its end. Returns false if it does not end in time.
    pub(crate) async fn drain(&mut self, patience: Duration) -> Result<bool> {
        self.signal(Signal::TERM)?;
        self.wait(patience).await
    }

    /// Waits for its end. Returns false if it does not end in time.
    pub(crate) async fn wait(&mut self, patience: Duration) -> Result<bool> {
        let start = Moment::now();
        while self.ended()?.is_none() {
            if Moment::now().since(start) > patience {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends it an order. A paused process reads it later.
    pub(crate) fn tell(&mut self, order: Order) -> Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        Ok(stdin.write_all(order.line().as_bytes())?)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Has no effect on a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
