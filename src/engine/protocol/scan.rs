//! Where a byte of some kind stands. Words and keys are so short that the call of a vector search would cost more than
//! it saves; these loops are compiled to a few vector instructions for every sixteen bytes.

const CHUNK: usize = 16;

/// The place of the first byte that is sought.
#[inline(always)]
pub fn position(text: &[u8], is_sought: impl Fn(u8) -> bool) -> Option<usize> {
    let (chunks, _) = text.as_chunks::<CHUNK>();
    for (number, chunk) in chunks.iter().enumerate() {
        if let Some(at) = position_in(chunk, &is_sought) {
            return Some(number * CHUNK + at);
        }
    }
    match text.last_chunk::<CHUNK>() {
        // What it has in common with the chunks before was not found there.
        Some(last) => position_in(last, &is_sought).map(|at| text.len() - CHUNK + at),
        None => text.iter().position(|&byte| is_sought(byte)),
    }
}

#[inline(always)]
fn position_in(chunk: &[u8; CHUNK], is_sought: &impl Fn(u8) -> bool) -> Option<usize> {
    // Asked for all bytes, and where only if there is one: most chunks have none.
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
    fn a_byte_is_found_wherever_it_stands() {
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
