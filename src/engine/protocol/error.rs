//! Errors that the protocol defines, and their texts.

/// An error reply that does not come from executing a command. The texts are those of memcached 1.6.45, which has
/// none for a line that is too long: it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    UnknownCommand,
    BadFormat,
    BadChunk,
    BadDelta,
    BadExptime,
    FlagsTooLong,
    DuplicateFlag,
    InvalidFlag,
    InvalidOrDuplicateFlag,
    BadToken,
    BadInitial,
    BadDeltaFlag,
    BadKeyEncoding,
    OpaqueTooLong,
    BadStoreMode,
    BadArithMode,
    ShutdownDisabled,
    Unauthenticated,
    LoginFailed,
    BadLoginFormat,
    LoginTooLong,
    BadLoginEnd,
    /// The cache or the node has as many connections as it may have.
    TooManyConnections,
    OutOfMemory,
    /// The request is longer than there is room for. The connection closes.
    NoRoomForRequest,
    /// The line is longer than a line may be. The connection closes.
    LineTooLong,
    /// Binary: the lengths in the header do not fit together.
    Invalid,
    /// Binary: the SASL mechanism still needs its data.
    LoginGoesOn,
}

impl ProtocolError {
    /// The error line of the text dialects, with its line end.
    pub fn text(self) -> &'static [u8] {
        match self {
            ProtocolError::UnknownCommand => b"ERROR\r\n",
            ProtocolError::BadFormat | ProtocolError::Invalid | ProtocolError::LoginGoesOn => {
                b"CLIENT_ERROR bad command line format\r\n"
            }
            ProtocolError::BadChunk => b"CLIENT_ERROR bad data chunk\r\n",
            ProtocolError::BadDelta => b"CLIENT_ERROR invalid numeric delta argument\r\n",
            ProtocolError::BadExptime => b"CLIENT_ERROR invalid exptime argument\r\n",
            ProtocolError::FlagsTooLong => b"CLIENT_ERROR options flags are too long\r\n",
            ProtocolError::DuplicateFlag => b"CLIENT_ERROR duplicate flag\r\n",
            ProtocolError::InvalidFlag => b"CLIENT_ERROR invalid flag\r\n",
            ProtocolError::InvalidOrDuplicateFlag => b"CLIENT_ERROR invalid or duplicate flag\r\n",
            ProtocolError::BadToken => b"CLIENT_ERROR bad token in command line format\r\n",
            ProtocolError::BadInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
            ProtocolError::BadDeltaFlag => b"CLIENT_ERROR invalid numeric delta value\r\n",
            ProtocolError::BadKeyEncoding => b"CLIENT_ERROR error decoding key\r\n",
            ProtocolError::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
            ProtocolError::BadStoreMode => b"CLIENT_ERROR invalid mode for ms M token\r\n",
            ProtocolError::BadArithMode => b"CLIENT_ERROR invalid mode for ma M token\r\n",
            ProtocolError::ShutdownDisabled => b"SERVER_ERROR: shutdown not enabled\r\n",
            ProtocolError::Unauthenticated => b"CLIENT_ERROR unauthenticated\r\n",
            ProtocolError::LoginFailed => b"CLIENT_ERROR authentication failure\r\n",
            ProtocolError::BadLoginFormat => b"CLIENT_ERROR bad authentication token format\r\n",
            ProtocolError::LoginTooLong => b"CLIENT_ERROR auth token too long\r\n",
            ProtocolError::BadLoginEnd => b"CLIENT_ERROR bad command line termination\r\n",
            ProtocolError::TooManyConnections => b"ERROR Too many open connections\r\n",
            ProtocolError::NoRoomForRequest => b"SERVER_ERROR out of memory reading request\r\n",
            ProtocolError::LineTooLong => b"CLIENT_ERROR line too long\r\n",
            ProtocolError::OutOfMemory => b"SERVER_ERROR out of memory storing object\r\n",
        }
    }
}
