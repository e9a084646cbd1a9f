//! Finds secrets where they must not be: as they are, and in the usual disguises.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The shortest thing worth looking for: anything shorter turns up by chance.
const SHORTEST: usize = 10;
/// Needles are found by how they begin.
const START: usize = 8;

/// Secrets by what they are. The same kind may have many.
#[derive(Clone, Debug, Default)]
pub struct Markers(BTreeMap<&'static str, BTreeSet<Vec<u8>>>);

impl Markers {
    pub fn add(&mut self, kind: &'static str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref().to_vec();
        assert!(secret.len() >= SHORTEST, "{kind} is too short to look for");
        self.0.entry(kind).or_default().insert(secret);
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: &str) -> usize {
        self.0.get(kind).map_or(0, BTreeSet::len)
    }

    /// Every kind found in one of the places, as `place: kind (disguise)`.
    pub fn found_in(&self, places: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
        let needles = Needles::new(self);
        places
            .iter()
            .flat_map(|(place, bytes)| {
                let found = needles.found_in(bytes).into_iter();
                found.map(move |what| format!("{place}: {what}"))
            })
            .collect()
    }
}

/// All secrets in all disguises, by their first bytes.
struct Needles {
    by_start: HashMap<[u8; START], Vec<(Vec<u8>, String)>>,
    /// Which two bytes any of them begins with: most places in a haystack are passed over by this.
    may_start: Vec<bool>,
}

impl Needles {
    fn new(markers: &Markers) -> Needles {
        let mut needles = Needles {
            by_start: HashMap::new(),
            may_start: vec![false; 1 << 16],
        };
        for (kind, secrets) in &markers.0 {
            for secret in secrets {
                for (disguise, needle) in disguises(secret) {
                    needles.add(needle, format!("{kind} ({disguise})"));
                }
            }
        }
        needles
    }

    fn add(&mut self, needle: Vec<u8>, what: String) {
        let start: [u8; START] = needle[..START].try_into().expect("long enough");
        self.may_start[usize::from(u16::from_le_bytes([start[0], start[1]]))] = true;
        self.by_start.entry(start).or_default().push((needle, what));
    }

    fn found_in(&self, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, window) in bytes.windows(START).enumerate() {
            if !self.may_start[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                continue;
            }
            for (needle, what) in self.by_start.get(window).into_iter().flatten() {
                if bytes[at..].starts_with(needle) {
                    found.insert(what.clone());
                }
            }
        }
        found
    }
}

/// Plain, in hexadecimal, in base64 at each of its three alignments, and percent-encoded.
fn disguises(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent = |all: bool| -> String {
        let encode = |byte: &u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' if !all => {
                char::from(*byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        secret.iter().map(encode).collect()
    };
    let mut disguises = vec![
        ("plain", secret.to_vec()),
        ("hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
        ("percent", percent(true).into_bytes()),
    ];
    let percent = percent(false).into_bytes();
    if percent != secret {
        disguises.push(("percent", percent));
    }
    for shift in 0..3 {
        let mut shifted = vec![0; shift];
        shifted.extend(secret);
        // only characters that depend on the secret alone, whatever stands around it
        let (from, to) = ((shift * 8).div_ceil(6), shifted.len() * 8 / 6);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted);
            disguises.push(("base64", text.as_bytes()[from..to].to_vec()));
        }
    }
    disguises
}

#[test]
fn every_disguise_is_seen_through() {
    let mut markers = Markers::default();
    markers.add("the word", "open sesame / 7");
    let disguised = |text: &str| {
        let places = BTreeMap::from([("a wall".to_owned(), text.as_bytes().to_vec())]);
        markers.found_in(&places).into_iter().collect::<Vec<_>>()
    };
    for (text, how) in [
        ("xx open sesame / 7 yy", "plain"),
        ("6f70656e20736573616d65202f2037", "hex"),
        ("6F70656E20736573616D65202F2037", "hex"),
        ("?q=open%20sesame%20%2F%207&", "percent"),
    ] {
        assert_eq!(
            disguised(text),
            [format!("a wall: the word ({how})")],
            "{text}"
        );
    }
    for before in ["", "a", "ab", "abc"] {
        let text = STANDARD_NO_PAD.encode(format!("{before}open sesame / 7:{before}"));
        assert_eq!(disguised(&text), ["a wall: the word (base64)"], "{text}");
    }
    assert!(disguised("open sesame / 8").is_empty());
}
