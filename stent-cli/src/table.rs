//! Tables that fit the terminal: columns are shortened, and where that is not enough each row becomes a block.

use unicode_width::UnicodeWidthStr as _;

use crate::text::{cut, plain};

/// Spaces between two columns.
const GAP: usize = 2;

/// A table of texts.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Column {
    head: &'static str,
    is_number: bool,
    /// The width to which the column may be cut; `None` if its cells are of use only as a whole.
    least: Option<usize>,
}

/// A text in a table, without control characters.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Good,
    Bad,
    Busy,
    Waiting,
    Dim,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Busy => "36",
            Self::Waiting => "33",
            Self::Dim => "2",
        }
    }

    /// The text in this colour.
    pub(crate) fn paint(self, text: &str) -> String {
        format!("\u{1b}[{}m{text}\u{1b}[0m", self.code())
    }
}

impl Cell {
    pub(crate) const fn colour(mut self, colour: Colour) -> Self {
        self.colour = Some(colour);
        self
    }

    /// The columns that the whole text takes.
    pub(crate) fn width(&self) -> usize {
        self.text.width()
    }

    /// The whole text, in its colour if there are colours.
    pub(crate) fn painted(&self, colours: bool) -> String {
        paint(&self.text, self.colour, colours)
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: plain(text.as_ref()), colour: None }
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A column whose cells are never cut.
    pub(crate) fn column(mut self, head: &'static str) -> Self {
        self.columns.push(Column { head, is_number: false, least: None });
        self
    }

    /// A column whose cells stand to the right.
    pub(crate) fn number(mut self, head: &'static str) -> Self {
        self.columns.push(Column { head, is_number: true, least: None });
        self
    }

    /// A column whose cells may be cut to this width.
    pub(crate) fn wide(mut self, head: &'static str, least: usize) -> Self {
        self.columns.push(Column { head, is_number: false, least: Some(least) });
        self
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<_> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines of the table. A table without rows has none, not even a head.
    pub(crate) fn render(&self, width: Option<usize>, colour: bool) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        match self.widths(width) {
            Some(widths) => self.side_by_side(&widths, colour),
            None => self.stacked(width.unwrap_or(usize::MAX), colour),
        }
    }

    /// The widths of the columns; `None` if they do not fit side by side.
    fn widths(&self, width: Option<usize>) -> Option<Vec<usize>> {
        let natural = |(n, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.text.width());
            cells.chain([column.head.width()]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(natural).collect();
        let Some(most) = width else { return Some(widths) };
        let gaps = GAP * self.columns.len().saturating_sub(1);
        loop {
            let over = (widths.iter().sum::<usize>() + gaps).saturating_sub(most);
            if over == 0 {
                return Some(widths);
            }
            // The widest column that may be cut gives up what is needed, or all that it can.
            let least = |n: usize| self.columns[n].least.map(|least| least.max(self.columns[n].head.width()));
            let can = |n: &usize| least(*n).is_some_and(|least| widths[*n] > least);
            let widest = (0..widths.len()).filter(can).max_by_key(|n| widths[*n])?;
            let next = widths.iter().enumerate().filter(|(n, _)| *n != widest && can(n));
            // Columns of the same width are cut in turn.
            let next = next.map(|(_, width)| *width).max().unwrap_or(0);
            let target = least(widest).unwrap_or(0).max(next.min(widths[widest] - 1));
            widths[widest] = target.max(widths[widest].saturating_sub(over));
        }
    }

    fn side_by_side(&self, widths: &[usize], colour: bool) -> String {
        let mut text = String::new();
        let heads = self.columns.iter().map(|column| Cell::from(column.head).colour(Colour::Dim)).collect();
        for row in [&heads].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), column) in row.iter().zip(widths).zip(&self.columns) {
                let shown = cut(&cell.text, *width);
                let pad = " ".repeat(width - shown.width());
                let painted = paint(&shown, cell.colour, colour);
                line += &if column.is_number { pad + &painted } else { painted + &pad };
                line += &" ".repeat(GAP);
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// Each row as a block: the first cell, then the others with their heads.
    fn stacked(&self, width: usize, colour: bool) -> String {
        let mut text = String::new();
        for row in &self.rows {
            for (n, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
                if cell.text.is_empty() {
                    continue;
                }
                let before =
                    if n == 0 { String::new() } else { format!("  {}: ", column.head.to_lowercase()) };
                // A cell that is of use only as a whole is not cut: the terminal wraps it.
                let shown = match column.least {
                    Some(_) => cut(&cell.text, width.saturating_sub(before.width())),
                    None => cell.text.clone(),
                };
                text += &before;
                text += &paint(&shown, cell.colour, colour);
                text.push('\n');
            }
        }
        text
    }
}

fn paint(text: &str, colour: Option<Colour>, colours: bool) -> String {
    match colour.filter(|_| colours && !text.is_empty()) {
        Some(colour) => colour.paint(text),
        None => text.to_owned(),
    }
}
