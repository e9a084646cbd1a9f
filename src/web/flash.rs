//! The message on the page behind a redirect: what an action did.
//!
//! It travels in a cookie that only this site can set, as one of the few forms that its panel reads, so no address can
//! put words on somebody's dashboard. It holds no secret.

use std::fmt;

use crate::access::Reach;

/// A message as it stands in the cookie: the panel that left it and what only that panel reads, joined by points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash(String);

impl Flash {
    /// No part may hold a point.
    pub fn new(panel: &str, parts: &[&str]) -> Flash {
        let mut text = panel.to_owned();
        for part in parts {
            text.push('.');
            text.push_str(part);
        }
        Flash(text)
    }

    /// What a cookie holds; whether it says anything is for its panel to judge.
    pub fn presented(text: &str) -> Flash {
        Flash(text.to_owned())
    }

    /// Whose message it is.
    pub fn panel(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    pub fn parts(&self) -> Vec<&str> {
        self.0.split('.').skip(1).collect()
    }
}

impl fmt::Display for Flash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a change had come, as a part.
pub fn reach_part(reach: Reach) -> String {
    match reach {
        Reach::Everywhere => "all".to_owned(),
        Reach::Partial { applied, nodes } => format!("{applied}-{nodes}"),
    }
}

pub fn parse_reach(part: &str) -> Option<Reach> {
    if part == "all" {
        return Some(Reach::Everywhere);
    }
    let (applied, nodes) = part.split_once('-')?;
    Some(Reach::Partial {
        applied: applied.parse().ok()?,
        nodes: nodes.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flash_reads_back() {
        let behind = Reach::Partial {
            applied: 1,
            nodes: 2,
        };
        let flash = Flash::new("credentials", &["created", "91BC07", &reach_part(behind)]);
        let read = Flash::presented(&flash.to_string());
        assert_eq!(read, flash);
        assert_eq!(read.panel(), "credentials");
        assert_eq!(read.parts(), ["created", "91BC07", "1-2"]);
        assert_eq!(parse_reach("1-2"), Some(behind));
        assert_eq!(parse_reach("all"), Some(Reach::Everywhere));
        assert_eq!(Flash::presented("").parts(), [""; 0]);
        for nonsense in ["", "1", "1-", "-1-2", "ALL"] {
            assert_eq!(parse_reach(nonsense), None, "{nonsense:?}");
        }
    }
}
