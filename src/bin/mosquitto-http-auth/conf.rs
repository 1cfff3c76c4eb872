//! Reads a mosquitto.conf as the broker does, as far as it is about plugins and who may log in.
//!
//! Where Mosquitto 2.0 and 2.1 differ, what both refuse is a mistake, and what one of them refuses
//! is a warning that names it.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

mod keywords;
mod order;

/// A line of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub file: Rc<Path>,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Something to say about a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    pub place: Place,
    pub text: String,
}

/// A whole configuration.
pub struct Conf {
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
    pub per_listener: bool,
    pub listeners: Vec<Listener>,
    pub plugins: Vec<Plugin>,
    /// What holds for the whole broker.
    pub broker: Security,
    /// The user that the broker becomes when root starts it.
    pub user: Option<String>,
    /// What every version refuses.
    pub mistakes: Vec<Remark>,
    pub warnings: Vec<Remark>,
}

/// Settings of the broker or of one listener.
#[derive(Clone, Default, Debug)]
pub struct Security {
    pub allow_anonymous: Option<(bool, Place)>,
    pub password_file: Option<(String, Place)>,
    pub acl_file: Option<(String, Place)>,
}

pub struct Listener {
    /// Its port, or the path of its socket.
    pub name: String,
    pub security: Security,
    /// The option that has the broker take usernames from certificates, and then ask nobody.
    pub certificate_names: Option<Place>,
}

/// A line that loads a plugin, and the options that follow it.
pub struct Plugin {
    pub place: Place,
    pub path: String,
    /// By which `plugin_use` refers to it.
    name: Option<String>,
    pub options: Vec<Opt>,
    /// For which listeners it decides, by their positions; none: for all.
    pub listeners: Option<BTreeSet<usize>>,
}

/// An option of a plugin, without its prefix.
#[derive(Clone)]
pub struct Opt {
    pub name: String,
    pub value: String,
    pub place: Place,
}

impl Plugin {
    /// The path's last part.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The options as the broker hands them over.
    pub fn given(&self) -> Vec<(String, String)> {
        self.options.iter().map(|o| (o.name.clone(), o.value.clone())).collect()
    }

    /// Where an option stands that a mistake is about: its last line if there are several. Names
    /// of header fields know no case.
    pub fn place_of(&self, option: Option<&str>) -> &Place {
        let is_it = |name: &str| option.is_some_and(|option| name.eq_ignore_ascii_case(option));
        self.options.iter().rfind(|o| is_it(&o.name)).map_or(&self.place, |o| &o.place)
    }
}

impl Conf {
    /// Reads a file, and what it includes.
    ///
    /// # Errors
    /// The file itself cannot be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut reader = Reader { conf: Self::empty(), files_since_2_1: BTreeSet::new() };
        reader.file(path, 0).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        reader.conf.look_for_idle_plugins();
        Ok(reader.conf)
    }

    fn empty() -> Self {
        Self {
            files: Vec::new(),
            per_listener: false,
            listeners: Vec::new(),
            plugins: Vec::new(),
            broker: Security::default(),
            user: None,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What holds for clients of a listener.
    pub fn security_of(&self, listener: usize) -> &Security {
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
                    self.mistakes.push(Remark { place: plugin.place.clone(), text });
                }
            }
        }
    }
}

struct Reader {
    conf: Conf,
    /// Options of 2.1 that were noted already.
    files_since_2_1: BTreeSet<&'static str>,
}

/// What lines refer to that follow in the same file; an included file begins anew.
#[derive(Default)]
struct Context {
    listener: Option<usize>,
    plugin: Option<usize>,
}

