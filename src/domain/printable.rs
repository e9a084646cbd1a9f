//! Texts from outside as they may be kept and shown. Each room that takes one in from a marketplace calls [`printable`], so
//! that both databases answer alike: PostgreSQL refuses a NUL in any text, and a text of some kilobytes in an index, where
//! SQLite takes both.

/// A display name, or an app's id.
pub const NAME_CHARS_MAX: usize = 128;
/// Who signs on, and from where: as long as an e-mail address may be (RFC 5321, 4.5.3.1.3).
pub const PERSON_CHARS_MAX: usize = 254;

/// Whether a character shows as itself and does nothing else. What moves a terminal's cursor, ends a line for some program
/// or turns the direction of writing could forge or hide an entry of a log (security.md OB-8).
pub fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    // The standard library's table of what can be shown, behind a letter, as accents and vowel signs stand.
    let mut bytes = [b'a'; 5];
    let end = 1 + character.encode_utf8(&mut bytes[1..]).len();
    let behind_a = std::str::from_utf8(&bytes[..end]);
    behind_a.is_ok_and(|text| text.escape_debug().count() == 2)
}

/// A text as it stands within a line for people: everything else is a question mark.
pub fn in_a_line(text: &str) -> String {
    text.chars()
        .map(|c| if is_printable(c) { c } else { '?' })
        .collect()
}

/// The first `chars_max` characters of a text, without control characters.
pub fn printable(text: &str, chars_max: usize) -> String {
    let kept = text.chars().filter(|c| !c.is_control());
    kept.take(chars_max).collect()
}

/// The same of a text that may be left out: one of blanks alone counts as left out.
pub fn printable_if_any(text: &str, chars_max: usize) -> Option<String> {
    Some(printable(text, chars_max)).filter(|kept| !kept.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_reader_is_not_printable_and_letters_of_all_people_are() {
        let evil = "\u{1b}\r\n\t\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{200d}\u{feff}\u{e0001}";
        assert!(!evil.chars().any(is_printable));
        let good = "a~ gr\u{fc}\u{df}e \u{65e5} e\u{301} \u{e23}\u{e49}\u{e32}\u{e19} \u{1f600}";
        assert_eq!(in_a_line(good), good);
        assert_eq!(in_a_line("shop\u{202e}gnp\u{2028}x\n"), "shop?gnp?x?");
    }

    #[test]
    fn control_characters_and_what_is_too_long_are_left_out() {
        assert_eq!(printable("a\0b\u{85}c\n", 10), "abc");
        assert_eq!(printable("\0\0ééé", 2), "éé");
        assert_eq!(printable_if_any(" a", 9).as_deref(), Some(" a"));
        for nothing in ["", " ", "\0", "\u{3000}\t"] {
            assert_eq!(printable_if_any(nothing, 9), None, "{nothing:?}");
        }
    }
}
