//! What was asked, what came back, and what follows, for readers and for programs.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::time::Duration;

use log::Level;
use mosquitto_http_auth::answer::SessionGrants;
use mosquitto_http_auth::clock::{Clock as _, SystemClock};
use mosquitto_http_auth::config::route_option;
use mosquitto_http_auth::question::Kind;
use serde_json::{Value, json};

use crate::exchange::Seen;
use crate::exit;
use crate::mask::Mask;
use crate::paint::{FAINT, GOOD, HEADING, Paint as _, WARNING, WRONG};
use crate::tls;
use crate::verdict::Judged;
use crate::wire_recorder::{Attempt, Head, NewConnection};

/// In place of a secret value.
const HIDDEN: &str = "(not shown)";

/// A certificate that ends sooner is worth a warning.
const SOON_DAYS: i64 = 30;

pub(crate) struct Report<'a> {
    /// One after the other: the login, if there was one, and the access.
    pub(crate) judged: &'a [Judged],
    /// Each host that was asked over TLS.
    pub(crate) tls: Vec<(String, tls::Seen)>,
    /// What the broker's log would say.
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) mask: Mask<'a>,
}

impl Report<'_> {
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for judged in self.judged {
            for seen in &judged.exchanges {
                self.print_exchange(out, seen)?;
            }
            let tls = self.tls.iter();
            for (origin, seen) in
                tls.filter(|(o, _)| judged.exchanges.iter().any(|e| e.origin == *o))
            {
                print_tls(out, origin, seen)?;
            }
            if let Some(session_grants) = judged.granted() {
                writeln!(out, "  {}", granted(&session_grants))?;
            }
            for hint in self.hints(judged) {
                writeln!(out, "{} {hint}", "hint:".paint(WARNING))?;
            }
            let style = match judged.status() {
                exit::YES => GOOD,
                exit::NO | exit::FAILED => WRONG,
                _ => WARNING,
            };
            let what = if judged.kind == Kind::Login { "login" } else { "access" };
            let why = judged.why(self.mask.config);
            writeln!(out, "{what} {}: {why}", judged.in_words().paint(style))?;
        }
        for (level, line) in &self.log {
            if *level <= Level::Warn {
                writeln!(out, "{} {line}", "log:".paint(WARNING))?;
            }
        }
        Ok(())
    }

    fn print_exchange(&self, out: &mut dyn Write, seen: &Seen) -> io::Result<()> {
        writeln!(
            out,
            "{}",
            format!("{} of {}", route_option(seen.kind), seen.origin).paint(HEADING)
        )?;
        for attempt in &seen.attempts {
            if let Some(head) = &attempt.head {
                print_head(out, ">", &self.mask.head(seen.kind, head))?;
                writeln!(out, "> {}", self.mask.request(seen.kind, seen.body.expose()))?;
            }
            if let Some(head) = &attempt.answer {
                print_head(out, "<", head)?;
                self.print_body(out, attempt)?;
            }
            writeln!(out, "{}", times(attempt, seen.took).paint(FAINT))?;
        }
        if let Some(trace) = seen.trace {
            writeln!(out, "trace: {trace}")?;
        }
        if let Err(failure) = &seen.outcome {
            writeln!(out, "{} {failure}", "failed:".paint(WRONG))?;
        }
        Ok(())
    }

    fn print_body(&self, out: &mut dyn Write, attempt: &Attempt) -> io::Result<()> {
        let text = String::from_utf8_lossy(&attempt.body);
        let text = self.mask.answer(&printable(&text));
        for line in text.lines() {
            writeln!(out, "< {line}")?;
        }
        match attempt.body_length {
            Some(length) if length > attempt.body.len() => {
                writeln!(out, "< … ({length} bytes in all)")
            }
            None => writeln!(out, "< … (not read to its end)"),
            Some(_) => Ok(()),
        }
    }

    /// What is worth knowing beside the decision.
    fn hints(&self, judged: &Judged) -> Vec<String> {
        let config = self.mask.config;
        let mut hints: Vec<_> = judged.beforehand.map(str::to_owned).into_iter().collect();
        let longest = config.max_block;
        let slow = judged.exchanges.iter().filter(|seen| seen.took > longest);
        for seen in slow {
            let follows = match seen.kind {
                Kind::Login if config.cache.login.allow.is_zero() => {
                    "where the broker waits for logins (2.0, or delayed_login false) the client is \
                     closed without an answer, and as nothing is cached, it never gets in"
                }
                Kind::Login => {
                    "where the broker waits for logins (2.0, or delayed_login false) the client is \
                     closed without an answer, and its next attempt finds the answer cached"
                }
                _ => "a broker does not wait for it, and does what on_error says",
            };
            hints.push(format!(
                "{} ms is longer than max_block_ms ({}): {follows}",
                millis(seen.took),
                longest.as_millis()
            ));
        }
        for (origin, seen) in &self.tls {
            if let Some(days) = seen.certificate.as_ref().map(days_left) {
                if days < SOON_DAYS {
                    hints
                        .push(format!("the certificate of {origin} is valid for {days} more days"));
                }
            }
        }
        hints
    }

    pub(crate) fn as_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let judged = self.judged.iter().map(|judged| {
            let granted = judged.granted().map(|session_grants| {
                let attributes = session_grants.attributes.as_ref();
                json!({
                    "username": session_grants.username,
                    "client_attrs": attributes.map(|attributes| attributes.pairs()),
                    "rules": session_grants.rules.as_ref().map(|rules| rules.len()),
                    "is_superuser": session_grants.is_superuser,
                    "expire_at": session_grants.expire_at,
                })
            });
            json!({
                "question": if judged.kind == Kind::Login { "login" } else { "access" },
                "decision": judged.word(),
                "by": judged.by(),
                "why": judged.why(self.mask.config),
                "granted": granted,
                "hints": self.hints(judged),
                "exchanges": judged.exchanges.iter().map(|e| self.exchange(e)).collect::<Vec<_>>(),
            })
        });
        let last = self.judged.last();
        let tls = self.tls.iter().map(|(origin, seen)| tls_as_json(origin, seen));
        let log = self.log.iter().map(
            |(level, line)| json!({ "level": level.as_str().to_ascii_lowercase(), "line": line }),
        );
        let report = json!({
            "decision": last.map(Judged::word),
            "status": last.map(Judged::status),
            "questions": judged.collect::<Vec<_>>(),
            "tls": tls.collect::<Vec<_>>(),
            "log": log.collect::<Vec<_>>(),
        });
        writeln!(out, "{report:#}")
    }

    fn exchange(&self, seen: &Seen) -> Value {
        let attempt = |attempt: &Attempt| {
            let body = self.mask.request(seen.kind, seen.body.expose());
            let request = attempt
                .head
                .as_ref()
                .map(|head| json!({ "line": head.line, "headers": fields(head), "body": body }));
            let text = self.mask.answer(&String::from_utf8_lossy(&attempt.body));
            let answer = attempt.answer.as_ref().map(|head| {
                json!({
                    "line": head.line,
                    "headers": fields(head),
                    "body": text,
                    "body_bytes": attempt.body_length,
                })
            });
            let connection = attempt.connection.as_ref();
            let addresses = connection
                .map(|new| new.addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
            let steps = connection.map(Steps::of).unwrap_or_default();
            json!({
                "new_connection": connection.is_some(),
                "addresses": addresses,
                "resolve_ms": steps.resolve.map(ms),
                "connect_ms": steps.connect.map(ms),
                "tls_ms": steps.tls.map(ms),
                "first_byte_ms": attempt.first_byte.map(ms),
                "request": request,
                "answer": answer,
            })
        };
        let outcome = match &seen.outcome {
            Ok(reply) => json!({
                "answer": reply.answer.to_string(),
                "lifetime_s": reply.freshness.lifetime.map(|lifetime| lifetime.as_secs()),
                "reason": reply.answer.reason.as_deref(),
            }),
            Err(failure) => {
                json!({ "failure": failure.name(), "detail": failure.to_string() })
            }
        };
        json!({
            "route": route_option(seen.kind),
            "origin": seen.origin,
            "trace": seen.trace.map(|trace| trace.to_string()),
            "total_ms": ms(seen.took),
            "attempts": seen.attempts.iter().map(attempt).collect::<Vec<_>>(),
            "outcome": outcome,
        })
    }
}