impl Reader {
    fn file(&mut self, path: &Path, level: usize) -> std::io::Result<()> {
        let bytes = fs::read(path)?;
        self.conf.files.push(path.to_owned());
        let file: Rc<Path> = path.into();
        let mut context = Context::default();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let place = Place { file: Rc::clone(&file), line: index + 1 };
            if let Some((name, rest)) = parts(line) {
                self.line(&mut context, &name, &rest, place, level);
            }
        }
        Ok(())
    }

    fn line(&mut self, context: &mut Context, name: &str, rest: &str, place: Place, level: usize) {
        if let Some(known) = keywords::SINCE_2_1.iter().find(|known| **known == name) {
            if self.files_since_2_1.insert(known) {
                self.warn(
                    &place,
                    format!("Mosquitto 2.0 does not know {name}, and does not start"),
                );
            }
        }
        let option = name.strip_prefix("plugin_opt_").or_else(|| name.strip_prefix("auth_opt_"));
        if let Some(option) = option {
            return self.option(context, option, rest, place);
        }
        match name {
            "include_dir" => self.include(rest, &place, level),
            "listener" => self.listener(context, rest, place),
            "per_listener_settings" => {
                self.conf.per_listener |= self.flag(name, rest, &place).unwrap_or(false);
            }
            "plugin" | "auth_plugin" | "global_plugin" | "plugin_load" => {
                self.plugin(context, name, rest, place);
            }
            "plugin_use" => self.plugin_use(context, rest.trim(), &place),
            "allow_anonymous" | "listener_allow_anonymous" => {
                if let Some(flag) = self.flag(name, rest, &place) {
                    let of_listener = name == "listener_allow_anonymous";
                    self.security(context, of_listener).allow_anonymous = Some((flag, place));
                }
            }
            "password_file" => {
                let file = rest.trim().to_owned();
                self.security(context, false).password_file = Some((file, place));
            }
            "acl_file" => {
                let file = rest.trim().to_owned();
                self.security(context, false).acl_file = Some((file, place));
            }
            "use_identity_as_username" | "use_subject_as_username" => {
                if self.flag(name, rest, &place) == Some(true) {
                    self.in_force(context).certificate_names = Some(place);
                }
            }
            "user" => self.conf.user = Some(rest.trim().to_owned()),
            _ => {
                if let Some(problem) = keywords::problem(name) {
                    self.warn(&place, problem);
                }
            }
        }
    }

    fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.conf.warnings.push(Remark { place: place.clone(), text: text.into() });
    }

    fn refuse(&mut self, place: &Place, text: impl Into<String>) {
        self.conf.mistakes.push(Remark { place: place.clone(), text: text.into() });
    }

    fn flag(&mut self, name: &str, rest: &str, place: &Place) -> Option<bool> {
        match rest.split(' ').find(|word| !word.is_empty()) {
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            _ => {
                let given = rest.trim();
                self.refuse(
                    place,
                    format!("{name}: {given:?} is not allowed; allowed: true, false"),
                );
                None
            }
        }
    }

    fn include(&mut self, rest: &str, place: &Place, level: usize) {
        if level > 0 {
            return self.refuse(place, "include_dir is allowed in the main file only");
        }
        match order::included(Path::new(rest)) {
            Ok(files) => {
                for file in files {
                    if let Err(error) = self.file(&file, level + 1) {
                        self.refuse(place, format!("cannot read {}: {error}", file.display()));
                    }
                }
            }
            Err(error) => self.refuse(place, format!("include_dir: cannot read {rest:?}: {error}")),
        }
    }

    fn listener(&mut self, context: &mut Context, rest: &str, place: Place) {
        let mut words = rest.split(' ').filter(|word| !word.is_empty());
        let (port, address) = (words.next().unwrap_or_default(), words.next());
        let name = match (port.parse::<u16>(), address) {
            (Ok(0), Some(path)) => path.to_owned(),
            (Ok(0), None) => {
                return self.refuse(&place, "a listener with port 0 needs the path of a socket");
            }
            (Ok(port), _) => port.to_string(),
            (Err(_), _) => {
                let text = format!("listener: {port:?} is not allowed; allowed: a port");
                return self.refuse(&place, text);
            }
        };
        context.listener = Some(self.add_listener(name));
    }

    fn add_listener(&mut self, name: String) -> usize {
        let listener = Listener { name, security: Security::default(), certificate_names: None };
        self.conf.listeners.push(listener);
        self.conf.listeners.len() - 1
    }

    /// The listener that a line belongs to: before the first one, the default one.
    fn in_force(&mut self, context: &mut Context) -> &mut Listener {
        let position = self.position(context);
        &mut self.conf.listeners[position]
    }

    fn position(&mut self, context: &mut Context) -> usize {
        let position = context.listener.unwrap_or_else(|| {
            let known = self.conf.listeners.iter().position(|l| l.name == DEFAULT_LISTENER);
            known.unwrap_or_else(|| self.add_listener(DEFAULT_LISTENER.to_owned()))
        });
        context.listener = Some(position);
        position
    }

    fn security(&mut self, context: &mut Context, of_listener: bool) -> &mut Security {
        if self.conf.per_listener || of_listener {
            &mut self.in_force(context).security
        } else {
            &mut self.conf.broker
        }
    }

    fn plugin(&mut self, context: &mut Context, keyword: &str, rest: &str, place: Place) {
        let (name, path) = match keyword {
            "plugin_load" => {
                let (name, path) =
                    rest.trim_start_matches(' ').split_once(' ').unwrap_or((rest, ""));
                (Some(name.to_owned()), path)
            }
            _ => (None, rest),
        };
        if path.trim().is_empty() {
            return self.refuse(&place, format!("{keyword}: the path of the plugin is missing"));
        }
        if path.trim() != path {
            let text = "blanks around the path: Mosquitto 2.1 takes them for a part of it";
            self.warn(&place, text);
        }
        let listeners = match keyword {
            "plugin_load" => Some(BTreeSet::new()),
            "global_plugin" => None,
            _ if self.conf.per_listener && context.listener.is_none() => {
                let text = format!(
                    "{keyword} stands before the first listener, and with per_listener_settings \
                     Mosquitto 2.1 does not start then"
                );
                self.warn(&place, text);
                Some(BTreeSet::from([self.position(context)]))
            }
            _ => self.conf.per_listener.then(|| context.listener.into_iter().collect()),
        };
        let path = path.trim().to_owned();
        self.conf.plugins.push(Plugin { place, path, name, options: Vec::new(), listeners });
        context.plugin = Some(self.conf.plugins.len() - 1);
    }

    fn plugin_use(&mut self, context: &mut Context, name: &str, place: &Place) {
        let Some(listener) = context.listener else {
            return self.refuse(place, "plugin_use: it belongs under a listener");
        };
        let named = |plugin: &Plugin| plugin.name.as_deref() == Some(name);
        match self.conf.plugins.iter().position(named) {
            Some(position) => {
                context.plugin = Some(position);
                self.conf.plugins[position].listeners.get_or_insert_default().insert(listener);
            }
            None => self.refuse(place, format!("plugin_use {name}: no plugin_load {name} before")),
        }
    }

    fn option(&mut self, context: &Context, name: &str, rest: &str, place: Place) {
        let Some(plugin) = context.plugin else {
            let text = format!(
                "option {name} stands before any plugin line of its file, and then no broker starts"
            );
            return self.refuse(&place, text);
        };
        let value = rest.trim_start_matches([' ', '\t']);
        if name.len() < 3 {
            let text =
                format!("option {name:?}: no broker takes a name of fewer than 3 characters");
            return self.refuse(&place, text);
        }
        if value.is_empty() {
            // 2.1 passes an empty value on where blanks follow the name.
            let (name, tab) = name.split_once('\t').map_or((name, false), |(name, _)| (name, true));
            let hint = if tab { "; a blank, not a tab, ends the name" } else { "" };
            let text = format!("option {}: the value is missing{hint}", name.escape_debug());
            return self.refuse(&place, text);
        }
        let option = Opt { name: name.to_owned(), value: value.to_owned(), place };
        self.conf.plugins[plugin].options.push(option);
    }
}

/// The listener of a configuration that names none, or that says something before it does.
pub const DEFAULT_LISTENER: &str = "1883";

/// A line's first word, and what follows the blank behind it; none where there is nothing. What is
/// not UTF-8 becomes U+FFFD, as when the plugin reads it.
fn parts(line: &[u8]) -> Option<(String, String)> {
    if line.starts_with(b"#") || line.starts_with(b"\r") {
        return None;
    }
    // The broker's lines are C strings.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\r', '\n']).trim_start_matches(' ');
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    (!name.is_empty()).then(|| (name.to_owned(), rest.to_owned()))
}
