//! The end of certificates made here, and of broken ones.

use super::*;

#[test]
fn the_end_of_a_certificate_is_read() {
    for (year, end) in [(2031, 1_924_992_000), (2061, 2_871_763_200)] {
        let mut params = rcgen::CertificateParams::new(["cache.example.com".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(not_after(certificate.der()), Some(end), "{year}");
        for length in 0..certificate.der().len().min(300) {
            let _ = not_after(&certificate.der()[..length]);
        }
    }
    assert_eq!(not_after(b""), None);
}
