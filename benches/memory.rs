//! How much memory does a cached decision take, and a session? And does the cache keep to
//! `cache_max_bytes`?
//!
//! `cargo bench --bench memory` prints tables in Markdown; with `-- --quick` it only shows that it
//! works. Everything is measured in a process of its own, so that nothing lies in memory that
//! something else has left.
#![allow(unsafe_code, reason = "the C library alone knows what it has handed out")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, prints, and measures a real process"
)]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mosquitto_http_auth::answer::{Answer, SessionGrants};
use mosquitto_http_auth::cache::{Cache, Key, Keyring, Lifetimes};
use mosquitto_http_auth::clock::{Clock as _, SystemClock};
use mosquitto_http_auth::config::{Jitter, Lifetime};
use mosquitto_http_auth::field::{Field, FieldLists};
use mosquitto_http_auth::question::ClientSnapshot;
use mosquitto_http_auth::question::{About, Access, Action, Kind, Question};
use mosquitto_http_auth::sealed::{SealedQuestion, SecretBox};
use mosquitto_http_auth::secret::Secret;
use mosquitto_http_auth::sessions::{SessionKey, Sessions};

const COUNTS: [u64; 3] = [10_000, 100_000, 1_000_000];

const LIMITS: [u64; 2] = [16 << 20, 64 << 20];

/// What one decision may take.
const GOAL: f64 = 550.0;

/// How far `cache_max_bytes` may be from the truth.
const TOLERANCE: f64 = 0.20;

/// So many bytes of room for each answer that is stored to overfill a cache: no entry is as small.
const ROOM: u64 = 64;

/// What is put into memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Decisions,
    Sessions,
    /// Sessions with an end, for which the question that let them in is kept.
    SessionsWithEnd,
    /// A cache of so many bytes, with more than it can hold.
    Overfilled,
}

impl Subject {
    const ALL: [Subject; 4] =
        [Subject::Decisions, Subject::Sessions, Subject::SessionsWithEnd, Subject::Overfilled];

