//! Splitting text input into lines, and lines into tokens.

use crate::engine::protocol::scan::position;
use crate::engine::protocol::{Limits, is_text_key};
use crate::engine::storage::KEY_BYTES_MAX;

/// How far the present line was searched for its end, so that a line that arrives in many pieces is searched only once.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineScan {
    searched: usize,
    keys: CheckedKeys,
}

/// How much of a long line of keys was checked while it arrived, so that its end does not bring the work for all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckedKeys {
    /// The tokens that end before this place are keys, but for the command and its exptime, which are checked elsewhere.
    pub until: usize,
    /// One of them is no key.
    pub has_bad: bool,
}

impl CheckedKeys {
    /// Goes on with what has arrived of the line. A token that may go on is left for the next time, unless it is too long
    /// already.
    fn check(&mut self, line: &[u8]) {
        if self.until == 0 {
            // Lines of this length hold the command; `gat` and `gats` have an exptime behind it.
            let mut head = Tokens::new(line);
            let command = head.next();
            if matches!(command, Some(b"gat" | b"gats")) {
                head.next();
            }
            self.until = line.len() - head.rest().len();
        }
        let mut tokens = Tokens::new(&line[self.until..]);
        loop {
            let before = line.len() - tokens.rest().len();
            let Some(token) = tokens.next() else {
                self.until = line.len();
                return;
            };
            let may_go_on = tokens.rest().is_empty();
            if may_go_on && token.len() <= KEY_BYTES_MAX {
                self.until = before;
                return;
            }
            self.has_bad |= !is_text_key(token);
        }
    }
}

/// The start of the input, as a line.
#[derive(Debug, PartialEq, Eq)]
pub enum LineStart<'a> {
    /// A line without its line end, and its length with it.
    Whole {
        line: &'a [u8],
        used: usize,
        keys: CheckedKeys,
    },
    Unfinished,
    /// Longer than any line may be.
    TooLong,
}

impl LineScan {
    /// Forgets the position, because the fast path has consumed the line.
    #[inline]
    pub fn restart(&mut self) {
        *self = LineScan::default();
    }

    /// The first line of `input`. A line ends in LF; a CR before it is dropped.
    #[inline]
    pub fn line<'a>(&mut self, input: &'a [u8], limits: &Limits) -> LineStart<'a> {
        let from = self.searched.min(input.len());
        let Some(found) = position(&input[from..], |byte| byte == b'\n') else {
            return self.unfinished(input, limits);
        };
        let keys = std::mem::take(self).keys;
        let end = from + found;
        let line = match input[..end].split_last() {
            Some((b'\r', line)) => line,
            _ => &input[..end],
        };
        if end > limits.line_bytes_max && !(reads_keys(line) && end <= limits.key_list_bytes_max) {
            return LineStart::TooLong;
        }
        LineStart::Whole {
            line,
            used: end + 1,
            keys,
        }
    }

    fn unfinished<'a>(&mut self, input: &'a [u8], limits: &Limits) -> LineStart<'a> {
        let length_max = if reads_keys(input) {
            limits.key_list_bytes_max
        } else {
            limits.line_bytes_max
        };
        if input.len() > length_max {
            return LineStart::TooLong;
        }
        self.searched = input.len();
        if input.len() > limits.line_bytes_max {
            self.keys.check(input);
        }
        LineStart::Unfinished
    }
}

/// Whether a line reads keys, and so may be longer than other lines.
fn reads_keys(line: &[u8]) -> bool {
    [&b"get "[..], b"gets ", b"gat ", b"gats "]
        .iter()
        .any(|start| line.starts_with(start))
}

/// The tokens of a line. One or more blanks separate them; a tab is part of a token.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub fn new(line: &'a [u8]) -> Tokens<'a> {
        Tokens { rest: line }
    }

    /// The part of the line that was not returned yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Tokens<'a> {
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
        let (token, rest) = rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_separate_and_nothing_else_does() {
        let tokens: Vec<_> = Tokens::new(b"  get  a\tb c ").collect();
        assert_eq!(tokens, [&b"get"[..], b"a\tb", b"c"]);
        assert_eq!(Tokens::new(b"   ").next(), None);
    }

    #[test]
    fn only_key_lists_may_be_long() {
        let limits = Limits::default();
        let mut scan = LineScan::default();
        let long = vec![b'x'; 2049];
        assert_eq!(scan.line(&long, &limits), LineStart::TooLong);
        assert_eq!(scan.line(&long[..2048], &limits), LineStart::Unfinished);
        let keys = [b"get ", &long[..]].concat();
        assert_eq!(scan.line(&keys, &limits), LineStart::Unfinished);
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
            assert_eq!(unfinished, LineStart::Unfinished, "{verb}");
            line.push(b'\n');
            let whole = LineScan::default().line(&line, &limits);
            assert!(
                matches!(whole, LineStart::Whole { used: 4097, .. }),
                "{verb}"
            );
            line.insert(4096, b'k');
            for end in [4097, 4098] {
                let long = LineScan::default().line(&line[..end], &limits);
                assert_eq!(long, LineStart::TooLong, "{verb}");
            }
        }
    }

    #[test]
    fn a_long_line_is_refused_whether_or_not_its_end_is_here() {
        let limits = Limits::default();
        let mut line = vec![b'x'; 2049];
        line.push(b'\n');
        assert_eq!(LineScan::default().line(&line, &limits), LineStart::TooLong);
        assert!(matches!(
            LineScan::default().line(&line[1..], &limits),
            LineStart::Whole { used: 2049, .. }
        ));
    }

    #[test]
    fn keys_are_checked_as_they_arrive_however_they_are_cut() {
        let limits = Limits::default();
        let long_key = "x".repeat(251);
        for (bad, is_bad) in [("k", false), ("bad\tkey", true), (&long_key, true)] {
            for verb in ["get ", "gats -1 "] {
                let line = format!("{verb}{}{bad} {}\r\n", "key ".repeat(600), "k ".repeat(600));
                for step in [1, 7, 250, 4096] {
                    let mut scan = LineScan::default();
                    let end = line.len() - 1;
                    let pieces = (0..end).step_by(step).skip(1);
                    let unfinished = pieces.map(|end| scan.line(&line.as_bytes()[..end], &limits));
                    assert!(
                        unfinished
                            .into_iter()
                            .all(|line| line == LineStart::Unfinished)
                    );
                    let LineStart::Whole { keys, .. } = scan.line(line.as_bytes(), &limits) else {
                        panic!("no line");
                    };
                    let seen = &line.as_bytes()[..keys.until];
                    let saw_bad = seen.windows(bad.len()).any(|part| part == bad.as_bytes());
                    assert_eq!(keys.has_bad, is_bad && saw_bad, "{verb} {bad} {step}");
                    assert!(step > 250 || keys.until > end - 600, "checked as it came");
                }
            }
        }
    }

    #[test]
    fn the_search_goes_on_where_it_stopped() {
        let limits = Limits::default();
        let mut scan = LineScan::default();
        let input = b"version\r\nrest";
        for end in 0..8 {
            assert_eq!(scan.line(&input[..end], &limits), LineStart::Unfinished);
        }
        let whole = scan.line(input, &limits);
        let expected = LineStart::Whole {
            line: b"version",
            used: 9,
            keys: CheckedKeys::default(),
        };
        assert_eq!(whole, expected);
        assert_eq!(scan.searched, 0);
    }
}
