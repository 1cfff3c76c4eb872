//! The plugin's blocks in a configuration, and what the plugin makes of one.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use log::{Level, LevelFilter};
use mosquitto_http_auth::api::Observer;
use mosquitto_http_auth::broker::{Broker, Delivery};
use mosquitto_http_auth::clock::SystemClock;
use mosquitto_http_auth::config::{self, Config};
use mosquitto_http_auth::login::LoginAttempts;
use mosquitto_http_auth::plugin::{HostCapabilities, Plugin};
use mosquitto_http_auth::question::Properties;
use rustix::io::Errno;

use crate::args;
use crate::conf::{self, Conf, Opt, Remark};
use crate::reader::{self, Finding, Reader};

/// The plugin's file, and those of its predecessors, whose options it understands.
const OWN: &str = "libmosquitto_http_auth.so";
const PREDECESSORS: [&str; 2] = ["go-auth.so", "auth-plug.so"];

/// The lines that load the plugin; `wanted` is another file name than usual.
pub(crate) fn find<'a>(conf: &'a Conf, wanted: Option<&str>) -> Vec<&'a conf::Plugin> {
    let is_it = |plugin: &&conf::Plugin| match wanted {
        Some(name) => plugin.file_name() == name,
        None => plugin.file_name() == OWN || is_predecessor(plugin),
    };
    conf.plugins.iter().filter(is_it).collect()
}

/// Whether a line loads one of the plugins that came before.
pub(crate) fn is_predecessor(plugin: &conf::Plugin) -> bool {
    PREDECESSORS.contains(&plugin.file_name())
}

/// The path in an option's value, if it names a file.
fn path_in<'a>(name: &str, value: &'a str) -> Option<&'a str> {
    let is_file = name.ends_with("_file") || name.ends_with("_path");
    let may_be_in_one = name.starts_with("http_header_")
        || ["fleet_secret", "fleet_redis_password"].contains(&name);
    let path = match value.trim().strip_prefix('@') {
        Some(path) if may_be_in_one => path,
        _ if is_file => value.trim(),
        _ => return None,
    };
    Some(path).filter(|path| !path.is_empty())
}

/// The same if it does not begin with a slash.
pub(crate) fn relative_path<'a>(name: &str, value: &'a str) -> Option<&'a str> {
    path_in(name, value).filter(|path| !path.starts_with('/'))
}

/// Where a path begins that does not begin with a slash.
pub(crate) fn counts_from(path: &str) -> String {
    let here = std::env::current_dir();
    let here = here.map_or("this folder".to_owned(), |folder| folder.display().to_string());
    format!(
        "{path:?} counts from the folder in which the broker is started, and here from {here}: write the \
         whole path"
    )
}

/// What there is instead of the plugin.
pub(crate) fn none_found(conf: &Conf, wanted: Option<&str>) -> String {
    let name = wanted.unwrap_or(OWN);
    let others: Vec<_> =
        conf.plugins.iter().map(|plugin| format!("{} ({})", plugin.path, plugin.place)).collect();
    if others.is_empty() {
        return format!("no line loads {name}, nor any other plugin");
    }
    format!("no line loads {name}; plugins there are: {}", others.join(", "))
}

/// The one block that is meant.
pub(crate) fn choose<'a>(conf: &'a Conf, args: &args::Conf) -> Result<&'a conf::Plugin, String> {
    only_one(conf, args).map_err(|problem| match &conf.unread[..] {
        [] => problem,
        [unread, ..] => format!("{problem}; but not everything could be read: {unread}"),
    })
}

fn only_one<'a>(conf: &'a Conf, args: &args::Conf) -> Result<&'a conf::Plugin, String> {
    let mut found = find(conf, args.plugin.as_deref());
    if found.is_empty() {
        return Err(none_found(conf, args.plugin.as_deref()));
    }
    if let Some(listener) = &args.listener {
        let is_it = |position: &usize| conf.listeners[*position].name == *listener;
        if !conf.listeners.iter().any(|known| known.name == *listener) {
            return Err(format!("--listener {listener}: no such listener"));
        }
        found.retain(|plugin| plugin.listeners.as_ref().is_none_or(|l| l.iter().any(is_it)));
        if found.is_empty() {
            return Err(format!("--listener {listener}: the plugin is not loaded for it"));
        }
    }
    match found[..] {
        [one] => Ok(one),
        _ => {
            let places: Vec<_> =
                found.iter().map(|p| format!("{} ({})", p.place, scope(conf, p))).collect();
            Err(format!(
                "the plugin is loaded {} times: {}; say which by --listener",
                found.len(),
                places.join(", ")
            ))
        }
    }
}

/// For which listeners a block decides.
pub(crate) fn scope(conf: &Conf, plugin: &conf::Plugin) -> String {
    if !conf.unread.is_empty() {
        return "listeners that are not known".to_owned();
    }
    let Some(positions) = &plugin.listeners else { return "all listeners".to_owned() };
    let names: Vec<_> = positions.iter().map(|p| conf.listeners[*p].name.as_str()).collect();
    match names[..] {
        [] => "no listener".to_owned(),
        [one] => format!("listener {one}"),
        _ => format!("listeners {}", names.join(", ")),
    }
}

