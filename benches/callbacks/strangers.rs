//! What does it cost the others when somebody is denied something new again and again?
//!
//! All sessions take turns, so that whatever a denial ends for all of them shows in the next pass through them.

use std::ffi::CString;
use std::time::{Duration, Instant};

use crate::api::STRANGER;
use crate::broker::{Client, Plugin};
use crate::tail::spent;
use crate::{Case, Stage};

const SESSIONS: usize = 10_000;

/// How often the stranger is denied something.
const EVERY: Duration = Duration::from_millis(10);

/// How long each has its turn, and how many turns each has.
const TURN: Duration = Duration::from_secs(1);
const TURNS: usize = 9;

/// By then a row is done.
const LONGEST: Duration = Duration::from_secs(60);

/// How much longer a call may take.
const GOAL: f64 = 1.02;

/// Prints a table in Markdown.
pub(crate) fn print() {
    println!(
        "| call | alone | with a stranger | × alone | denials | questions about others | goal |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    for (case, name) in [
        (Case::CachedAccess, "the same delivery as before"),
        (Case::Rules, "a delivery, by rules"),
        (Case::CachedLogin, "a login"),
    ] {
        row(name, Stage::set(case, SESSIONS));
    }
}

fn row(name: &str, mut stage: Stage) {
    let mut stranger = Stranger { client: Client::new(STRANGER, STRANGER), denied: 0 };
    while !stage.plugin.login(&stranger.client, &stage.password) {}
    pass(&mut stage);
    let (asked, began) = (stage.api.asked(), Instant::now());
    let (mut alone, mut beside) = ([0.0; TURNS], [0.0; TURNS]);
    for nth in 0..TURNS {
        alone[nth] = turn(&mut stage, None);
        beside[nth] = turn(&mut stage, Some(&mut stranger));
    }
    // The plugin may have stopped waiting for the last answer.
    let mut now = stage.api.asked();
    while now.0 - asked.0 < stranger.denied {
        assert!(began.elapsed() < LONGEST, "each denial is a question to the API");
        now = stage.api.asked();
    }
    let [alone, beside] = [alone, beside].map(median);
    let (ratio, others) = (beside / alone, now.1 - asked.1);
    let verdict = if ratio <= GOAL && others == 0 { "met" } else { "**missed**" };
    println!(
        "| {name} | {alone:.0} ns | {beside:.0} ns | {ratio:.3} | {} | {others} | ≤ {GOAL} × alone, no \
         question: {verdict} |",
        stranger.denied
    );
}

/// What a call takes, in nanoseconds: the mean over passes through all sessions. That of the stranger does not count.
fn turn(stage: &mut Stage, mut stranger: Option<&mut Stranger>) -> f64 {
    let began = Instant::now();
    let (mut due, mut passes, mut nanos) = (Duration::ZERO, 0, 0);
    while began.elapsed() < TURN {
        if began.elapsed() >= due {
            due += EVERY;
            stranger.iter_mut().for_each(|stranger| stranger.ask(&stage.plugin));
        }
        nanos += pass(stage);
        passes += 1;
    }
    nanos as f64 / (passes * SESSIONS) as f64
}

/// One call of each; what they take together.
fn pass(stage: &mut Stage) -> u64 {
    let before = spent();
    (0..SESSIONS).for_each(|_| stage.ask());
    spent() - before
}

fn median(mut times: [f64; TURNS]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[TURNS / 2]
}

/// Somebody who is denied what nobody asked about before.
struct Stranger {
    client: Client,
    denied: usize,
}

impl Stranger {
    fn ask(&mut self, plugin: &Plugin) {
        self.denied += 1;
        let topic = CString::new(format!("secret/{}", self.denied)).unwrap();
        assert!(!plugin.may_publish(&self.client, &topic));
    }
}
