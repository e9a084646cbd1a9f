use super::*;
use crate::engine::protocol::{Command, Limits, Parsed, ProtocolError};
use crate::engine::storage::StoreMode;

fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![REQUEST_MAGIC, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend([0; 12]);
    for part in [extras, key, value] {
        bytes.extend(part);
    }
    bytes
}

#[test]
fn every_opcode_has_a_defined_answer_to_every_shape() {
    let limits = Limits::default();
    for opcode in 0..=255 {
        for extras in [0, 4, 8, 20] {
            for key in [&b""[..], b"k"] {
                for value in [&b""[..], b"v"] {
                    let input = packet(opcode, &vec![0; extras], key, value);
                    match parse(&input, &limits) {
                        Parsed::Request { used, swallow, .. } => {
                            assert_eq!(used + swallow, input.len(), "{opcode:02x}");
                        }
                        Parsed::Error { used, swallow, .. } => {
                            assert_eq!(used + swallow, input.len(), "{opcode:02x}");
                        }
                        Parsed::Close(Some((ProtocolError::Invalid, _))) => {}
                        other => panic!("{opcode:02x} gave {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_store_waits_for_its_value() {
    let input = packet(0x01, &[0; 8], b"key", b"value");
    let limits = Limits::default();
    for end in 0..input.len() {
        let parsed = parse(&input[..end], &limits);
        match parsed {
            Parsed::Partial => assert!(end < 35),
            Parsed::NeedsBlock { head: 35, block: 5 } => assert!(end >= 35),
            other => panic!("{end}: {other:?}"),
        }
    }
}

#[test]
fn a_cas_turns_all_modes_into_compare_and_set() {
    for (opcode, cas, mode) in [
        (0x01, 0, StoreMode::Set),
        (0x02, 0, StoreMode::Add),
        (0x02, 9, StoreMode::Set),
        (0x03, 0, StoreMode::Replace),
        (0x03, 9, StoreMode::Set),
        (0x0e, 9, StoreMode::Append),
    ] {
        let extras = if opcode == 0x0e { &[][..] } else { &[0; 8] };
        let mut input = packet(opcode, extras, b"k", b"v");
        input[23] = cas;
        let Parsed::Request { request, .. } = parse(&input, &Limits::default()) else {
            panic!("{opcode:02x}");
        };
        let Command::Store { request, .. } = request.command else {
            panic!("{opcode:02x}");
        };
        assert_eq!(
            (request.mode, request.cas.unwrap_or(0)),
            (mode, u64::from(cas))
        );
    }
}

#[test]
fn lengths_that_lie_close_the_connection() {
    let limits = Limits::default();
    let mut short_body = packet(0x00, &[], b"key", b"");
    short_body[11] = 2;
    assert!(matches!(
        parse(&short_body, &limits),
        Parsed::Close(Some((ProtocolError::UnknownCommand, _)))
    ));
    let mut huge = packet(0x01, &[0; 8], b"k", b"");
    huge[8] = 0xff;
    assert!(matches!(
        parse(&huge, &limits),
        Parsed::Close(Some((ProtocolError::Invalid, _)))
    ));
    let mut other_magic = packet(0x0a, &[], b"", b"");
    other_magic[0] = 0x81;
    assert!(matches!(parse(&other_magic, &limits), Parsed::Close(None)));
}

#[test]
fn sasl_data_is_bounded() {
    let limits = Limits::default();
    let auth = |data: usize| packet(0x21, &[], b"PLAIN", &vec![b'x'; data]);
    assert!(matches!(
        parse_sasl(&auth(1024), &limits),
        SaslParsed::Packet {
            request: SaslRequest::Auth { .. },
            ..
        }
    ));
    assert!(matches!(
        parse_sasl(&auth(1025), &limits),
        SaslParsed::Packet {
            request: SaslRequest::DataTooLong { swallow: 1030 },
            ..
        }
    ));
    assert!(matches!(
        parse_sasl(&auth(4)[..25], &limits),
        SaslParsed::Partial
    ));
}
