//! When a certificate expires: the one field of X.509 that nothing else here reads.

use rustls::pki_types::CertificateDer;

/// Seconds from the Unix epoch to the certificate's `notAfter`; `None` if it cannot be read.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    const SEQUENCE: u8 = 0x30;
    let (_, certificate) = (element(certificate, Some(SEQUENCE))?).into_parts();
    let (_, to_be_signed) = (element(certificate, Some(SEQUENCE))?).into_parts();
    let mut rest = to_be_signed;
    // [0] version, which version 1 leaves out; then serial number, algorithm, issuer.
    if element(rest, None)?.tag == 0xa0 {
        rest = element(rest, None)?.after;
    }
    for _ in 0..3 {
        rest = element(rest, None)?.after;
    }
    let (_, validity) = (element(rest, Some(SEQUENCE))?).into_parts();
    let until = element(element(validity, None)?.after, None)?;
    time(until.tag, until.content)
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    after: &'a [u8],
}

impl<'a> Element<'a> {
    fn into_parts(self) -> (&'a [u8], &'a [u8]) {
        (self.after, self.content)
    }
}

/// The first element of some DER, of the tag if one is given.
fn element(der: &[u8], tag: Option<u8>) -> Option<Element<'_>> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Longer than 2^32 bytes is no certificate.
        let bytes = usize::from(first & 0x7f);
        let digits = rest.get(..bytes).filter(|_| (1..=4).contains(&bytes))?;
        let length = digits
            .iter()
            .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        (length, rest.get(bytes..)?)
    };
    let (content, after) = rest.split_at_checked(length)?;
    let element = Element {
        tag: found,
        content,
        after,
    };
    tag.is_none_or(|tag| tag == found).then_some(element)
}

/// A `UTCTime` or `GeneralizedTime` as RFC 5280, section 4.1.2.5, allows them: in seconds, in UTC.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let number = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (number(0)?, number(2)?);
    let seconds = number(4)? * 3600 + number(6)? * 60 + number(8)?;
    (1..=12)
        .contains(&month)
        .then(|| days(year, month, day) * 86400 + seconds)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March end with the day that some have and some have not.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2000, 3, 1), 11_017);
        assert_eq!(days(2100, 3, 1), 47_541);
        assert_eq!(time(0x17, b"260101000000Z"), Some(1_767_225_600));
        assert_eq!(time(0x17, b"991231235959Z"), Some(946_684_799));
        assert_eq!(time(0x18, b"20500101000000Z"), Some(2_524_608_000));
        for bad in [
            &b"260101000000"[..],
            b"2601",
            b"261301000000Z",
            b"xx0101000000Z",
        ] {
            assert_eq!(time(0x17, bad), None);
        }
    }

    #[test]
    fn the_end_is_read_from_real_certificates() {
        for (year, expected) in [(2031, 1_924_992_000), (2077, 3_376_684_800)] {
            let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(not_after(certificate.der()), Some(expected));
        }
        assert_eq!(
            not_after(&CertificateDer::from(vec![0x30, 0x82, 0xff])),
            None
        );
        assert_eq!(not_after(&CertificateDer::from(Vec::new())), None);
    }
}