    fn name(self) -> &'static str {
        match self {
            Subject::Decisions => "a cached decision about a topic",
            Subject::Sessions => "a session",
            Subject::SessionsWithEnd => "a session that `expire_at` ends",
            Subject::Overfilled => "an overfilled cache",
        }
    }

    /// What this process gains by so many of them.
    fn measure(self, count: u64) -> Growth {
        match self {
            Subject::Decisions => measure(|| {
                let cache = cache(1 << 40);
                fill(&cache, count);
                cache
            }),
            Subject::Sessions | Subject::SessionsWithEnd => measure(|| {
                let sessions = Sessions::new(|_| {}, Arc::new(SystemClock));
                begin(&sessions, count, self == Subject::SessionsWithEnd);
                sessions
            }),
            Subject::Overfilled => measure(|| {
                let cache = cache(count);
                fill(&cache, count / ROOM);
                cache
            }),
        }
    }

    /// The same, of a process of its own.
    fn measure_apart(self, count: u64) -> Growth {
        let position = Subject::ALL.iter().position(|subject| *subject == self).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([position.to_string(), count.to_string()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
        Growth { heap: numbers.next().unwrap(), resident: numbers.next().unwrap() }
    }
}

/// What a process has gained, in bytes.
#[derive(Clone, Copy)]
struct Growth {
    /// Memory that the C library has handed out, with its own rounding.
    heap: f64,
    /// Memory that the kernel has given to the process.
    resident: f64,
}

/// Makes keys of questions that are never the same.
struct Questions {
    keyring: Keyring,
    fields: Vec<Field>,
}

impl Questions {
    fn new() -> Self {
        let fields = FieldLists::with_extra(&[], &[]).of(Kind::Access).to_vec();
        Self { keyring: Keyring::random().unwrap(), fields }
    }

    fn with<T>(&self, number: u64, use_it: impl FnOnce(Key, &Question<'_>) -> T) -> T {
        let id = name(number);
        let client = ClientSnapshot::named(0, &id, "meter");
        let topic = format!("devices/{id}/up/state");
        let action = Action { access: Access::Write, topic: &topic, qos: 0, retain: false };
        let question = Question {
            client: &client,
            username: "meter",
            attributes: None,
            about: About::Access(action),
        };
        use_it(self.keyring.key(&question, &self.fields), &question)
    }
}

fn name(number: u64) -> String {
    format!("meter-{number:07}")
}

fn cache(max_bytes: u64) -> Cache {
    let hour = Duration::from_secs(3600);
    let lifetime = Lifetime { allow: hour, deny: hour, jitter: Jitter::Shorter };
    let lifetimes = Lifetimes { login: lifetime, access: lifetime, stale: Duration::ZERO };
    Cache::new(lifetimes, true, max_bytes, Arc::new(SystemClock))
}

/// Stores so many answers, and looks each up once, as the question does that it answers.
fn fill(cache: &Cache, count: u64) {
    let questions = Questions::new();
    for number in 0..count {
        questions.with(number, |key, question| {
            cache.store(key, Kind::Access, Answer::ALLOW, None, SystemClock.now());
            let _ = cache.look(&key, question);
        });
    }
    // Has the cache let go of what is too much.
    let _ = cache.size();
}

/// Lets so many clients in, as far apart as a broker's clients are in memory.
fn begin(sessions: &Sessions, count: u64, with_end: bool) {
    let questions = Questions::new();
    let secret_box = SecretBox::random().unwrap();
    let session_grants = Arc::new(SessionGrants {
        is_superuser: Some(false),
        rules: None,
        expire_at: Some(0),
        ..SessionGrants::default()
    });
    for number in 0..count {
        let key = questions.with(number, |key, _| key);
        let (id, username) = (name(number), format!("user-{number:07}"));
        let sealed = || {
            let body = format!(r#"{{"username":"{username}","password":"correct horse"}}"#);
            let body = secret_box.seal(&Secret::new(body.into_bytes())).unwrap();
            SealedQuestion {
                kind: Kind::Login,
                bearer: None,
                claim: None,
                body,
                about: format!("login of {username:?}"),
                subject: 0,
                shared: None,
            }
        };
        let handle = 0x5500_0000_0000 + usize::try_from(number).unwrap() * 1024;
        let session_key = SessionKey { handle, client_id: id, key, identity: key };
        let (question, due) = if with_end {
            (Some(Arc::new(sealed())), Some(SystemClock.now() + Duration::from_secs(3600)))
        } else {
            (None, None)
        };
        sessions.begin(
            session_key,
            &username,
            None,
            with_end.then_some(&session_grants),
            question,
            due,
        );
    }
}

/// What this process gains.
fn measure<T>(act: impl FnOnce() -> T) -> Growth {
    let before = Growth::so_far();
    let kept = act();
    let after = Growth::so_far();
    drop(kept);
    Growth { heap: after.heap - before.heap, resident: after.resident - before.resident }
}

impl Growth {
    fn so_far() -> Self {
        // SAFETY: it takes nothing, and returns plain numbers.
        let info = unsafe { libc::mallinfo2() };
        let heap = (info.uordblks + info.hblkhd) as f64;
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        Growth { heap, resident: kib * 1024.0 }
    }
}

fn main() {
    // Cargo adds an argument of its own.
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let numbers: Vec<u64> = arguments.iter().filter_map(|text| text.parse().ok()).collect();
    if let [subject, count] = numbers[..] {
        let growth = Subject::ALL[usize::try_from(subject).unwrap()].measure(count);
        println!("{} {}", growth.heap, growth.resident);
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    print!("{}", by_count(if quick { &COUNTS[..1] } else { &COUNTS }));
    println!();
    print!("{}", by_limit(if quick { &LIMITS[..1] } else { &LIMITS }));
}

fn by_count(counts: &[u64]) -> String {
    let mut text = String::from(
        "| bytes for | how many | resident | handed out by malloc | goal |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for subject in [Subject::Decisions, Subject::Sessions, Subject::SessionsWithEnd] {
        for count in counts {
            let growth = subject.measure_apart(*count);
            let each = |bytes: f64| bytes / *count as f64;
            let (resident, heap) = (each(growth.resident), each(growth.heap));
            let verdict = match subject {
                Subject::Decisions => goal(resident <= GOAL, "≤ 550 bytes"),
                _ => String::new(),
            };
            let name = subject.name();
            let _ = writeln!(text, "| {name} | {count} | {resident:.0} | {heap:.0} | {verdict} |");
        }
    }
    text
}

fn by_limit(limits: &[u64]) -> String {
    let mut text = String::from(
        "| `cache_max_bytes` | resident | of the limit | handed out by malloc | of the limit | \
         goal |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for limit in limits {
        let Growth { heap, resident } = Subject::Overfilled.measure_apart(*limit);
        let (share, heap_share) = (resident / *limit as f64, heap / *limit as f64);
        let verdict = goal((share - 1.0).abs() <= TOLERANCE, "within 20 % of the limit");
        let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
        let (limit, resident, heap) = (mib(*limit as f64), mib(resident), mib(heap));
        let _ = writeln!(
            text,
            "| {limit} | {resident} | {share:.2} × | {heap} | {heap_share:.2} × | {verdict} |"
        );
    }
    text
}

fn goal(met: bool, what: &str) -> String {
    if met { format!("{what}: met") } else { format!("{what}: **missed**") }
}
