//! What the demo prints looks alike because it all comes from here: columns, and colours where they
//! are wanted.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use mosquitto_test::example_api::Served;

/// Lines are aligned for terminals of 100 columns.
const LABEL: usize = 12;
const TEXT: usize = 41;

pub struct Screen {
    colours: bool,
}

impl Screen {
    pub fn new() -> Screen {
        Screen { colours: colours_are_wanted() }
    }

    /// Goes on where nobody reads the lines any more.
    pub fn line(&self, text: impl Display) {
        let _ = writeln!(io::stdout().lock(), "{text}");
    }

    pub fn strong(&self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub fn quiet(&self, text: impl Display) -> String {
        self.paint("2", text)
    }

    pub fn wire(&self, text: impl Display) -> String {
        self.paint("36", text)
    }

    /// Green for what is allowed, yellow for what is denied: a denial is nothing that went wrong.
    pub fn verdict(&self, allowed: bool, text: impl Display) -> String {
        self.paint(if allowed { "32" } else { "33" }, text)
    }

    pub fn alarm(&self, text: impl Display) -> String {
        self.paint("1;31", text)
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// A request as it came, and its answer with the reason; `note` goes behind it.
    pub fn request(&self, served: &Served, note: &str) {
        let request = format!("{:LABEL$}", format!("→ POST {}", served.path));
        self.line(format!("    {} {}", self.wire(request), served.body));
        let answer = format!("{:LABEL$}", format!("← {}", served.status));
        let answer = self.verdict(served.status == 200, answer);
        let note = if note.is_empty() { String::new() } else { self.quiet(format!("  {note}")) };
        self.line(format!("    {answer} {}{note}", served.reason));
    }

    /// What the client saw of its first try, which the API was asked about.
    pub fn first_time(&self, who: &str, allowed: bool, what: &str, took: Duration) {
        let mark = if allowed { "✓" } else { "✗" };
        let who = self.verdict(allowed, format!("{:LABEL$}", format!("{mark} {who}")));
        let took = milliseconds(took);
        self.line(format!("    {who} {what:TEXT$} {took:>9}  {}", self.quiet("asked")));
    }

    /// The same again, which was answered from the cache.
    pub fn repeats(&self, count: usize, took: Duration, ratio: f64) {
        let label = format!("{:LABEL$}", format!("  again, {count} ×"));
        let took = milliseconds(took);
        let times = self.strong(format!("{:>8}", format!("{ratio:.1} ×")));
        let cached = self.quiet("cached, no request");
        self.line(format!("    {label} {:TEXT$} {took:>9}  {cached} {times}", "the same"));
    }
}

pub fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// <https://no-color.org> and <https://bixense.com/clicolors>.
fn colours_are_wanted() -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("NO_COLOR") {
        return false;
    }
    let forced = env::var_os("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0");
    let dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    forced || (io::stdout().is_terminal() && !dumb)
}
