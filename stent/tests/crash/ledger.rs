//! The ledger: notes of steps about their runs, in a file outside of Stent.
//!
//! A line is appended in one write and is as long as all others. So lines of two processes never mix, and none crosses the
//! border between two pages, where the kill of its process could cut it in half.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

/// Bytes of a line: a power of two, so that pages hold whole lines.
const LINE: usize = 64;

/// A step by its place: the number of its execution, then the position in its parent, and so on. The function that calls the
/// step knows the place, and so does a reader of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn root(execution: usize) -> Self {
        Self(execution.to_string())
    }

    /// The number of its execution.
    #[cfg(feature = "redis")]
    pub(crate) fn root_of(&self) -> Self {
        Self(self.0.split('.').next().unwrap_or_default().to_owned())
    }

    pub(crate) fn at(&self, seq: impl fmt::Display) -> Self {
        Self(format!("{}.{seq}", self.0))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Start,
    End,
    Fail,
}

impl Event {
    const ALL: [(Self, &str); 3] = [(Self::Start, "start"), (Self::End, "end"), (Self::Fail, "fail")];
}

/// A line of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) place: Place,
    /// The worker process, by number.
    pub(crate) life: usize,
    /// The run of the step, by number in its process.
    pub(crate) nonce: usize,
    pub(crate) event: Event,
}

/// Every line, oldest first.
pub(crate) fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.len() % LINE, 0, "a line of the ledger is cut");
    text.lines()
        .map(|line| parse(line).unwrap_or_else(|| panic!("a line of the ledger is {line:?}")))
        .collect()
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace();
    let place = Place(words.next()?.to_owned());
    let (life, nonce) = words.next()?.split_once('-')?;
    let event = words.next()?;
    let (event, _) = Event::ALL.into_iter().find(|(_, word)| *word == event)?;
    Some(Line { place, life: life.parse().ok()?, nonce: nonce.parse().ok()?, event })
}

/// A text that a step has [reported](Ledger::tell).
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) place: String,
    pub(crate) life: usize,
    pub(crate) text: String,
}

fn told(folder: &Path) -> PathBuf {
    folder.join("told")
}

/// All reports of steps so far, in whole lines.
pub(crate) fn read_told(folder: &Path) -> Vec<Told> {
    let text = std::fs::read_to_string(told(folder)).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line: &str| {
        let mut parts = line.splitn(3, '\t');
        let (place, life, text) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Told { place: place.to_owned(), life: life.parse().ok()?, text: text.to_owned() })
    };
    whole.lines().map(|line| parse(line).unwrap_or_else(|| panic!("a step has said {line:?}"))).collect()
}

/// The ledger as the steps of one process see it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub(crate) life: usize,
    folder: Arc<PathBuf>,
    file: Arc<File>,
    nonces: Arc<AtomicUsize>,
}

impl Ledger {
    pub(crate) fn open(path: &Path, life: usize) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        let folder = path.parent().unwrap_or(path).to_owned();
        Ok(Self { life, folder: Arc::new(folder), file: Arc::new(file), nonces: Arc::default() })
    }

    /// Notes the start and the end of a step's run.
    pub(crate) async fn note<T>(&self, place: &Place, work: impl Future<Output = Result<T>>) -> Result<T> {
        let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
        self.write(place, nonce, Event::Start)?;
        let result = work.await;
        self.write(place, nonce, if result.is_ok() { Event::End } else { Event::Fail })?;
        result
    }

    fn write(&self, place: &Place, nonce: usize, event: Event) -> Result<()> {
        let (_, word) = Event::ALL.into_iter().find(|(known, _)| *known == event).expect("all are listed");
        let words = format!("{place} {}-{nonce} {word}", self.life);
        assert!(words.len() < LINE, "a line of the ledger is too long: {words}");
        (&*self.file).write_all(format!("{words:<width$}\n", width = LINE - 1).as_bytes())
    }

    /// Reports a text of a step, in a file beside the ledger.
    pub(crate) fn tell(&self, place: &Place, text: &str) -> Result<()> {
        let mut told = OpenOptions::new().create(true).append(true).open(told(&self.folder))?;
        told.write_all(format!("{place}\t{}\t{text}\n", self.life).as_bytes())
    }

    /// Creates a mark that all processes see. Returns whether it is new.
    pub(crate) fn mark(&self, name: &str) -> Result<bool> {
        match File::create_new(self.folder.join(name)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn is_marked(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }
}
