//! Reads the values of options: text in, a typed value or what is allowed out.

#![forbid(unsafe_code)]

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::env;
use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

use crate::field::Field;
use crate::form;
use crate::secret::Secret;

/// What would have been allowed.
type Allowed = String;

pub(crate) fn number(text: &str, range: &RangeInclusive<u64>, unit: &str) -> Result<u64, Allowed> {
    match text.parse() {
        // `parse` takes a leading plus sign; nobody means one.
        Ok(number) if range.contains(&number) && !text.starts_with('+') => Ok(number),
        _ => Err(format!("a whole number of {unit} from {} to {}", range.start(), range.end())),
    }
}

pub(crate) fn seconds(text: &str, range: RangeInclusive<u64>) -> Result<Duration, Allowed> {
    number(text, &range, "seconds").map(Duration::from_secs)
}

pub(crate) fn millis(text: &str, range: RangeInclusive<u64>) -> Result<Duration, Allowed> {
    number(text, &range, "milliseconds").map(Duration::from_millis)
}

/// How long an answer lives, in seconds.
pub(crate) fn lifetime(text: &str) -> Result<Duration, Allowed> {
    const YEAR_S: u64 = 365 * 24 * 60 * 60;
    seconds(text, 0..=YEAR_S)
}

/// A number of bytes, as it is or in binary units (IEC 80000-13).
pub(crate) fn bytes(text: &str, range: &RangeInclusive<u64>) -> Result<u64, Allowed> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1u64)];
    let parsed = units.iter().find_map(|(suffix, factor)| {
        let count = text.strip_suffix(suffix)?.trim_end();
        // `parse` takes a leading plus sign; nobody means one.
        let count = count.parse::<u64>().ok().filter(|_| !count.starts_with('+'))?;
        count.checked_mul(*factor)
    });
    parsed.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
        format!(
            "a number of bytes from {} to {}, or of KiB, MiB or GiB (64 MiB)",
            range.start(),
            range.end()
        )
    })
}

pub(crate) fn flag(text: &str) -> Result<bool, Allowed> {
    choice(text, &[("true", true), ("false", false)])
}

pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Allowed> {
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            Err(names.join(", "))
        }
    }
}

/// A comma list of fields, each at most once.
pub(crate) fn fields(text: &str, known: &[Field]) -> Result<Vec<Field>, Allowed> {
    let known: Vec<_> = known.iter().map(|field| (field.name(), *field)).collect();
    choices(text, &known)
}

/// A comma list of words.
pub(crate) fn choices<T: Copy + PartialEq>(
    text: &str,
    known: &[(&str, T)],
) -> Result<Vec<T>, Allowed> {
    let allowed = || {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        format!("a comma list, each name once, out of {}", names.join(", "))
    };
    let mut chosen = Vec::new();
    for name in text.split(',').map(str::trim) {
        let (_, choice) = known.iter().find(|(known, _)| *known == name).ok_or_else(allowed)?;
        if chosen.contains(choice) {
            return Err(allowed());
        }
        chosen.push(*choice);
    }
    Ok(chosen)
}

/// An absolute path with an optional query, as it stands in a request line (RFC 9112, 3.2.1).
pub(crate) fn route(text: &str) -> Result<String, Allowed> {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if text.starts_with('/') && printable {
        Ok(text.to_owned())
    } else {
        Err("a path that begins with / and holds printable ASCII without blanks and #, \
             such as /auth/user"
            .to_owned())
    }
}

/// A comma list of `host[:port]`; the port is none where it is not written.
pub(crate) fn hosts(text: &str) -> Result<Vec<(String, Option<u16>)>, Allowed> {
    let parsed: Option<Vec<_>> = text.split(',').map(|host| host_and_port(host.trim())).collect();
    parsed.ok_or_else(|| {
        "a comma list of host[:port], each a name, an IPv4 address, or an IPv6 address (with a \
         port: in brackets); the scheme goes into http_protocol, the path into the routes"
            .to_owned()
    })
}

fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return match rest.strip_prefix(':') {
            Some(digits) => Some((address.to_owned(), Some(port(digits)?))),
            None => rest.is_empty().then(|| (address.to_owned(), None)),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, Some(port(digits)?)),
        None => (text, None),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!host.is_empty() && host.bytes().all(name)).then(|| (host.to_owned(), port))
}

