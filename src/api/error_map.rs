//! Why a request came to no answer, in words that say what is wrong and what can be done.

#![forbid(unsafe_code)]

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use ureq::Timeout;

use crate::answer::Failure;

/// What the client's error means.
pub(crate) fn failure(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::HostNotFound => Failure::UnknownHost,
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Failure::Unreachable,
        ureq::Error::Timeout(_) => Failure::TimedOut,
        ureq::Error::Tls(detail) => Failure::Tls(detail.to_owned()),
        ureq::Error::Rustls(error) => Failure::Tls(tls(&error)),
        ureq::Error::Io(error) => io_failure(&error),
        // Said by one of our own transports.
        ureq::Error::Other(problem) => Failure::BrokenAnswer(problem.to_string()),
        error => Failure::BrokenAnswer(error.to_string()),
    }
}

/// What an error within a body means: the answer had begun by then.
pub(crate) fn broken_off(error: io::Error) -> Failure {
    match failure(error.into()) {
        Failure::ConnectionLost => body_breaks_off(),
        failure => failure,
    }
}

pub(crate) fn body_breaks_off() -> Failure {
    Failure::BrokenAnswer("the body breaks off".to_owned())
}

/// Whether a connection ended as one does that was closed, but without TLS's own word for it
/// (RFC 8446, section 6.1). Many servers do not care to send it; so may somebody on the way.
pub(crate) fn is_unannounced_end(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>());
    inner.is_some_and(|inner| inner.kind() == io::ErrorKind::UnexpectedEof)
}

fn io_failure(error: &io::Error) -> Failure {
    use io::ErrorKind;

    // The TLS layer hides its own errors in those of the socket.
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Failure::Tls(tls(error));
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::TimedOut,
        // The agent was shut down.
        ErrorKind::NotConnected => Failure::Stopping,
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => Failure::ConnectionLost,
        _ => Failure::Unreachable,
    }
}

/// What nginx, and what is built on it, says with status 400 when it has not passed the question on,
/// since something is wrong with the connection that it came over. Whoever denied it was not the API.
const NGINX: [(&str, &str); 3] = [
    ("No required SSL certificate was sent", NEEDS_CERTIFICATE),
    ("The SSL certificate error", REFUSES_CERTIFICATE),
    ("The plain HTTP request was sent to HTTPS port", NEEDS_HTTPS),
];

/// Its filling, so that old browsers show its page.
const PADDING: &str = "<!-- a padding to disable MSIE and Chrome friendly error page -->";

/// The page of Go's own server.
const GO: &str = "Client sent an HTTP request to an HTTPS server.";

/// Apache's page, up to its signature.
const APACHE: &str = "<html><head><title>400 Bad Request</title></head><body><h1>Bad Request</h1>\
     <p>Your browser sent a request that this server could not understand.<br />Reason: You're \
     speaking plain HTTP to an SSL-enabled server port.<br />Instead use the HTTPS scheme to access \
     this URL, please.<br /></p>";

const NEEDS_CERTIFICATE: &str =
    "the API's server demands a client certificate: set tls_cert_file and tls_key_file";
const REFUSES_CERTIFICATE: &str = "the API's server does not accept the client certificate of \
     tls_cert_file: its authority must be one that the server trusts, and its time not over";
const NEEDS_HTTPS: &str = "the API's server speaks TLS on this port: set http_protocol https";
const NO_COMMON_VERSION: &str =
    "the API's server offers neither TLS 1.2 nor TLS 1.3: older versions are not safe to use";

/// Whether a 400 with this body comes from a server in front of the API that never asked it. The whole
/// page must be that server's: an API may repeat what a client calls itself, and then it would be for
/// clients to say that the API has failed.
pub(crate) fn not_passed_on(body: &[u8]) -> Option<Failure> {
    let body = String::from_utf8_lossy(body);
    // Versions of Apache differ in the type of their pages.
    let html = body.strip_prefix("<!DOCTYPE").and_then(|rest| rest.split_once('>'));
    let page = closed_up(html.map_or(&*body, |(_, page)| page));
    let nginx = NGINX.iter().find(|(said, _)| is_nginxs(&page, said)).map(|(_, meaning)| *meaning);
    let others = || (page == closed_up(GO) || is_apaches(&page)).then_some(NEEDS_HTTPS);
    nginx.or_else(others).map(|meaning| Failure::Tls(meaning.to_owned()))
}

