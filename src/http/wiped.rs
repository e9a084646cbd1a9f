//! JSON that holds a secret, on its way out. Its bytes are wiped when they were sent (security.md ST-9).

use std::io;

use axum::body::Bytes;
use secrecy::zeroize::Zeroizing;
use serde::Serialize;

/// Writes `value` as the body of an answer or a call.
///
/// # Errors
/// When it has no form in JSON, as a map whose keys are no texts.
pub fn json(value: &impl Serialize) -> serde_json::Result<Bytes> {
    // A buffer that grew would leave its former bytes behind, so its length is found first.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value)?;
    let mut text = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *text, value)?;
    Ok(Bytes::from_owner(text))
}

/// Counts what is written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