/// The plugin with a block's options, as it is once the broker has started it.
pub(crate) struct Started {
    pub(crate) plugin: Plugin,
    pub(crate) config: Config,
    /// What it wrote to the log when it started.
    pub(crate) lines: Vec<(Level, String)>,
}

/// How the plugin is started beside what the options say.
#[derive(Default)]
pub(crate) struct Start {
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Has questions waited for to their end, however long the broker may be held up.
    pub(crate) patient: bool,
    /// Has everything logged that is worth a warning.
    pub(crate) talkative: bool,
}

/// Starts the plugin with the block that is meant, whose options have to be valid.
pub(crate) fn chosen(args: &args::Conf, how: Start) -> Result<Started, String> {
    let conf = Conf::read(&args.file)?;
    start(choose(&conf, args)?, conf.reader().as_ref(), how).map_err(|failed| {
        let heading = match &failed.mistakes[..] {
            [] => "the configuration cannot be read as a whole:",
            _ => "the configuration has mistakes:",
        };
        let lines = failed.mistakes.iter().chain(&failed.unread).map(|line| format!("\n  {line}"));
        format!("{heading}{}", lines.collect::<String>())
    })
}

/// Why the plugin does not start here.
#[derive(Default)]
pub(crate) struct Failed {
    /// With these it does not start in the broker either.
    pub(crate) mistakes: Vec<Remark>,
    /// Files that the broker may well read.
    pub(crate) unread: Vec<Remark>,
}

impl Failed {
    fn of(block: &conf::Plugin, reader: Option<&Reader>, errors: Vec<config::ConfigError>) -> Self {
        let mut failed = Self::default();
        for error in errors {
            let place = block.place_of(error.option()).clone();
            let option = error.option().and_then(|name| block.option(name));
            let path = option.and_then(|option| path_in(&option.name, &option.value));
            let relative = path.filter(|path| !path.starts_with('/'));
            let note = relative.map(|path| format!("; {}", counts_from(path))).unwrap_or_default();
            // The plugin quotes the system's words.
            let is_denied = error.to_string().contains(&Errno::ACCESS.to_string());
            let closed = path.filter(|_| is_denied).map(Path::new);
            match (option, closed.and_then(|path| reader::look(reader, path))) {
                (Some(Opt { name, .. }), Some(Finding::Unread(text))) => {
                    let path = path.filter(|_| relative.is_none()).map(|path| format!(" {path}"));
                    let text = format!("option {name}{}: {text}{note}", path.unwrap_or_default());
                    failed.unread.push(Remark { place, text });
                }
                _ => failed.mistakes.push(Remark { place, text: format!("{error}{note}") }),
            }
        }
        failed
    }
}

/// Starts the plugin as the broker does.
pub(crate) fn start(
    block: &conf::Plugin,
    reader: Option<&Reader>,
    how: Start,
) -> Result<Started, Failed> {
    let failed = |errors| Failed::of(block, reader, errors);
    let config = config::read_for(&block.given(), Some(&block.path)).map_err(failed)?;
    let mut used = config.clone();
    if how.patient {
        // Every request has its own limits.
        used.max_block = config.timeout * u32::try_from(config.endpoints.len()).unwrap_or(1) * 2;
        used.max_block_percent = 100;
    }
    if how.talkative {
        used.log_level = used.log_level.max(LevelFilter::Warn);
    }
    // The address is the broker's, which may be running.
    used.metrics_listen = None;
    // Nobody comes or goes.
    used.routes.events = None;
    // It is the API that is asked, and the command is no member of a fleet.
    used.fleet = None;
    let login_attempts = LoginAttempts::new()
        .map_err(|error| failed(vec![config::ConfigError::overall(error.to_string())]))?;
    let capabilities = HostCapabilities {
        delays_logins: false,
        tells_who_connects: false,
        tells_reasons: false,
        // The address on the command line is the caller's.
        lets_websockets_choose: false,
        spawn,
        wake_broker: Arc::new(|| {}),
        sighup: None,
        fetch: |_| {},
        observer: how.observer,
        login_attempts: Arc::new(login_attempts),
        claim_topics: || true,
        instances: Arc::default(),
    };
    let plugin = Plugin::start(used, Arc::new(SystemClock), capabilities).map_err(failed)?;
    let lines = lines(&plugin);
    Ok(Started { plugin, config, lines })
}

fn spawn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name).spawn(body)
}

/// The lines that the plugin has for the broker's log.
pub(crate) fn lines(plugin: &Plugin) -> Vec<(Level, String)> {
    let log = Log::default();
    plugin.write_log(&log);
    log.0.into_inner()
}

/// A broker that has a log and nothing else; nothing else is asked of it.
#[derive(Default)]
pub(crate) struct Log(RefCell<Vec<(Level, String)>>);

impl Broker for Log {
    fn log(&self, level: Level, line: &str) {
        self.0.borrow_mut().push((level, line.to_owned()));
    }
    fn finish_login(&self, _: &str, _: bool) {}
    fn close_by_username(&self, _: &str) {}
    fn publish_to(&self, _: &str, _: &str, _: &str) {}
    fn deliver(&self, _: &str, _: &Delivery<'_>, _: Option<Properties>) {}
    fn publish_retained(&self, _: &str, _: &str) {}
    fn disconnect(&self, _: &str) {}
}
