//! Requests that cannot be understood or may not be made, and their texts.

/// A refusal that does not come from executing a command. Texts are those of memcached 1.6.45.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
    /// The cache or the node has no room for another connection.
    TooManyConnections,
    OutOfMemory,
    /// Binary: lengths that do not fit together.
    Invalid,
    /// Binary: a SASL mechanism awaits its data.
    LoginGoesOn,
}

impl Fault {
    /// The line of the text dialects, with its end.
    pub fn text(self) -> &'static [u8] {
        match self {
            Fault::UnknownCommand => b"ERROR\r\n",
            Fault::BadFormat | Fault::Invalid | Fault::LoginGoesOn => {
                b"CLIENT_ERROR bad command line format\r\n"
            }
            Fault::BadChunk => b"CLIENT_ERROR bad data chunk\r\n",
            Fault::BadDelta => b"CLIENT_ERROR invalid numeric delta argument\r\n",
            Fault::BadExptime => b"CLIENT_ERROR invalid exptime argument\r\n",
            Fault::FlagsTooLong => b"CLIENT_ERROR options flags are too long\r\n",
            Fault::DuplicateFlag => b"CLIENT_ERROR duplicate flag\r\n",
            Fault::InvalidFlag => b"CLIENT_ERROR invalid flag\r\n",
            Fault::InvalidOrDuplicateFlag => b"CLIENT_ERROR invalid or duplicate flag\r\n",
            Fault::BadToken => b"CLIENT_ERROR bad token in command line format\r\n",
            Fault::BadInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
            Fault::BadDeltaFlag => b"CLIENT_ERROR invalid numeric delta value\r\n",
            Fault::BadKeyEncoding => b"CLIENT_ERROR error decoding key\r\n",
            Fault::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
            Fault::BadStoreMode => b"CLIENT_ERROR invalid mode for ms M token\r\n",
            Fault::BadArithMode => b"CLIENT_ERROR invalid mode for ma M token\r\n",
            Fault::ShutdownDisabled => b"SERVER_ERROR: shutdown not enabled\r\n",
            Fault::Unauthenticated => b"CLIENT_ERROR unauthenticated\r\n",
            Fault::LoginFailed => b"CLIENT_ERROR authentication failure\r\n",
            Fault::BadLoginFormat => b"CLIENT_ERROR bad authentication token format\r\n",
            Fault::LoginTooLong => b"CLIENT_ERROR auth token too long\r\n",
            Fault::BadLoginEnd => b"CLIENT_ERROR bad command line termination\r\n",
            Fault::TooManyConnections => b"ERROR Too many open connections\r\n",
            Fault::OutOfMemory => b"SERVER_ERROR out of memory storing object\r\n",
        }
    }
}
