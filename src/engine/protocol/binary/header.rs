//! The header of a packet: 24 bytes.

pub const HEADER_BYTES: usize = 24;
pub const REQUEST_MAGIC: u8 = 0x80;
pub const RESPONSE_MAGIC: u8 = 0x81;

/// The header of a request. The fields for data type and vbucket are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub magic: u8,
    pub opcode: u8,
    pub key_bytes: usize,
    pub extras_bytes: usize,
    pub body_bytes: usize,
    pub opaque: [u8; 4],
    pub cas: u64,
}

impl Header {
    /// `None` until all bytes of the header are there.
    #[inline]
    pub fn read(input: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = input.first_chunk()?;
        let [
            magic,
            opcode,
            k0,
            k1,
            extras,
            _,
            _,
            _,
            b0,
            b1,
            b2,
            b3,
            opaque @ ..,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = *bytes;
        let cas: [u8; 8] = *bytes.last_chunk()?;
        Some(Header {
            magic,
            opcode,
            key_bytes: usize::from(u16::from_be_bytes([k0, k1])),
            extras_bytes: usize::from(extras),
            body_bytes: u32::from_be_bytes([b0, b1, b2, b3]) as usize,
            opaque,
            cas: u64::from_be_bytes(cas),
        })
    }

    /// Length of the value. `None` when key and extras are longer than the body.
    pub fn value_bytes(&self) -> Option<usize> {
        self.body_bytes
            .checked_sub(self.key_bytes + self.extras_bytes)
    }

    /// Length of header, extras and key together.
    pub fn head_bytes(&self) -> usize {
        HEADER_BYTES + self.extras_bytes + self.key_bytes
    }
}