fn is_nginxs(page: &str, said: &str) -> bool {
    let begin = format!(
        "<html><head><title>400 {said}</title></head><body><center><h1>400 Bad Request</h1></center>\
         <center>{said}</center><hr><center>"
    );
    let name = page.strip_prefix(&closed_up(&begin)).and_then(|rest| {
        let rest = rest.trim_end_matches(&closed_up(PADDING));
        rest.strip_suffix("</center></body></html>")
    });
    name.is_some_and(is_a_name)
}

fn is_apaches(page: &str) -> bool {
    let end =
        page.strip_prefix(&closed_up(APACHE)).and_then(|end| end.strip_suffix("</body></html>"));
    end.is_some_and(|signature| {
        let name = signature.strip_prefix("<hr><address>");
        let name = name.and_then(|name| name.strip_suffix("</address>"));
        signature.is_empty() || name.is_some_and(is_a_name)
    })
}

/// Whether this may be a server's name and version.
fn is_a_name(text: &str) -> bool {
    text.len() < 200 && !text.contains(['<', '>'])
}

/// The text without white space.
fn closed_up(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace()).collect()
}

fn tls(error: &rustls::Error) -> String {
    use rustls::Error;

    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => received(*alert),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => NO_COMMON_VERSION.to_owned(),
        Error::PeerIncompatible(why) => {
            format!("the API's server and the plugin have no way of TLS in common: {why:?}")
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => "the API's server does not speak TLS on this port: set http_protocol http, or the \
              port on which it does"
            .to_owned(),
        error => error.to_string(),
    }
}

/// What is wrong with the certificate that the API's server showed.
fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "no trusted authority vouches for the API's \
             certificate: tls_ca_file (without it, the system) must have its authority, and the \
             API's server must send every intermediate certificate"
            .to_owned(),
        CertificateError::BadSignature => "the API's certificate has a wrong signature: that of \
             an authority which only bears the same name as one in tls_ca_file, or it was forged"
            .to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let host = expected.to_str();
            if presented.is_empty() {
                format!(
                    "the API's certificate names no host: it needs {host} as a subjectAltName, a \
                     common name is not enough"
                )
            } else {
                let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
                let names = names.join(", ");
                format!(
                    "the API's certificate is not for {host}, only for {names}: http_host must be \
                     one of its names"
                )
            }
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the API's certificate, or one that vouches for it, expired {} ago: it must be \
             renewed, unless this machine's clock is wrong",
            span(*not_after, *time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the API's certificate, or one that vouches for it, is not valid before {} have \
             passed: is this machine's clock right?",
            span(*time, *not_before)
        ),
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "the API's certificate is not meant for servers (its extended key usage lacks \
             serverAuth)"
                .to_owned()
        }
        CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
            "the API's certificate is an authority's own (CA:TRUE): the server needs one that was \
             issued by that authority"
                .to_owned()
        }
        CertificateError::Other(error) if error.to_string().contains("UnsupportedCertVersion") => {
            "the API's certificate, or one that vouches for it, is not of X.509 version 3"
                .to_owned()
        }
        error => format!("the API's certificate cannot be verified: {error}"),
    }
}

/// A name in a certificate, without the library's word for its kind: `DnsName("api.example")`.
fn bare(name: &str) -> &str {
    let within = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    within.unwrap_or(name).trim_matches('"')
}

/// What the API's server says is wrong; an alert is all that it says.
fn received(alert: AlertDescription) -> String {
    use AlertDescription as Alert;

    match alert {
        Alert::ProtocolVersion => NO_COMMON_VERSION.to_owned(),
        Alert::CertificateRequired => NEEDS_CERTIFICATE.to_owned(),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => format!("{REFUSES_CERTIFICATE} (alert {alert:?})"),
        Alert::HandshakeFailure => "the API's server ends the handshake: it has no cipher in \
             common with the plugin, or demands a client certificate (tls_cert_file)"
            .to_owned(),
        Alert::UnrecognisedName => {
            "the API's server knows no host of the name in http_host".to_owned()
        }
        alert => format!("the API's server ends the connection with the alert {alert:?}"),
    }
}

