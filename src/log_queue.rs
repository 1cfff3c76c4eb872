//! Log lines, kept until the broker's thread can write them.
//!
//! Only the broker's own thread may log (a worker that calls `mosquitto_log_printf` crashes a
//! broker with `log_dest topic`). So every line goes here first, and [`LogQueue::drain`] hands them
//! on. Each plugin instance has a log queue of its own, with its own `log_level`. There is no global
//! logger on purpose: the HTTP client's own trace holds request bodies, and so passwords.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock::Clock;
use crate::sync::lock;

/// Lines that wait for the broker's thread; later ones are counted and dropped.
const CAPACITY: usize = 1000;

/// Mosquitto cuts a line at 1000 bytes with its time stamp; longer ones are cut here, visibly.
const LINE_BYTES: usize = 900;

/// How long a name in a line may be, about: three of them leave room for what is said of them.
const QUOTED_BYTES: usize = 200;

/// How often the same kind of problem may take a line.
const SELDOM: Duration = Duration::from_secs(1);

/// The lines of one plugin instance.
pub struct LogQueue {
    level: LevelFilter,
    clock: Arc<dyn Clock>,
    lines: Mutex<Lines>,
    /// Whether `lines` holds any, readable without the lock: every callback asks.
    waiting: AtomicBool,
    /// Lines that were ever dropped.
    dropped: AtomicU64,
}

#[derive(Default)]
struct Lines {
    queue: VecDeque<(Level, String)>,
    dropped: usize,
    seldom: HashMap<Cow<'static, str>, Seldom>,
}

struct Seldom {
    last: Instant,
    suppressed: u64,
}

impl LogQueue {
    #[must_use]
    pub fn new(level: LevelFilter, clock: Arc<dyn Clock>) -> Arc<Self> {
        // The `log` macros ask this process-wide switch before they ask a logger. It is this
        // library's own copy of the switch; each log queue filters by its own level.
        log::set_max_level(LevelFilter::Trace);
        Arc::new(Self {
            level,
            clock,
            lines: Mutex::default(),
            waiting: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        })
    }

    /// Whether lines of this level are kept: what nobody reads need not be put together.
    #[must_use]
    pub fn keeps(&self, level: Level) -> bool {
        level <= self.level
    }

    /// How many lines were dropped, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Logs a line that could come thousands of times a second, once a second at most. `line` is
    /// told how many of its `kind` were left out since the last one.
    pub fn seldom(
        &self,
        level: Level,
        kind: impl Into<Cow<'static, str>>,
        line: impl FnOnce() -> String,
    ) {
        if level > self.level {
            return;
        }
        let kind = kind.into();
        let now = self.clock.now();
        let mut lines = lock(&self.lines);
        let suppressed = match lines.seldom.get_mut(&kind) {
            Some(seldom) if now.duration_since(seldom.last) < SELDOM => {
                seldom.suppressed += 1;
                return;
            }
            Some(seldom) => seldom.suppressed,
            None => 0,
        };
        lines.seldom.insert(kind, Seldom { last: now, suppressed: 0 });
        let mut text = line();
        if suppressed > 0 {
            let _ = write!(text, " ({suppressed} more like this since the last such line)");
        }
        self.push(&mut lines, level, &text);
    }

    /// Whether any lines wait.
    #[must_use]
    pub(crate) fn has_lines(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Hands every waiting line to `write`, oldest first. For the broker's thread.
    pub fn drain(&self, mut write: impl FnMut(Level, &str)) {
        if !self.waiting.swap(false, Ordering::Acquire) {
            return;
        }
        let (queue, dropped) = {
            let mut lines = lock(&self.lines);
            (std::mem::take(&mut lines.queue), std::mem::take(&mut lines.dropped))
        };
        for (level, line) in queue {
            write(level, &line);
        }
        if dropped > 0 {
            write(Level::Warn, &format!("{dropped} log lines were dropped"));
        }
    }

    fn push(&self, lines: &mut Lines, level: Level, text: &str) {
        if lines.queue.len() < CAPACITY {
            lines.queue.push_back((level, one_line(text)));
        } else {
            lines.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.store(true, Ordering::Release);
    }
}

impl Log for LogQueue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = record.args().to_string();
            self.push(&mut lock(&self.lines), record.level(), &text);
        }
    }

    fn flush(&self) {}
}

/// What a client chose, for a log line: in quotation marks, with everything escaped by which it
/// could pass for something else, and cut so that what follows it stays on the line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        if quoted.len() >= QUOTED_BYTES {
            quoted.push('…');
            break;
        }
        match character {
            '\'' => quoted.push(character),
            _ => quoted.extend(character.escape_debug()),
        }
    }
    quoted.push('"');
    quoted
}

/// The text as one line that a client cannot forge: control characters escaped, length bounded.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LINE_BYTES));
    for character in text.chars() {
        if line.len() >= LINE_BYTES {
            line.push('…');
            break;
        }
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn drained(log_queue: &LogQueue) -> Vec<String> {
        let mut lines = Vec::new();
        log_queue.drain(|level, line| lines.push(format!("{level} {line}")));
        lines
    }

    #[test]
    fn lines_wait_in_order_and_below_the_level_none_is_kept() {
        let log_queue = LogQueue::new(LevelFilter::Info, ManualClock::new());
        log::info!(logger: *log_queue, "first");
        log::debug!(logger: *log_queue, "too fine");
        log::error!(logger: *log_queue, "second");
        assert_eq!(drained(&log_queue), ["INFO first", "ERROR second"]);
        assert!(drained(&log_queue).is_empty());
    }

    #[test]
    fn a_client_cannot_forge_a_line() {
        assert_eq!(
            one_line("name\n1700000000: forged\x1b[0m"),
            "name\\n1700000000: forged\\u{1b}[0m"
        );
        assert!(one_line(&"é".repeat(5000)).len() <= LINE_BYTES + 4);
    }

    #[test]
    fn what_a_client_chose_stays_within_its_quotation_marks() {
        assert_eq!(quoted("ann's"), "\"ann's\"");
        assert_eq!(quoted("x\" ip=1"), "\"x\\\" ip=1\"");
        assert_eq!(quoted("a\n\u{2028}\u{202e}\\"), "\"a\\n\\u{2028}\\u{202e}\\\\\"");
        for long in ["é".repeat(65_000), "\u{202e}".repeat(20_000)] {
            let quoted = quoted(&long);
            assert!(quoted.len() < QUOTED_BYTES + 20 && quoted.ends_with("…\""), "{quoted}");
        }
    }

    #[test]
    fn the_same_problem_takes_one_line_a_second() {
        let clock = ManualClock::new();
        let log_queue = LogQueue::new(LevelFilter::Warn, clock.clone());
        let warn = || log_queue.seldom(Level::Warn, "down", || "the API is down".to_owned());
        for _ in 0..50 {
            warn();
        }
        assert_eq!(drained(&log_queue), ["WARN the API is down"]);
        clock.advance(SELDOM);
        warn();
        assert_eq!(
            drained(&log_queue),
            ["WARN the API is down (49 more like this since the last such line)"]
        );
    }

    #[test]
    fn a_flood_is_counted_not_kept() {
        let log_queue = LogQueue::new(LevelFilter::Info, ManualClock::new());
        for number in 0..CAPACITY + 7 {
            log::info!(logger: *log_queue, "line {number}");
        }
        let lines = drained(&log_queue);
        assert_eq!(lines.len(), CAPACITY + 1);
        assert_eq!(lines.last().unwrap(), "WARN 7 log lines were dropped");
        assert_eq!(log_queue.dropped(), 7);
    }
}
