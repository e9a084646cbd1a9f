//! Lines and words.

use crate::engine::protocol::Limits;
use crate::engine::protocol::scan::position;

/// How far a connection has looked for the end of its present line, so that a line which arrives in many pieces
/// is searched only once.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineScan {
    searched: usize,
}

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its end, and how many bytes it took with it.
    Whole {
        line: &'a [u8],
        used: usize,
    },
    Unfinished,
    /// Longer than any line may be.
    TooLong,
}

impl LineScan {
    /// The line was read to its end by other means.
    #[inline]
    pub fn restart(&mut self) {
        self.searched = 0;
    }

    /// The first line of `input`. A line ends in LF; a CR before it is dropped.
    #[inline]
    pub fn line<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Line<'a> {
        let from = self.searched.min(input.len());
        let Some(found) = position(&input[from..], |byte| byte == b'\n') else {
            return self.unfinished(input, limits);
        };
        self.searched = 0;
        let end = from + found;
        let line = match input[..end].split_last() {
            Some((b'\r', line)) => line,
            _ => &input[..end],
        };
        if end > limits.line_bytes_max && !(reads_keys(line) && end <= limits.key_list_bytes_max) {
            return Line::TooLong;
        }
        Line::Whole {
            line,
            used: end + 1,
        }
    }

    fn unfinished<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Line<'a> {
        let length_max = if reads_keys(input) {
            limits.key_list_bytes_max
        } else {
            limits.line_bytes_max
        };
        if input.len() > length_max {
            return Line::TooLong;
        }
        self.searched = input.len();
        Line::Unfinished
    }
}

/// Whether a line may list keys without the usual limit.
fn reads_keys(line: &[u8]) -> bool {
    [&b"get "[..], b"gets ", b"gat ", b"gats "]
        .iter()
        .any(|start| line.starts_with(start))
}

/// The words of a line: runs of anything but blanks. A tab is part of a word.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub fn new(line: &'a [u8]) -> Words<'a> {
        Words { rest: line }
    }

    /// What no call has returned yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        while let [b' ', more @ ..] = rest {
            rest = more;
        }
        if rest.is_empty() {
            self.rest = rest;
            return None;
        }
        let end = position(rest, |byte| byte == b' ').unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_separate_and_nothing_else_does() {
        let words: Vec<_> = Words::new(b"  get  a\tb c ").collect();
        assert_eq!(words, [&b"get"[..], b"a\tb", b"c"]);
        assert_eq!(Words::new(b"   ").next(), None);
    }

    #[test]
    fn only_key_lists_may_be_long() {
        let limits = Limits::default();
        let mut scan = LineScan::default();
        let long = vec![b'x'; 2049];
        assert_eq!(scan.line(&long, &limits), Line::TooLong);
        assert_eq!(scan.line(&long[..2048], &limits), Line::Unfinished);
        let keys = [b"get ", &long[..]].concat();
        assert_eq!(scan.line(&keys, &limits), Line::Unfinished);
    }

    #[test]
    fn a_list_of_keys_has_a_limit_of_its_own() {
        let limits = Limits {
            key_list_bytes_max: 4096,
            ..Limits::default()
        };
        for verb in ["get ", "gets ", "gat ", "gats "] {
            let mut line = verb.as_bytes().to_vec();
            line.resize(4096, b'k');
            let unfinished = LineScan::default().line(&line, &limits);
            assert_eq!(unfinished, Line::Unfinished, "{verb}");
            line.push(b'\n');
            let whole = LineScan::default().line(&line, &limits);
            assert!(matches!(whole, Line::Whole { used: 4097, .. }), "{verb}");
            line.insert(4096, b'k');
            for end in [4097, 4098] {
                let long = LineScan::default().line(&line[..end], &limits);
                assert_eq!(long, Line::TooLong, "{verb}");
            }
        }
    }

    #[test]
    fn a_long_line_is_refused_whether_or_not_its_end_is_here() {
        let limits = Limits::default();
        let mut line = vec![b'x'; 2049];
        line.push(b'\n');
        assert_eq!(LineScan::default().line(&line, &limits), Line::TooLong);
        assert!(matches!(
            LineScan::default().line(&line[1..], &limits),
            Line::Whole { used: 2049, .. }
        ));
    }

    #[test]
    fn the_search_goes_on_where_it_stopped() {
        let limits = Limits::default();
        let mut scan = LineScan::default();
        let input = b"version\r\nrest";
        for end in 0..8 {
            assert_eq!(scan.line(&input[..end], &limits), Line::Unfinished);
        }
        let whole = scan.line(input, &limits);
        let expected = Line::Whole {
            line: b"version",
            used: 9,
        };
        assert_eq!(whole, expected);
        assert_eq!(scan.searched, 0);
    }
}
