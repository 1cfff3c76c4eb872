//! What must never stand in a broker's log, whatever its level: the passwords that were sent to it, the
//! values of its secret headers, its keys. Every broker's log is looked through when it ends.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A secret that is shorter may stand in a log for another reason.
const TELLING: usize = 8;

/// One of this length has other writings that are long enough to be told from chance.
const LONG: usize = 12;

/// Parts of requests that hold a password, whatever the password.
const REQUESTS: [&str; 3] = ["\"password\":", "\\\"password\\\":", "password="];

/// The passwords that were sent to each port.
static SENT: Mutex<Vec<(u16, Vec<u8>)>> = Mutex::new(Vec::new());

fn all_sent() -> MutexGuard<'static, Vec<(u16, Vec<u8>)>> {
    SENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers that somebody has sent this password to the broker that listens on this port.
pub(crate) fn sent(port: u16, password: &[u8]) {
    let mut sent = all_sent();
    if !sent.iter().any(|(to, known)| *to == port && known == password) {
        sent.push((port, password.to_vec()));
    }
}

/// Forgets what was sent to these ports, which another broker may come to have.
pub(super) fn forget(ports: &[u16]) {
    all_sent().retain(|(port, _)| !ports.contains(port));
}

/// The first secret that the log of a broker with these ports and this configuration shows.
pub(super) fn shown(
    log: &str,
    ports: &[u16],
    configuration: &str,
    environment: &[(String, String)],
) -> Option<String> {
    if let Some(request) = REQUESTS.iter().find(|request| log.contains(*request)) {
        return Some(format!("a request: {request}"));
    }
    let passwords: Vec<_> = {
        let sent = all_sent();
        let here = sent.iter().filter(|(port, _)| ports.contains(port));
        here.map(|(_, password)| String::from_utf8_lossy(password).into_owned()).collect()
    };
    let configured = configuration.lines().filter_map(|line| in_option(line, environment));
    let mut secrets = passwords.into_iter().chain(configured.flatten());
    secrets.find(|secret| secret.len() >= TELLING && leak(log, secret).is_some())
}

/// The secrets that an option holds or names.
fn in_option(line: &str, environment: &[(String, String)]) -> Option<Vec<String>> {
    let (name, value) = line.split_once(' ')?;
    if name.contains("_http_header_") {
        let value = if let Some(path) = value.strip_prefix('@') {
            fs::read_to_string(path).ok()?
        } else if let Some(name) = value.strip_prefix('$') {
            environment.iter().find(|(known, _)| known == name)?.1.clone()
        } else {
            value.to_owned()
        };
        return Some(vec![value.trim().to_owned()]);
    }
    if name.ends_with("tls_key_file") {
        let key = fs::read_to_string(value).ok()?;
        let lines = key.lines().filter(|line| !line.starts_with('-'));
        return Some(lines.map(str::to_owned).collect());
    }
    None
}

/// The text and what it looks like in other writings.
fn disguises(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex = |pattern: fn(&u8) -> String| bytes.iter().map(pattern).collect::<String>();
    let decimal: Vec<_> = bytes.iter().map(u8::to_string).collect();
    let mut all = vec![
        secret.to_owned(),
        secret.chars().rev().collect(),
        hex(|byte| format!("{byte:02x}")),
        hex(|byte| format!("{byte:02X}")),
        hex(|byte| format!("{byte:02x} ")).trim_end().to_owned(),
        decimal.join(", "),
    ];
    // Base64 of something longer that holds the secret: it may begin at each place of a group.
    for before in 0..3 {
        let text = BASE64.encode([&b"\0\0"[..before], bytes].concat());
        all.push(text[4..text.len() - 4].to_owned());
    }
    all
}

/// The first bit of the secret in any writing that the log holds; parts of a long one count as well.
pub fn leak(log: &str, secret: &str) -> Option<String> {
    let ends = (secret.get(..LONG), secret.get(secret.len().saturating_sub(LONG)..));
    let (Some(beginning), Some(end)) = ends else {
        return log.contains(secret).then(|| secret.to_owned());
    };
    let parts = [secret, beginning, end];
    parts.iter().flat_map(|part| disguises(part)).find(|text| log.contains(text.as_str()))
}
