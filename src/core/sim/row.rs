//! A model of a row.

use super::random::Random;
use crate::cell::Cell;
use crate::kind::Kind;

/// A document that is this long fits no request.
pub(super) const LARGE: usize = 1600;
/// The columns. `t` is large, or may be: most updates leave it as it is, and the server then does not send it.
/// `p` and `q` are foreign keys, in tables that have some.
pub(super) const COLUMNS: [(&str, u32, Kind); 7] = [
    ("id", 23, Kind::Number),
    ("name", 25, Kind::Text),
    ("n", 20, Kind::Number),
    ("t", 25, Kind::Text),
    ("o", 20, Kind::Number),
    ("p", 23, Kind::Number),
    ("q", 23, Kind::Number),
];
/// The place of `t`.
pub(super) const LARGE_COLUMN: usize = 3;
/// The names that rows have; some of them give no key.
const NAMES: [&str; 8] = ["a", "b/c", "x.y", "50%", "ü.é", "www.a.example", "", "a..b"];

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: usize,
    pub(super) name: &'static str,
    /// Another one in each version of the row.
    number: u64,
    text: String,
    option: Option<u64>,
    /// The rows that `p` and `q` point to, by their `id`.
    pub(super) points: [Option<usize>; 2],
}

impl Row {
    /// A row of this key with the number, and all else by chance. It points nowhere.
    pub(super) fn new(id: usize, number: u64, random: &mut Random) -> Self {
        let (text, points) = (String::new(), [None; 2]);
        let mut row = Self { id, name: "", number, text, option: None, points };
        row.change_text(random);
        row.change_others(random);
        row
    }

    /// The row after an update, and whether that leaves the text as it is.
    pub(super) fn updated(&self, id: usize, number: u64, random: &mut Random) -> (Self, bool) {
        let mut row = Self { id, number, ..self.clone() };
        let unchanged = random.percent(60);
        if !unchanged {
            row.change_text(random);
        }
        if random.percent(30) {
            row.change_others(random);
        }
        (row, unchanged)
    }

    fn change_text(&mut self, random: &mut Random) {
        let length = if random.percent(4) { LARGE } else { random.below(12) };
        self.text = format!("{}{}", self.number, "x".repeat(length));
    }

    fn change_others(&mut self, random: &mut Random) {
        self.name = NAMES[random.below(NAMES.len())];
        self.option = random.percent(60).then_some(self.number);
    }

    /// Its cells as the server prints them.
    pub(super) fn with_cells<T>(&self, then: impl FnOnce([Cell<'_>; 7]) -> T) -> T {
        let (id, number) = (self.id.to_string(), self.number.to_string());
        let option = self.option.map(|option| option.to_string());
        let points = self.points.map(|point| point.map(|id| id.to_string()));
        let [p, q] = &points;
        then([
            Cell::Text(id.as_bytes()),
            Cell::Text(self.name.as_bytes()),
            Cell::Text(number.as_bytes()),
            Cell::Text(self.text.as_bytes()),
            optional(option.as_ref()),
            optional(p.as_ref()),
            optional(q.as_ref()),
        ])
    }

    /// What elements are ordered by, of one of its columns: NULL comes last, and of integers their text
    /// is not looked at.
    pub(super) fn rank(&self, column: usize) -> (bool, u64, &str) {
        let number = |number: Option<u64>| (number.is_none(), number.unwrap_or(0), "");
        match column {
            0 => number(Some(self.id as u64)),
            1 => (false, 0, self.name),
            2 => number(Some(self.number)),
            3 => (false, 0, &self.text),
            4 => number(self.option),
            point => number(self.points[point - 5].map(|id| id as u64)),
        }
    }
}

fn optional(text: Option<&String>) -> Cell<'_> {
    text.map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))
}
