//! The newcomer's demo: the example API, a real Mosquitto with the plugin, and clients whose every
//! question is shown with its answer. Then it goes on running for the reader's own clients.
//!
//! `demo [USERS.toml]`, by way of `mosquitto-test/demo.sh`, which explains the environment variables.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program of its own: real time, real threads")]

mod client;
mod fleet;
mod mosquitto;
mod overview;
mod screen;
mod stage;
mod story;

use std::any::Any;
use std::env;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use mosquitto_test::broker::Version;
use mosquitto_test::example_api::{ExampleApi, Served};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use fleet::{Fleet, Story};
use mosquitto::Mosquitto;
use overview::Overview;
use stage::Stage;

/// All that the main thread waits for.
enum Event {
    BrokerRuns,
    BrokerEnded,
    /// All steps have been taken; this many did not come out as expected.
    StoryEnded {
        failed: usize,
    },
    /// A step could not be finished.
    StoryBroke(String),
    /// Ctrl-C, a polite kill, or the terminal was closed.
    Stop,
}

fn main() -> ExitCode {
    match run(env::args().nth(1)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many steps failed.
fn run(users_file: Option<String>) -> Result<usize, String> {
    let version = chosen_version()?;
    let is_set = |name| env::var_os(name).is_some_and(|value| value == "1");
    let once = is_set("DEMO_ONCE");
    let (events, happened) = mpsc::channel();
    stop_on_signals(events.clone())?;
    if is_set("DEMO_FLEET") {
        return run_fleet(version, once, users_file.is_some(), events, &happened);
    }

    let api = match &users_file {
        Some(file) => ExampleApi::load(file)?,
        None => ExampleApi::built_in()?,
    };
    let (seen, requests) = mpsc::channel();
    let api = api.serve("127.0.0.1:0", move |served| drop(seen.send(served.clone())))?;
    let mut broker = Mosquitto::spawn(version, api.addr().port(), events.clone())?;
    match happened.recv() {
        Ok(Event::BrokerRuns) => {}
        Ok(Event::Stop) => return Ok(0),
        _ => return Err(broker.obituary()),
    }

    let overview = Overview::of(&broker, api.addr(), users_file);
    show(overview, once, requests, events)?;
    let failed = watch(&mut || broker.obituary(), &happened, once)?;
    broker.stop();
    drop(api);
    if !once {
        // The terminal's ^C stands on the line that this ends.
        let _ = writeln!(io::stdout(), "\n The broker and the API have ended.");
    }
    Ok(failed)
}

/// The same for several brokers.
fn run_fleet(
    version: Version,
    once: bool,
    has_users: bool,
    events: Sender<Event>,
    happened: &Receiver<Event>,
) -> Result<usize, String> {
    if has_users {
        return Err("DEMO_FLEET=1 takes no users of your own".to_owned());
    }
    let api = ExampleApi::built_in()?;
    let closed = api.closed_accounts();
    let (seen, requests) = mpsc::channel();
    let api = api.serve("127.0.0.1:0", move |served| drop(seen.send(served.clone())))?;
    let fleet = Arc::new(Mutex::new(Fleet::start(version, api.addr(), events.clone())?));
    let (mut story, addr) = (Story::new(fleet.clone(), closed, requests), api.addr());
    on_stage(events, move |events| {
        let _ = events.send(Event::StoryEnded { failed: story.play(addr) });
        if !once {
            story.follow();
        }
    })?;
    let failed = watch(&mut || fleet::locked(&fleet).obituary(), happened, once)?;
    fleet::locked(&fleet).stop();
    drop(api);
    if !once {
        let _ = writeln!(io::stdout(), "\n The brokers, Valkey and the API have ended.");
    }
    Ok(failed)
}

fn chosen_version() -> Result<Version, String> {
    let name = env::var("BROKER").unwrap_or_default();
    let wanted = if name.is_empty() { Version::V2_1_2.name() } else { &name };
    Version::ALL.into_iter().find(|version| version.name() == wanted).ok_or_else(|| {
        let known = Version::ALL.map(Version::name).join(", ");
        format!("BROKER={wanted} is none of {known}")
    })
}

fn stop_on_signals(events: Sender<Event>) -> Result<(), String> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| format!("cannot listen for signals: {error}"))?;
    thread::spawn(move || {
        for _signal in signals.forever() {
            let _ = events.send(Event::Stop);
        }
    });
    Ok(())
}

/// Plays and prints on a thread of its own, so that Ctrl-C and the broker's end are heard meanwhile.
fn show(
    overview: Overview,
    once: bool,
    requests: Receiver<Served>,
    events: Sender<Event>,
) -> Result<(), String> {
    on_stage(events, move |events| {
        let mut stage = Stage::new(requests);
        overview.print(stage.screen());
        if overview.users_file.is_none() {
            story::play(&mut stage, overview.port);
            stage.sum_up();
        }
        if !once {
            overview.print_commands(stage.screen());
        }
        let _ = events.send(Event::StoryEnded { failed: stage.failed() });
        stage.follow();
    })
}

/// Plays on a thread of its own.
fn on_stage(
    events: Sender<Event>,
    play: impl FnOnce(&Sender<Event>) + Send + 'static,
) -> Result<(), String> {
    const NAME: &str = "show";
    // The clients panic when something is not as they expect. That ends the story, and is told once.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(NAME) {
            usual(panic);
        }
    }));
    let perform = move || {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| play(&events))) {
            let _ = events.send(Event::StoryBroke(message(&*panic)));
        }
    };
    let thread = thread::Builder::new().name(NAME.to_owned()).spawn(perform);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a step broke").to_owned()
}

/// Returns how many steps failed, once the demo is to end.
fn watch(
    obituary: &mut dyn FnMut() -> String,
    happened: &Receiver<Event>,
    once: bool,
) -> Result<usize, String> {
    let mut failures = 0;
    loop {
        match happened.recv() {
            Ok(Event::BrokerRuns) => {}
            Ok(Event::StoryEnded { failed }) => {
                failures = failed;
                if once {
                    return Ok(failures);
                }
            }
            Ok(Event::Stop) => return Ok(failures),
            Ok(Event::StoryBroke(why)) => return Err(format!("{why}\n{}", obituary())),
            Ok(Event::BrokerEnded) | Err(_) => return Err(obituary()),
        }
    }
}
