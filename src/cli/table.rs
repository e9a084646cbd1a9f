//! Columns of text for a terminal.

use std::fmt;

use serde_json::Value;

use crate::domain::printable::in_a_line;

/// Rows under headings, each column as wide as its widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Headings whose cells are numbers.
    numbers: &'static [&'static str],
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Table {
        let headings = headings.iter().map(|text| (*text).to_owned());
        Table {
            rows: vec![headings.collect()],
            numbers: &[],
        }
    }

    /// Says which columns hold numbers, for [`to_json`](Table::to_json).
    pub(super) fn with_numbers(mut self, headings: &'static [&'static str]) -> Table {
        self.numbers = headings;
        self
    }

    /// The rows as objects; their members are named after the headings.
    pub(super) fn to_json(&self) -> Value {
        let mut rows = self.rows.iter();
        let headings = rows.next().cloned().unwrap_or_default();
        let member = |(heading, cell): (&String, &String)| {
            let number = self.numbers.contains(&heading.as_str());
            let number = number.then(|| cell.parse::<u64>().ok()).flatten();
            let value = number.map_or_else(|| Value::from(cell.as_str()), Value::from);
            (heading.to_lowercase().replace(' ', "_"), value)
        };
        let object =
            |row: &Vec<String>| Value::Object(headings.iter().zip(row).map(member).collect());
        rows.map(object).collect()
    }

    /// What could steer the operator's terminal stays out of it: customers' names stand in cells.
    pub(super) fn row<const CELLS: usize>(&mut self, cells: [String; CELLS]) {
        let cells = cells.iter().map(|cell| in_a_line(cell));
        self.rows.push(cells.collect());
    }

    /// Rows without the headings.
    pub(super) fn len(&self) -> usize {
        self.rows.len() - 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["wide\u{1b}".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "A      LONG\nwide?  x\n");
        assert_eq!(table.len(), 1);
        let json = table.with_numbers(&["LONG"]).to_json();
        assert_eq!(json, serde_json::json!([{"a": "wide?", "long": "x"}]));
        let mut sly = Table::new(&["A"]);
        sly.row(["a\u{85}b\u{9b}31mc\u{2028}d\u{202e}e".to_owned()]);
        assert_eq!(sly.to_string(), "A\na?b?31mc?d?e\n");
    }
}
