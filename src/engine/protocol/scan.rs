//! Finding a byte in short texts. Tokens and keys are so short that calling a vectorised search function would cost more
//! than it saves. The compiler turns these loops into a few vector instructions per sixteen bytes.

const CHUNK: usize = 16;

/// Counts the bytes that this thread has searched, in builds with debug assertions. Tests use it to find searches that are
/// repeated for each part of a request.
pub mod searched {
    use std::cell::Cell;

    thread_local! {
        static BYTES: Cell<u64> = const { Cell::new(0) };
    }

    #[cfg(debug_assertions)]
    pub(super) fn note(bytes: usize) {
        BYTES.set(BYTES.get() + bytes as u64);
    }

    /// 0 without debug assertions.
    pub fn bytes() -> u64 {
        BYTES.get()
    }
}

/// The position of the first byte for which `is_sought` is true.
#[inline(always)]
pub fn position(text: &[u8], is_sought: impl Fn(u8) -> bool) -> Option<usize> {
    let found = search(text, is_sought);
    #[cfg(debug_assertions)]
    searched::note(found.map_or(text.len(), |at| at + 1));
    found
}

#[inline(always)]
fn search(text: &[u8], is_sought: impl Fn(u8) -> bool) -> Option<usize> {
    let (chunks, _) = text.as_chunks::<CHUNK>();
    for (number, chunk) in chunks.iter().enumerate() {
        if let Some(at) = position_in(chunk, &is_sought) {
            return Some(number * CHUNK + at);
        }
    }
    match text.last_chunk::<CHUNK>() {
        // The last chunk may overlap the one before. Nothing was found there, so the overlap does no harm.
        Some(last) => position_in(last, &is_sought).map(|at| text.len() - CHUNK + at),
        None => text.iter().position(|&byte| is_sought(byte)),
    }
}

#[inline(always)]
fn position_in(chunk: &[u8; CHUNK], is_sought: &impl Fn(u8) -> bool) -> Option<usize> {
    // First whether the chunk has such a byte at all, then where: most chunks have none, and the first question is
    // cheaper.
    let is_in = |found, &byte| found | is_sought(byte);
    if !chunk.iter().fold(false, is_in) {
        return None;
    }
    let marks = chunk.map(|byte| if is_sought(byte) { u8::MAX } else { 0 });
    Some(u128::from_le_bytes(marks).trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_at_every_position() {
        let is_blank = |byte| byte == b' ';
        for length in 0..40 {
            let text = vec![b'x'; length];
            assert_eq!(position(&text, is_blank), None);
            for at in 0..length {
                for other in [b'x', 0x1f, 0x21, 0x80, 0xa0, 0xff] {
                    let mut text = vec![other; length];
                    text[at] = b' ';
                    text[length - 1] = b' ';
                    assert_eq!(position(&text, is_blank), Some(at), "{text:?}");
                }
            }
        }
    }
}