/// An address of this machine with a port, to listen on. No name: it could mean several.
pub(crate) fn listener(text: &str) -> Result<SocketAddr, Allowed> {
    let address = text.parse().ok().filter(|address: &SocketAddr| address.port() > 0);
    address.ok_or_else(|| {
        "an IP address of this machine and a port, such as 127.0.0.1:9180 or [::1]:9180".to_owned()
    })
}

fn port(digits: &str) -> Option<u16> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| all_digits && *port > 0)
}

/// `key=value&`, escaped for a form.
pub(crate) fn form_parameter(key: &str, value: &str) -> String {
    format!("{key}={}&", form::escaped(value.as_bytes(), "%20"))
}

/// Header fields that the plugin sets itself, or that would change how the message is framed.
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether the option may set this header field: a token (RFC 9110, section 5.6.2) that is not one
/// of the plugin's own.
pub(crate) fn header_name(name: &str) -> Result<(), Allowed> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("http_header_NAME must end in the name of a header field".to_owned());
    }
    if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err("this header field is the plugin's own to set".to_owned());
    }
    Ok(())
}

/// A secret: itself, or what is in the file `@path` or in the environment as `$NAME`, without the blanks
/// around it.
pub(crate) fn secret(text: &str) -> Result<Secret, String> {
    let value = if let Some(path) = text.strip_prefix('@') {
        let place = reference(path, path.starts_with('/'));
        fs::read(path).map_err(|error| format!("cannot read the file {place}: {error}"))?
    } else if let Some(name) = text.strip_prefix('$') {
        let usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let place = reference(name, name.bytes().all(usual));
        let value = env::var_os(name)
            .ok_or_else(|| format!("the environment variable {place} is not set"))?;
        value.into_encoded_bytes()
    } else {
        text.as_bytes().to_vec()
    };
    let value = Zeroizing::new(value);
    Ok(Secret::new(value.trim_ascii().to_vec()))
}

/// A header's value: as it is, `@path` from a file, `$NAME` from the environment. What is said of
/// an error never shows the value.
pub(crate) fn header_value(text: &str) -> Result<Secret, String> {
    let value = secret(text)?;
    let value = value.expose();
    let visible = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    if value.is_empty() {
        return Err("the header's value is empty".to_owned());
    }
    if !value.iter().all(|byte| visible(*byte)) {
        return Err("the header's value holds a control character or a line end".to_owned());
    }
    Ok(Secret::new(value.to_vec()))
}

/// Where a header's value is to be found. Shown only if it looks like that: it may as well be a secret
/// that begins with the character by which a place is named.
fn reference(place: &str, is_usual: bool) -> String {
    if is_usual { format!("{place:?}") } else { "that the value names".to_owned() }
}

/// Certificates in PEM (RFC 7468), as DER.
pub(crate) fn certificates(path: &str) -> Result<Vec<Vec<u8>>, Allowed> {
    let readable = "the path of a readable PEM file with at least one certificate";
    let pem = fs::read(Path::new(path)).map_err(|error| format!("{readable} ({error})"))?;
    let certificates: Result<Vec<_>, _> = certificates_in(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{readable} (it holds none)")),
        Err(error) => Err(format!("{readable} ({error})")),
    }
}

fn certificates_in(pem: &[u8]) -> impl Iterator<Item = Result<Vec<u8>, String>> {
    ureq::tls::parse_pem(pem).filter_map(|item| match item {
        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(Ok(certificate.der().to_vec())),
        Ok(_) => None,
        Err(error) => Some(Err(error.to_string())),
    })
}

/// The private key of a certificate, in PEM (PKCS #8, PKCS #1 or SEC 1).
pub(crate) fn private_key(path: &str, chain: &[Vec<u8>]) -> Result<Secret, Allowed> {
    let readable = "the path of a readable PEM file with the private key of tls_cert_file";
    let pem = fs::read(Path::new(path)).map_err(|error| format!("{readable} ({error})"))?;
    let pem = Secret::new(pem);
    let wrong = |error: String| format!("{readable} ({error})");
    let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|e| wrong(e.to_string()))?;
    let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|e| wrong(e.to_string()))?;
    Ok(pem)
}

