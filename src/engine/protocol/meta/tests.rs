use crate::engine::protocol::text::{LineScan, parse};
use crate::engine::protocol::{Command, Limits, Parsed, ProtocolError};
use crate::engine::storage::{ArithDirection, Exptime, StoreMode};

fn command(line: &str) -> Result<Command<'_>, ProtocolError> {
    match parse(
        line.as_bytes(),
        &mut LineScan::default(),
        &Limits::default(),
    ) {
        Parsed::Request { request, .. } => Ok(request.command),
        Parsed::Error { error, .. } => Err(error),
        other => panic!("{line:?} gave {other:?}"),
    }
}

#[test]
fn mg_flags_become_options() {
    let Ok(Command::Get { key, options }) = command("mg k v T30 N60 R5 u q\r\n") else {
        panic!("no get");
    };
    assert_eq!(&*key, b"k");
    assert_eq!(options.touch, Some(Exptime::Relative(30)));
    assert_eq!(options.vivify, Some(Exptime::Relative(60)));
    assert_eq!(options.recache_before, Some(Exptime::Relative(5)));
    assert!(options.no_bump && !options.uncounted);
}

#[test]
fn ms_modes_and_cas() {
    let store = |line| match command(line) {
        Ok(Command::Store { request, .. }) => (request.mode, request.cas, request.invalidate),
        other => panic!("{line:?} gave {other:?}"),
    };
    assert_eq!(
        store("ms k 0 C7 I\r\n\r\n"),
        (StoreMode::Set, Some(7), true)
    );
    assert_eq!(
        store("ms k 0 MR C0\r\n\r\n"),
        (StoreMode::Replace, Some(0), false)
    );
    assert_eq!(store("ms k 0 ME C7\r\n\r\n"), (StoreMode::Add, None, false));
    assert_eq!(
        store("ms k 0 MA C0\r\n\r\n"),
        (StoreMode::Append, None, false)
    );
}

#[test]
fn ma_counts_by_one_unless_told() {
    let arith = |line| match command(line) {
        Ok(Command::Arith { request, .. }) => (request.direction, request.delta, request.initial),
        other => panic!("{line:?} gave {other:?}"),
    };
    assert_eq!(arith("ma k\r\n"), (ArithDirection::Increment, 1, None));
    let made = Some((9, Exptime::Never));
    assert_eq!(
        arith("ma k MD D5 N0 J9\r\n"),
        (ArithDirection::Decrement, 5, made)
    );
}

#[test]
fn base64_keys_are_decoded() {
    let Ok(Command::Delete { key, .. }) = command("md YSBiAA== b\r\n") else {
        panic!("no delete");
    };
    assert_eq!(&*key, b"a b\0");
}

#[test]
fn each_mistake_has_its_text() {
    for (line, error) in [
        ("mg\r\n", ProtocolError::BadFormat),
        ("mg k s s\r\n", ProtocolError::DuplicateFlag),
        ("mg k z\r\n", ProtocolError::InvalidFlag),
        ("mg k Tx\r\n", ProtocolError::BadToken),
        ("mg k Tx z\r\n", ProtocolError::InvalidFlag),
        ("mg !!! b\r\n", ProtocolError::BadKeyEncoding),
        (
            "mg k Oxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
            ProtocolError::OpaqueTooLong,
        ),
        ("ms k x\r\n", ProtocolError::BadFormat),
        ("ms k 0 MX\r\n\r\n", ProtocolError::BadStoreMode),
        ("ma k Dx\r\n", ProtocolError::InvalidOrDuplicateFlag),
        ("ma k MX\r\n", ProtocolError::BadArithMode),
        ("ma\r\n", ProtocolError::BadFormat),
    ] {
        assert_eq!(command(line).unwrap_err(), error, "{line:?}");
    }
}
