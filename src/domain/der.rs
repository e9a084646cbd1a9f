//! As much of a certificate's encoding as it takes to read whom it names and when it ends (X.690, 8.1; RFC 5280, 4.1).
//!
//! Anybody sends certificates: what is read here proves nothing, no length is taken at its word, and bytes that are no
//! certificate have neither name nor end.

/// A tagged value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    pub tag: u8,
    pub value: &'a [u8],
}

/// The version, which comes before the serial number and may be left out.
const VERSION: u8 = 0xa0;
/// Fields of the signed part, counted from the serial number; signature algorithm and issuer stand before them.
const VALIDITY: usize = 3;
const SUBJECT: usize = 4;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The end of its validity: the second of two times.
pub fn not_after(certificate: &[u8]) -> Option<Element<'_>> {
    elements(signed_field(certificate, VALIDITY)?.value).nth(1)
}

/// The common name of its subject, as it is written there.
pub fn common_name(certificate: &[u8]) -> Option<&[u8]> {
    let subject = signed_field(certificate, SUBJECT)?;
    let mut attributes = elements(subject.value).flat_map(|set| elements(set.value));
    attributes.find_map(|attribute| {
        let mut parts = elements(attribute.value);
        let kind = parts.next()?;
        let is_common_name = kind.tag == OBJECT_IDENTIFIER && kind.value == COMMON_NAME;
        let name = parts.next().filter(|_| is_common_name)?;
        Some(name.value)
    })
}

fn signed_field(certificate: &[u8], number: usize) -> Option<Element<'_>> {
    let (certificate, _) = element(certificate)?;
    let (signed, _) = element(certificate.value)?;
    elements(signed.value)
        .filter(|field| field.tag != VERSION)
        .nth(number)
}

fn elements(mut rest: &[u8]) -> impl Iterator<Item = Element<'_>> {
    std::iter::from_fn(move || {
        let (next, after) = element(rest)?;
        rest = after;
        Some(next)
    })
}

/// The first element and what follows it.
fn element(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let digits = rest.get(..usize::from(first & 0x7f).min(8))?;
        let length = digits
            .iter()
            .fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit));
        (length, &rest[digits.len()..])
    };
    let value = rest.get(..length)?;
    Some((Element { tag, value }, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const UTF8: u8 = 0x0c;

    fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        let mut der = vec![tag];
        if length >= 0x80 {
            der.push(0x81);
        }
        der.push(length);
        der.extend(value);
        der
    }

    fn attribute(kind: &[u8], value: &[u8]) -> Vec<u8> {
        let both = [tagged(OBJECT_IDENTIFIER, kind), tagged(UTF8, value)].concat();
        tagged(SET, &tagged(SEQUENCE, &both))
    }

    /// As much of a certificate as is read.
    fn certificate(version: bool, subject: &[u8]) -> Vec<u8> {
        let times = [
            tagged(0x17, b"260101000000Z"),
            tagged(0x17, b"270101000000Z"),
        ]
        .concat();
        let fields = [
            tagged(VERSION, &[2, 1, 2]),
            tagged(0x02, &[7]),
            tagged(SEQUENCE, b""),
            tagged(SEQUENCE, &attribute(COMMON_NAME, b"Larder clients 1")),
            tagged(SEQUENCE, &times),
            tagged(SEQUENCE, subject),
        ];
        let signed = fields[usize::from(!version)..].concat();
        tagged(SEQUENCE, &tagged(SEQUENCE, &signed))
    }

    #[test]
    fn the_subject_s_common_name_is_read_and_no_other_name() {
        let organisation = attribute(&[0x55, 0x04, 0x0a], b"Shop");
        let subject = [organisation.clone(), attribute(COMMON_NAME, b"4F2A90")].concat();
        for version in [true, false] {
            let both = certificate(version, &subject);
            assert_eq!(common_name(&both), Some(&b"4F2A90"[..]));
            let end = not_after(&both).unwrap();
            assert_eq!((end.tag, end.value), (0x17, &b"270101000000Z"[..]));
            let without = certificate(version, &organisation);
            assert_eq!(common_name(&without), None);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_name() {
        let whole = certificate(true, &attribute(COMMON_NAME, b"4F2A90"));
        for length in 0..whole.len() {
            assert_eq!(common_name(&whole[..length]), None);
        }
        for huge in [
            &[0x30, 0xff][..],
            &[0x30, 0x88, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert_eq!(common_name(huge), None);
        }
    }
}
