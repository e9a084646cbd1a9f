//! One line, and the block behind it where there is one, to a request.

use std::borrow::Cow;

use super::store::{self, Behind, Verb};
use super::words::Line;
use super::{LineScan, TextForm, Words, keys};
use crate::engine::protocol::number::{signed32, unsigned};
use crate::engine::protocol::{
    BlockSource, Command, Fault, Form, Limits, Parsed, Request, StatsGroup, is_text_key, meta,
};
use crate::engine::storage::{ArithDirection, ArithRequest, DeleteRequest, Exptime, NewValue};

/// The request at the start of `input`, classic or meta.
pub fn parse<'a>(input: &'a [u8], scan: &mut LineScan, limits: &Limits) -> Parsed<'a> {
    match scan.line(input, limits) {
        Line::Unfinished => Parsed::Partial,
        Line::TooLong => Parsed::Close(None),
        Line::Whole { line, used } => {
            let behind = Behind {
                head: used,
                block: BlockSource::Input(&input[used..]),
            };
            parse_line(line, behind, limits)
        }
    }
}

/// The request of a storage line (with its end) whose block was received apart.
pub fn parse_received<'a>(head: &'a [u8], value: NewValue<'a>, limits: &Limits) -> Parsed<'a> {
    let line = head.strip_suffix(b"\n").unwrap_or(head);
    let behind = Behind {
        head: head.len(),
        block: BlockSource::Received(value),
    };
    parse_line(line.strip_suffix(b"\r").unwrap_or(line), behind, limits)
}

fn parse_line<'a>(line: &'a [u8], behind: Behind<'a>, limits: &Limits) -> Parsed<'a> {
    // Names are short: setting up a vector search would cost more than it finds.
    let blank = line.iter().position(|&byte| byte == b' ');
    let word_end = blank.unwrap_or(line.len());
    let (word, rest) = line.split_at(word_end);
    let (words, used) = (Words::new(rest), behind.head);
    let extent = keys::Extent {
        line: line.len(),
        used,
    };
    match word {
        b"get" => keys::parse_get(words, false, extent),
        b"mg" => meta::parse_get(words, used),
        b"ms" => meta::parse_store(words, behind, limits),
        b"md" => meta::parse_delete(words, used),
        b"ma" => meta::parse_arith(words, used),
        b"me" => meta::parse_debug(words, used),
        b"mn" => plain(used, Command::Noop, Form::Meta(meta::MetaForm::bare())),
        b"gets" => keys::parse_get(words, true, extent),
        b"gat" => keys::parse_gat(words, false, extent),
        b"gats" => keys::parse_gat(words, true, extent),
        b"delete" => delete(words, used),
        b"incr" => arith(ArithDirection::Increment, words, used),
        b"decr" => arith(ArithDirection::Decrement, words, used),
        b"touch" => touch(words, used),
        _ => match Verb::of_word(word) {
            Some(verb) => store::parse(verb, words, behind, limits),
            None => other(word, words, line, used),
        },
    }
}

/// Commands that are seldom sent.
fn other<'a>(word: &[u8], words: Words<'a>, line: &[u8], used: usize) -> Parsed<'a> {
    let line_form = Form::Text(TextForm::line(false));
    match word {
        b"version" => plain(used, Command::Version, line_form),
        b"quit" => plain(used, Command::Quit, line_form),
        b"verbosity" => verbosity(words, used),
        b"flush_all" => flush_all(words, used),
        b"stats" => stats(words, used),
        b"shutdown" => fault(used, Fault::ShutdownDisabled, false),
        _ if is_http(line) => Parsed::Close(None),
        _ if line.len() < 2 => fault(used, Fault::BadFormat, false),
        _ => fault(used, Fault::UnknownCommand, false),
    }
}

/// A browser, made to speak to us by a hostile page. Commands in the body must not be executed.
pub(super) fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] = [
        b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE",
    ];
    let mut words = Words::new(line);
    let (first, second) = (words.next(), words.next());
    let last = words.last().or(second);
    let named = last.is_some_and(|word| word.starts_with(b"HTTP/"));
    let shaped = first.is_some_and(|word| METHODS.contains(&word))
        && second.is_some_and(|target| target.starts_with(b"/") || target.starts_with(b"http"));
    named || shaped
}

