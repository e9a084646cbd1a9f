//! The message on the page behind a redirect: what an action did.
//!
//! It travels in a cookie that only this site can set, as one of a few known forms, so no address can put words
//! on somebody's dashboard. It holds no secret.

use crate::access::Reach;
use crate::domain::Username;

/// What just happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Created(Username, Reach),
    Promoted(Username),
    /// A new credential is the primary.
    Rotated(Username),
    Saved(Username, Reach),
    Removed(Username, Reach),
    /// One of its certificates was.
    Revoked(Username, Reach),
    Flushed {
        items: u64,
        bytes: u64,
    },
    FlushOrdered,
    SsoRotated,
}

impl Notice {
    /// As it stands in the cookie: words joined by points.
    pub fn to_text(&self) -> String {
        match self {
            Notice::Created(name, reach) => format!("created.{name}.{}", reach_text(*reach)),
            Notice::Promoted(name) => format!("promoted.{name}"),
            Notice::Rotated(name) => format!("rotated.{name}"),
            Notice::Saved(name, reach) => format!("saved.{name}.{}", reach_text(*reach)),
            Notice::Removed(name, reach) => format!("removed.{name}.{}", reach_text(*reach)),
            Notice::Revoked(name, reach) => format!("revoked.{name}.{}", reach_text(*reach)),
            Notice::Flushed { items, bytes } => format!("flushed.{items}.{bytes}"),
            Notice::FlushOrdered => "flush-ordered".to_owned(),
            Notice::SsoRotated => "sso-rotated".to_owned(),
        }
    }

    pub fn parse(text: &str) -> Option<Notice> {
        let words: Vec<&str> = text.split('.').collect();
        Some(match words[..] {
            ["created", name, reach] => Notice::Created(name.parse().ok()?, parse_reach(reach)?),
            ["promoted", name] => Notice::Promoted(name.parse().ok()?),
            ["rotated", name] => Notice::Rotated(name.parse().ok()?),
            ["saved", name, reach] => Notice::Saved(name.parse().ok()?, parse_reach(reach)?),
            ["removed", name, reach] => Notice::Removed(name.parse().ok()?, parse_reach(reach)?),
            ["revoked", name, reach] => Notice::Revoked(name.parse().ok()?, parse_reach(reach)?),
            ["flushed", items, bytes] => Notice::Flushed {
                items: items.parse().ok()?,
                bytes: bytes.parse().ok()?,
            },
            ["flush-ordered"] => Notice::FlushOrdered,
            ["sso-rotated"] => Notice::SsoRotated,
            _ => return None,
        })
    }
}

fn reach_text(reach: Reach) -> String {
    match reach {
        Reach::Everywhere => "all".to_owned(),
        Reach::Partial { applied, nodes } => format!("{applied}-{nodes}"),
    }
}

fn parse_reach(text: &str) -> Option<Reach> {
    if text == "all" {
        return Some(Reach::Everywhere);
    }
    let (applied, nodes) = text.split_once('-')?;
    Some(Reach::Partial {
        applied: applied.parse().ok()?,
        nodes: nodes.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_read_back() {
        let name: Username = "91BC07".parse().unwrap();
        let behind = Reach::Partial {
            applied: 1,
            nodes: 2,
        };
        for notice in [
            Notice::Created(name.clone(), Reach::Everywhere),
            Notice::Promoted(name.clone()),
            Notice::Rotated(name.clone()),
            Notice::Saved(name.clone(), behind),
            Notice::Removed(name.clone(), behind),
            Notice::Revoked(name, behind),
            Notice::Flushed {
                items: 18_233,
                bytes: 7_340_032,
            },
            Notice::FlushOrdered,
            Notice::SsoRotated,
        ] {
            assert_eq!(Notice::parse(&notice.to_text()), Some(notice));
        }
    }

    #[test]
    fn other_words_say_nothing() {
        for text in [
            "",
            "promoted",
            "promoted.<b>",
            "created.91BC07",
            "created.91BC07.x",
            "flushed.-1.0",
            "hello.91BC07",
        ] {
            assert_eq!(Notice::parse(text), None, "{text:?}");
        }
    }
}
