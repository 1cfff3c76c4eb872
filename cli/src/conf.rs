//! Reads a mosquitto.conf as the broker does, as far as it is about plugins and who may log in.
//!
//! Where Mosquitto 2.0 and 2.1 differ, what both refuse is a mistake, and what one of them refuses
//! is a warning that names it.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::reader::{self, Reader};

mod keywords;
mod lines;
mod order;

/// The user that a broker becomes if nothing else is said.
const USUAL_USER: &str = "mosquitto";

/// A line of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) file: Rc<Path>,
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Something to say about a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remark {
    pub(crate) place: Place,
    pub(crate) text: String,
}

impl Remark {
    pub(crate) fn new(place: &Place, text: impl Into<String>) -> Self {
        Self { place: place.clone(), text: text.into() }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A whole configuration.
#[derive(Default)]
pub(crate) struct Conf {
    /// Every file that was read, the main one first.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) per_listener: bool,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) plugins: Vec<Plugin>,
    /// What holds for the whole broker.
    pub(crate) broker: Security,
    /// The user that the broker becomes when root starts it.
    pub(crate) user: Option<String>,
    /// A line that Mosquitto 2.0 does not know, so that the broker is a later one.
    pub(crate) needs_2_1: bool,
    /// What every version refuses.
    pub(crate) mistakes: Vec<Remark>,
    /// What the broker includes, and this command may not read. Anything may stand there.
    pub(crate) unread: Vec<Remark>,
    pub(crate) warnings: Vec<Remark>,
}

/// Settings of the broker or of one listener.
#[derive(Clone, Default, Debug)]
pub(crate) struct Security {
    pub(crate) allow_anonymous: Option<(bool, Place)>,
    pub(crate) password_file: Option<(String, Place)>,
    pub(crate) acl_file: Option<(String, Place)>,
}

#[derive(Default)]
pub(crate) struct Listener {
    /// Its port, or the path of its socket.
    pub(crate) name: String,
    /// The address or host name that it is bound to; none: every address, or (without a `listener`
    /// line) the loopback interface.
    pub(crate) address: Option<String>,
    pub(crate) security: Security,
    /// Where it is named; none: the broker has it without a line that says so.
    pub(crate) place: Option<Place>,
    /// The line that has it speak MQTT over websockets.
    pub(crate) websockets: Option<Place>,
    /// The line that has a proxy tell it whom each connection is from.
    pub(crate) proxy: Option<Place>,
    /// The option that has the broker take usernames from certificates, and then ask nobody.
    pub(crate) certificate_names: Option<Place>,
}

/// A line that loads a plugin, and the options that follow it.
pub(crate) struct Plugin {
    pub(crate) place: Place,
    pub(crate) path: String,
    /// By which `plugin_use` refers to it.
    name: Option<String>,
    pub(crate) options: Vec<Opt>,
    /// For which listeners it decides, by their positions; none: for all.
    pub(crate) listeners: Option<BTreeSet<usize>>,
}

/// An option of a plugin, without its prefix.
#[derive(Clone)]
pub(crate) struct Opt {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) place: Place,
}

impl Plugin {
    /// The path's last part.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether listeners take it up by a plugin_use, where more options may follow.
    pub(crate) fn has_uses(&self) -> bool {
        self.name.is_some()
    }

    /// The options as the broker hands them over.
    pub(crate) fn given(&self) -> Vec<(String, String)> {
        self.options.iter().map(|o| (o.name.clone(), o.value.clone())).collect()
    }

    /// The option that a mistake is about: its last line if there are several. Names of header fields
    /// know no case, and mosquitto-go-auth's backend of files has older names for its options.
    pub(crate) fn option(&self, name: &str) -> Option<&Opt> {
        let older = name.strip_prefix("files_");
        let is_it = |o: &&Opt| o.name.eq_ignore_ascii_case(name) || Some(o.name.as_str()) == older;
        self.options.iter().rfind(is_it)
    }

    /// Where it stands; the plugin's line if it is not there.
    pub(crate) fn place_of(&self, option: Option<&str>) -> &Place {
        let option = option.and_then(|name| self.option(name));
        option.map_or(&self.place, |option| &option.place)
    }
}

impl Conf {
    /// Reads a file, and what it includes.
    ///
    /// # Errors
    /// The file itself cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let mut conf = lines::read(path).map_err(|error| {
            let problem = reader::unread_by_all_but_root(path).unwrap_or_else(|| error.to_string());
            format!("cannot read {}: {problem}", path.display())
        })?;
        if conf.unread.is_empty() {
            conf.look_for_idle_plugins();
        }
        Ok(conf)
    }

    /// The user that reads what the plugin needs; none: this machine does not know it, or what names it
    /// may stand where nothing can be read.
    pub(crate) fn reader(&self) -> Option<Reader> {
        let user = self.user.as_deref().unwrap_or(USUAL_USER);
        self.unread.is_empty().then(|| Reader::named(user)).flatten()
    }

    /// What holds for clients of a listener.
    pub(crate) fn security_of(&self, listener: usize) -> &Security {
        match self.listeners.get(listener) {
            Some(listener) if self.per_listener => &listener.security,
            _ => &self.broker,
        }
    }

    fn look_for_idle_plugins(&mut self) {
        for plugin in &self.plugins {
            if let (Some(name), Some(listeners)) = (&plugin.name, &plugin.listeners) {
                if listeners.is_empty() {
                    let text = format!(
                        "plugin_load {name}: no listener has a plugin_use {name}, and then Mosquitto \
                         2.1 ends at its start without a word"
                    );
                    self.mistakes.push(Remark::new(&plugin.place, text));
                }
            }
        }
    }
}