fn plain<'a>(used: usize, command: Command<'a>, form: Form<'a>) -> Parsed<'a> {
    Parsed::Request {
        used,
        swallow: 0,
        request: Request { command, form },
    }
}

fn fault<'a>(used: usize, fault: Fault, noreply: bool) -> Parsed<'a> {
    Parsed::Fault {
        used,
        swallow: 0,
        fault,
        form: Form::Text(TextForm::line(noreply)),
    }
}

/// Whether the last word is `noreply`. Any other surplus word is ignored.
fn ends_in_noreply(words: Words<'_>) -> bool {
    words.last() == Some(b"noreply")
}

fn delete<'a>(mut words: Words<'a>, used: usize) -> Parsed<'a> {
    let Some(key) = words.next() else {
        return fault(used, Fault::BadFormat, false);
    };
    let noreply = ends_in_noreply(words);
    if !is_text_key(key) {
        return fault(used, Fault::BadFormat, noreply);
    }
    let command = Command::Delete {
        key: Cow::Borrowed(key),
        request: DeleteRequest::default(),
    };
    plain(used, command, Form::Text(TextForm::line(noreply)))
}

fn arith<'a>(direction: ArithDirection, mut words: Words<'a>, used: usize) -> Parsed<'a> {
    let (Some(key), Some(delta)) = (words.next(), words.next()) else {
        return fault(used, Fault::BadFormat, false);
    };
    let noreply = ends_in_noreply(words);
    if !is_text_key(key) {
        return fault(used, Fault::BadFormat, noreply);
    }
    let Some(delta) = unsigned(delta) else {
        return fault(used, Fault::BadDelta, noreply);
    };
    let command = Command::Arith {
        key: Cow::Borrowed(key),
        request: ArithRequest {
            direction,
            delta,
            initial: None,
            exptime: None,
            cas: None,
            new_cas: None,
        },
    };
    plain(used, command, Form::Text(TextForm::line(noreply)))
}

fn touch<'a>(mut words: Words<'a>, used: usize) -> Parsed<'a> {
    let (Some(key), Some(exptime)) = (words.next(), words.next()) else {
        return fault(used, Fault::BadFormat, false);
    };
    let noreply = ends_in_noreply(words);
    if !is_text_key(key) {
        return fault(used, Fault::BadFormat, noreply);
    }
    let Some(exptime) = signed32(exptime) else {
        return fault(used, Fault::BadExptime, noreply);
    };
    let command = Command::Touch {
        key: Cow::Borrowed(key),
        exptime: Exptime::from_text(i64::from(exptime)),
    };
    plain(used, command, Form::Text(TextForm::line(noreply)))
}

/// `verbosity` wants a number but does nothing with it.
fn verbosity<'a>(mut words: Words<'a>, used: usize) -> Parsed<'a> {
    let noreply = ends_in_noreply(words);
    match words.next().and_then(unsigned) {
        Some(_) => plain(
            used,
            Command::Verbosity,
            Form::Text(TextForm::line(noreply)),
        ),
        None => fault(used, Fault::BadFormat, noreply),
    }
}

fn flush_all<'a>(mut words: Words<'a>, used: usize) -> Parsed<'a> {
    let noreply = ends_in_noreply(words);
    let delay = match words.next() {
        None | Some(b"noreply") => Some(0),
        Some(word) => signed32(word),
    };
    let Some(delay) = delay else {
        return fault(used, Fault::BadExptime, noreply);
    };
    // A negative delay acts as none.
    let delay_secs = u32::try_from(delay).unwrap_or(0);
    let command = Command::Flush { delay_secs };
    plain(used, command, Form::Text(TextForm::line(noreply)))
}

fn stats<'a>(mut words: Words<'a>, used: usize) -> Parsed<'a> {
    let group = StatsGroup::of_name(words.next().unwrap_or_default());
    plain(
        used,
        Command::Stats(group),
        Form::Text(TextForm::line(false)),
    )
}