fn print_head(out: &mut dyn Write, sign: &str, head: &Head) -> io::Result<()> {
    writeln!(out, "{sign} {}", head.line)?;
    for (name, value) in &head.fields {
        let value = value.as_deref().map_or_else(|| HIDDEN.to_owned(), printable);
        writeln!(out, "{sign} {name}: {value}")?;
    }
    writeln!(out, "{sign}")
}

fn fields(head: &Head) -> Vec<Value> {
    let field = |(name, value): &(String, Option<String>)| json!({ "name": name, "value": value });
    head.fields.iter().map(field).collect()
}

/// A text from outside that leaves the terminal as it is.
fn printable(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// How long each step of making a connection took.
#[derive(Default)]
struct Steps {
    resolve: Option<Duration>,
    connect: Option<Duration>,
    tls: Option<Duration>,
}

impl Steps {
    fn of(connection: &NewConnection) -> Self {
        let since =
            |start: Option<Duration>, end: Option<Duration>| Some(end?.saturating_sub(start?));
        Self {
            resolve: since(Some(connection.began), connection.resolved),
            connect: since(connection.resolved, connection.connected),
            tls: since(connection.connected, connection.secured),
        }
    }
}

fn times(attempt: &Attempt, total: Duration) -> String {
    let mut parts = Vec::new();
    match &attempt.connection {
        None => parts.push("on a connection that was kept alive".to_owned()),
        Some(connection) => {
            let addresses: Vec<_> = connection.addresses.iter().map(ToString::to_string).collect();
            let to = if addresses.is_empty() {
                String::new()
            } else {
                format!(" to {}", addresses.join(" or "))
            };
            parts.push(format!("new connection{to}"));
            let Steps { resolve, connect, tls } = Steps::of(connection);
            for (what, step) in [("resolve", resolve), ("connect", connect), ("TLS", tls)] {
                parts.extend(step.map(|step| format!("{what} {} ms", millis(step))));
            }
        }
    }
    parts.extend(attempt.first_byte.map(|time| format!("first byte after {} ms", millis(time))));
    parts.push(format!("in all {} ms", millis(total)));
    parts.join(", ")
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", ms(duration))
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn granted(session_grants: &SessionGrants) -> String {
    let mut parts = Vec::new();
    parts.extend(session_grants.username.as_ref().map(|name| format!("known as {name:?}")));
    parts.extend(session_grants.attributes.as_ref().map(|attributes| {
        let pairs = attributes.pairs().iter();
        let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name} {value:?}")).collect();
        format!("attributes {}", pairs.join(" and "))
    }));
    parts.extend(session_grants.rules.as_ref().map(|rules| format!("{} rules", rules.len())));
    parts.extend(session_grants.is_superuser.map(|is| {
        if is { "the user is a superuser" } else { "the user is no superuser" }.to_owned()
    }));
    parts.extend(session_grants.expire_at.map(|at| format!("asked again at {at} (Unix time)")));
    format!("granted for the session: {}", parts.join(", "))
}

fn days_left(certificate: &tls::Certificate) -> i64 {
    let now = i64::try_from(SystemClock.unix_time().as_secs()).unwrap_or(i64::MAX);
    (certificate.valid_until - now).div_euclid(24 * 60 * 60)
}

fn print_tls(out: &mut dyn Write, origin: &str, seen: &tls::Seen) -> io::Result<()> {
    match &seen.agreed {
        Some((version, suite)) => writeln!(out, "TLS with {origin}: {version}, {suite}")?,
        None => writeln!(out, "TLS with {origin}: {}", "no agreement".paint(WRONG))?,
    }
    if let Some(certificate) = &seen.certificate {
        let tls::Certificate { subject, issuer, names, valid_until_text, .. } = certificate;
        writeln!(out, "  certificate: {}, issued by {}", printable(subject), printable(issuer))?;
        if !names.is_empty() {
            writeln!(out, "  for: {}", printable(&names.join(", ")))?;
        }
        let days = days_left(certificate);
        writeln!(out, "  valid until: {valid_until_text} ({days} days)")?;
    }
    writeln!(out, "  verified against: {}", seen.verified)?;
    match &seen.problem {
        Some(problem) => writeln!(out, "  {} {problem}", "refused:".paint(WRONG)),
        None => Ok(()),
    }
}

fn tls_as_json(origin: &str, seen: &tls::Seen) -> Value {
    let certificate = seen.certificate.as_ref().map(|certificate| {
        json!({
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "names": certificate.names,
            "valid_until": certificate.valid_until,
        })
    });
    json!({
        "origin": origin,
        "version": seen.agreed.as_ref().map(|(version, _)| version),
        "cipher_suite": seen.agreed.as_ref().map(|(_, suite)| suite),
        "certificate": certificate,
        "verified_against": seen.verified,
        "problem": seen.problem,
    })
}