/// The system's own certificate authorities, as DER.
pub(crate) fn system_roots() -> Result<Vec<Vec<u8>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let cause = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "http_protocol https: the system has no certificate authorities{cause}; install \
             ca-certificates or set tls_ca_file"
        ));
    }
    Ok(found.certs.into_iter().map(|certificate| certificate.to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        let read = |text: &str| hosts(text).ok();
        let one = |host: &str, port| Some(vec![(host.to_owned(), port)]);
        assert_eq!(read("api.example.com"), one("api.example.com", None));
        assert_eq!(read("10.0.0.1:8080"), one("10.0.0.1", Some(8080)));
        assert_eq!(read("::1"), one("::1", None));
        assert_eq!(read("[::1]"), one("::1", None));
        assert_eq!(read("[2001:db8::1]:443"), one("2001:db8::1", Some(443)));
        let two = vec![("a".to_owned(), None), ("b".to_owned(), Some(81))];
        assert_eq!(read("a, b:81"), Some(two));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "", ",", "a,", "http://a", "a/b", "a b", "a:", "a:0", "a:65536", "a:+1", "[::1", "[a]",
            "[::1]x", "a:b:c", "user@a", "ä",
        ] {
            assert!(hosts(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        for text in ["127.0.0.1:9180", "[::1]:9180", "0.0.0.0:1", "[::]:65535"] {
            assert_eq!(listener(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "9180",
            ":9180",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "::1:9180",
            "localhost:9180",
            "http://127.0.0.1:9180",
            "127.0.0.1:9180/metrics",
        ] {
            assert!(listener(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_stay_in_their_range() {
        assert_eq!(number("7", &(0..=9), "things"), Ok(7));
        for text in ["", "10", "-1", "+7", "7s", " 7", "99999999999999999999", "1e1", "0x1"] {
            let allowed = number(text, &(0..=9), "things").unwrap_err();
            assert_eq!(allowed, "a whole number of things from 0 to 9", "{text:?}");
        }
    }

    #[test]
    fn bytes_take_binary_units() {
        let range = 1..=u64::MAX;
        assert_eq!(bytes("1048576", &range), Ok(1 << 20));
        assert_eq!(bytes("64 MiB", &range), Ok(64 << 20));
        assert_eq!(bytes("1GiB", &range), Ok(1 << 30));
        for text in ["", "MiB", "1 MB", "-1", "+1", "+64 MiB", "99999999999 GiB", "0"] {
            assert!(bytes(text, &range).is_err(), "{text:?}");
        }
    }

    #[test]
    fn routes_are_paths() {
        assert_eq!(route("/auth/user?check=1"), Ok("/auth/user?check=1".to_owned()));
        for text in ["", "auth", "/a b", "/a#b", "/ä", "http://api/user"] {
            assert!(route(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn header_values_come_from_the_option_a_file_or_the_environment() {
        let secret = |text: &[u8]| Secret::new(text.to_vec());
        assert_eq!(header_value("Bearer abc").unwrap(), secret(b"Bearer abc"));
        let path = env::temp_dir().join(format!("header-{}", std::process::id()));
        fs::write(&path, "from a file\n").unwrap();
        assert_eq!(header_value(&format!("@{}", path.display())).unwrap(), secret(b"from a file"));
        fs::remove_file(path).unwrap();
        let path = env::var("PATH").unwrap();
        assert_eq!(header_value("$PATH").unwrap(), secret(path.as_bytes()));
        for text in ["", "@/does/not/exist", "$DOES_NOT_EXIST_ANYWHERE", "a\nb"] {
            assert!(header_value(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_secret_that_begins_like_a_place_is_not_shown() {
        for text in ["$hunter2", "$2b$10$hunter2", "@hunter2", "@hunter2/HUNTER2"] {
            let problem = header_value(text).unwrap_err();
            assert!(!problem.to_lowercase().contains("hunter2"), "{problem}");
        }
        assert!(header_value("$DOES_NOT_EXIST").unwrap_err().contains("\"DOES_NOT_EXIST\""));
        assert!(header_value("@/does/not/exist").unwrap_err().contains("\"/does/not/exist\""));
    }

    #[test]
    fn headers_that_frame_the_message_are_not_to_be_set() {
        assert!(header_name("X-Api-Key").is_ok() && header_name("Host").is_ok());
        for name in ["", "a b", "a:b", "Content-Length", "transfer-encoding", "Content-Type"] {
            assert!(header_name(name).is_err(), "{name:?}");
        }
    }
}