/// How long it is from one time to another, in the largest unit that fits.
fn span(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        7_200.. => (seconds / 3_600, "hours"),
        120.. => (seconds / 60, "minutes"),
        _ => (seconds, "seconds"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_is_told_in_the_largest_unit_that_fits() {
        let at = |seconds: u64| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let told = |seconds: u64| span(at(1000), at(1000 + seconds));
        assert_eq!(
            [0, 119, 120, 7_200, 172_799, 172_800, 31_536_000].map(told),
            ["0 seconds", "119 seconds", "2 minutes", "2 hours", "47 hours", "2 days", "365 days"]
        );
        assert_eq!(span(at(5), at(1)), "0 seconds");
    }

    fn nginx(said: &str) -> String {
        format!(
            "<html>\r\n<head><title>400 {said}</title></head>\r\n<body>\r\n<center><h1>400 Bad \
             Request</h1></center>\r\n<center>{said}</center>\r\n<hr><center>nginx/1.22.1\
             </center>\r\n</body>\r\n</html>\r\n"
        )
    }

    fn apache(signature: &str) -> String {
        format!(
            "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\" \"http://www.w3.org/TR/html4/\
             strict.dtd\">\n<html><head>\n<title>400 Bad Request</title>\n</head><body>\n\
             <h1>Bad Request</h1>\n<p>Your browser sent a request that this server could not \
             understand.<br />\nReason: You're speaking plain HTTP to an SSL-enabled server port.\
             <br />\n Instead use the HTTPS scheme to access this URL, please.<br />\n</p>\n\
             {signature}</body></html>\n"
        )
    }

    #[test]
    fn pages_of_servers_that_never_asked_the_api_are_known() {
        for (said, meaning) in NGINX {
            let meaning = Some(Failure::Tls(meaning.to_owned()));
            assert_eq!(not_passed_on(nginx(said).as_bytes()), meaning);
            let padded = format!("{}{}", nginx(said), format!("{PADDING}\r\n").repeat(6));
            assert_eq!(not_passed_on(padded.as_bytes()), meaning);
        }
        let signature = "<hr>\n<address>Apache/2.4.57 (Debian) Server at x Port 443</address>\n";
        let go = "Client sent an HTTP request to an HTTPS server.\n".to_owned();
        for page in [go, apache(""), apache(signature)] {
            let meaning = Some(Failure::Tls(NEEDS_HTTPS.to_owned()));
            assert_eq!(not_passed_on(page.as_bytes()), meaning, "{page}");
        }
        assert_eq!(not_passed_on(b"{\"error\": \"no such user\"}"), None);
    }

    #[test]
    fn no_client_passes_for_such_a_server_by_what_it_calls_itself() {
        let pages = [GO.to_owned(), nginx(NGINX[0].0), nginx(NGINX[2].0), apache("")];
        for page in &pages {
            for name in [page.clone(), page[..page.len() / 2].to_owned()] {
                for body in [
                    format!("{{\"error\": \"no user {name}\"}}"),
                    format!("no user {name}"),
                    format!("{name} is unknown"),
                    format!("<html><head><title>400 no user {name}</title>"),
                ] {
                    assert_eq!(not_passed_on(body.as_bytes()), None, "{body}");
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_with_what_to_do() {
        let certificate = |error| tls(&rustls::Error::InvalidCertificate(error));
        let hint = |error, hint: &str| {
            let said = certificate(error);
            assert!(said.contains(hint), "{said}");
        };
        hint(CertificateError::UnknownIssuer, "tls_ca_file");
        hint(CertificateError::BadSignature, "tls_ca_file");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_000_000));
        let then = UnixTime::since_unix_epoch(Duration::from_secs(2_000_000));
        hint(CertificateError::ExpiredContext { time: then, not_after: now }, "11 days ago");
        hint(CertificateError::NotValidYetContext { time: now, not_before: then }, "clock");
        let expected = || rustls::pki_types::ServerName::try_from("api.example").unwrap();
        let names = |presented| CertificateError::NotValidForNameContext {
            expected: expected(),
            presented,
        };
        let presented = ["DnsName(\"else.example\")", "IpAddress(192.0.2.7)"].map(str::to_owned);
        hint(names(presented.to_vec()), "not for api.example, only for else.example, 192.0.2.7:");
        hint(names(vec![]), "subjectAltName");
    }
}
