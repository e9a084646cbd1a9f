//! Columns of text for a terminal.

use std::fmt;

/// Rows under headings, each column as wide as its widest cell.
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new(headings: &[&str]) -> Table {
        Table(vec![
            headings.iter().map(|text| (*text).to_owned()).collect(),
        ])
    }

    /// Control characters of customers' names stay out of the operator's terminal.
    pub(super) fn row<const CELLS: usize>(&mut self, cells: [String; CELLS]) {
        let printable = |text: String| text.replace(char::is_control, "?");
        self.0.push(cells.into_iter().map(printable).collect());
    }

    /// Rows without the headings.
    pub(super) fn len(&self) -> usize {
        self.0.len() - 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for row in &self.0 {
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
    }
}
