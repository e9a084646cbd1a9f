//! The fast path for the most frequent request: a get of one key that changes nothing.
//!
//! It has its own parser, execution and reply, so that no [`Command`](super::Command) is built and matched again. The
//! options are constants there, and the compiler removes what they do not use.

use super::Output;
use crate::engine::storage::ItemView;

/// A get of one key that changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct FastGet<'a> {
    pub key: &'a [u8],
    /// As in [`GetOptions`](crate::engine::storage::GetOptions).
    pub recaches: bool,
}

/// A form of fast gets. Each dialect has one.
pub trait FastGetForm<'a>: Sized {
    /// The fast get at the start of `input`, with the bytes it takes. `None` for everything else, including partial gets:
    /// the dialect's parser reads those.
    fn fast_get(input: &'a [u8]) -> Option<(usize, FastGet<'a>, Self)>;

    /// Appends the reply.
    fn write_get(&self, item: Option<&ItemView<'_>>, out: &mut Output);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::protocol::binary::{self, BinaryForm};
    use crate::engine::protocol::meta::MetaForm;
    use crate::engine::protocol::text::{self, LineScan, TextForm};
    use crate::engine::protocol::{Command, Form, Limits, Parsed, Request, is_text_key};
    use crate::engine::storage::GetOptions;

    /// Whether `input` begins with a fast get. If so, it must equal what the dialect's parser reads.
    fn is_fast<'a, F: FastGetForm<'a>>(
        input: &'a [u8],
        parsed: Parsed<'a>,
        form: impl Fn(F) -> Form<'a>,
    ) -> bool {
        let Some((used, get, fast_form)) = F::fast_get(input) else {
            return false;
        };
        let request = Request {
            command: Command::Get {
                key: Cow::Borrowed(get.key),
                options: GetOptions {
                    recaches: get.recaches,
                    ..GetOptions::default()
                },
            },
            form: form(fast_form),
        };
        let fast = Parsed::Request {
            used,
            swallow: 0,
            request,
        };
        assert_eq!(format!("{fast:?}"), format!("{parsed:?}"));
        true
    }

    fn parsed_line(input: &[u8]) -> Parsed<'_> {
        text::parse(input, &mut LineScan::default(), &Limits::default())
    }

    /// Drops flags that no reply mentions. The parser keeps them in the form; the fast path does not.
    fn without_silent_flags(mut parsed: Parsed<'_>) -> Parsed<'_> {
        if let Parsed::Request { request, .. } = &mut parsed
            && let Form::Meta(form) = &mut request.form
            && form.flags.iter().all(|byte| b" vq".contains(byte))
        {
            form.flags = &[];
        }
        parsed
    }

    fn packet(opcode: u8, extras: u8, key: &[u8], body: usize) -> Vec<u8> {
        let mut packet = vec![binary::REQUEST_MAGIC, opcode, 0, key.len() as u8, extras];
        packet.extend([0; 3]);
        packet.extend((body as u32).to_be_bytes());
        packet.extend([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 9]);
        packet.extend(key);
        packet
    }

    proptest! {
        /// However the line ends and wherever it is cut. Every get that could be fast is.
        #[test]
        fn both_ways_to_read_a_text_get_agree(
            key in "[ -~\t\x00\x7f\u{80}]{0,20}|[a-z]{240,260}|[a-z:]{1,40}",
            end in "\r\n|\n|\r| \r\n|\rx|",
            behind in "[ -~\r\n]{0,30}",
            cut in 0usize..400,
        ) {
            let stream = format!("get {key}{end}{behind}");
            let input = &stream.as_bytes()[..cut.min(stream.len())];
            let fast = is_fast(input, parsed_line(input), Form::Text);
            let is_key = is_text_key(key.as_bytes()) && !key.contains(' ');
            let is_whole = end.starts_with("\r\n") && input.len() >= key.len() + 6;
            prop_assert!(fast || !is_key || !is_whole);
        }

        #[test]
        fn both_ways_to_read_a_meta_get_agree(
            key in "[!-~]{0,20}|[a-z]{240,260}|[!-~\x00\x7f\u{80}]{1,40}",
            flags in "( [vkstcfhlq]){0,5}( {1,2}([a-zA-Z0-9]|O[a-z0-9]{0,40}|[TNRCE][0-9]{0,12}|[vkbu])){0,2}",
            end in "\r\n|\n|\r| \r\n|\rx|",
            cut in 0usize..500,
        ) {
            let stream = format!("mg {key}{flags}{end}mn\r\n");
            let input = &stream.as_bytes()[..cut.min(stream.len())];
            is_fast(input, without_silent_flags(parsed_line(input)), Form::Meta);
        }

        #[test]
        fn both_ways_to_read_a_binary_get_agree(
            opcode in 0u8..=0x24,
            extras in prop_oneof![4 => Just(0), 1 => 0u8..5],
            key in prop::collection::vec(any::<u8>(), 0..=255),
            body in prop_oneof![4 => Just(0), 1 => 0usize..3],
            cut in prop_oneof![Just(usize::MAX), 0usize..300],
        ) {
            let stream = packet(opcode, extras, &key, key.len() + body);
            let input = &stream[..cut.min(stream.len())];
            is_fast(input, binary::parse(input, &Limits::default()), Form::Binary);
        }
    }

    #[test]
    fn usual_gets_are_fast() {
        let form = Form::Meta;
        for line in ["mg k\r\n", "mg k v\r\n", "mg k s v q f t c k h l\r\n"] {
            let parsed = without_silent_flags(parsed_line(line.as_bytes()));
            assert!(
                is_fast::<MetaForm<'_>>(line.as_bytes(), parsed, form),
                "{line}"
            );
        }
        for opcode in [0x00, 0x09, 0x0c, 0x0d] {
            let packet = packet(opcode, 0, b"key", 3);
            let parsed = binary::parse(&packet, &Limits::default());
            assert!(is_fast::<BinaryForm<'_>>(&packet, parsed, Form::Binary));
        }
        let parsed = parsed_line(b"get key\r\n");
        assert!(is_fast::<TextForm<'_>>(b"get key\r\n", parsed, Form::Text));
    }
}
