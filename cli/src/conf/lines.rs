//! Reads the lines of a mosquitto.conf, each in the context of those before it.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use super::{Conf, Listener, Opt, Place, Plugin, Remark, Security, keywords, order};
use crate::reader;

/// Reads a file, and what it includes.
///
/// # Errors
/// The file itself cannot be read.
pub(crate) fn read(path: &Path) -> std::io::Result<Conf> {
    let mut reader = Reader::default();
    reader.file(path, 0)?;
    Ok(reader.conf)
}

#[derive(Default)]
struct Reader {
    conf: Conf,
    /// Options of 2.1 that were noted already.
    noted: BTreeSet<&'static str>,
    /// The listener of what stands before the first one, once there is such a line.
    default: Option<usize>,
}

/// What lines refer to that follow in the same file; an included file begins anew.
#[derive(Default)]
struct Context {
    listener: Option<usize>,
    plugin: Named,
}

/// The plugin that options are for.
#[derive(Default)]
enum Named {
    #[default]
    Nowhere,
    Here(usize),
    /// Where nothing can be read.
    Unread,
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
            self.conf.needs_2_1 = true;
            if self.noted.insert(known) {
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
            "port" => self.port(context, rest, place),
            "per_listener_settings" => {
                self.conf.per_listener |= self.flag(name, rest, &place).unwrap_or(false);
            }
            "plugin" | "auth_plugin" | "global_plugin" | "plugin_load" => {
                self.plugin(context, name, rest, place);
            }
            "plugin_use" => self.plugin_use(context, rest.trim(), &place),
            "user" => self.conf.user = Some(rest.trim().to_owned()),
            _ => self.session_key(context, name, rest, place),
        }
    }

    /// A line about who may log in, or one that is not read here.
    fn session_key(&mut self, context: &mut Context, name: &str, rest: &str, place: Place) {
        match name {
            "allow_anonymous" | "listener_allow_anonymous" => {
                if let Some(flag) = self.flag(name, rest, &place) {
                    let of_listener = name == "listener_allow_anonymous";
                    self.of_a_listener(context, name, &place);
                    self.security(context, of_listener).allow_anonymous = Some((flag, place));
                }
            }
            "password_file" | "acl_file" => {
                self.of_a_listener(context, name, &place);
                let security = self.security(context, false);
                let file = match name {
                    "password_file" => &mut security.password_file,
                    _ => &mut security.acl_file,
                };
                let earlier = file.replace((rest.trim().to_owned(), place.clone()));
                // Of other listeners, if it is said where nothing can be read that each has its own.
                if let (Some((_, earlier)), true) = (earlier, self.conf.unread.is_empty()) {
                    let text = format!(
                        "{name} stands at {earlier} as well, and then Mosquitto 2.0 does not start"
                    );
                    self.warn(&place, text);
                }
            }
            "allow_zero_length_clientid" | "auto_id_prefix" | "psk_file" => {
                self.of_a_listener(context, name, &place);
            }
            "use_identity_as_username" | "use_subject_as_username" => {
                if self.flag(name, rest, &place) == Some(true) {
                    self.in_force(context).certificate_names = Some(place);
                }
            }
            "protocol" if rest.trim() == "websockets" => {
                self.in_force(context).websockets = Some(place);
            }
            "enable_proxy_protocol" => self.in_force(context).proxy = Some(place),
            _ if name.trim_start_matches('\t').starts_with('#') => self.refuse(
                &place,
                "a comment begins with the first character of its line: no broker starts with this",
            ),
            _ => {
                if let Some(problem) = keywords::problem(name) {
                    self.warn(&place, problem);
                }
            }
        }
    }

    fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.conf.warnings.push(Remark::new(place, text));
    }

    fn refuse(&mut self, place: &Place, text: impl Into<String>) {
        self.conf.mistakes.push(Remark::new(place, text));
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
            let text = "include_dir in a file that is included: Mosquitto 2.0 passes over it, and 2.1 does \
                        not start";
            return self.warn(place, text);
        }
        match order::included(Path::new(rest)) {
            Ok(files) => {
                for file in files {
                    if let Err(error) = self.file(&file, level + 1) {
                        self.without(&file, place, &error);
                    }
                }
            }
            Err(error) => self.without(Path::new(rest), place, &error),
        }
    }

    /// Goes on without what an include_dir names and cannot be read.
    fn without(&mut self, path: &Path, place: &Place, error: &std::io::Error) {
        let about = |problem: &str| format!("include_dir: cannot read {path:?}: {problem}");
        match reader::unread_by_all_but_root(path) {
            Some(problem) => self.conf.unread.push(Remark::new(place, about(&problem))),
            None => self.refuse(place, about(&error.to_string())),
        }
    }

    fn listener(&mut self, context: &mut Context, rest: &str, place: Place) {
        let mut words = rest.split(' ').filter(|word| !word.is_empty());
        let (port, address) = (words.next().unwrap_or_default(), words.next());
        let (name, address) = match (port.parse::<u16>(), address) {
            (Ok(0), Some(path)) => (path.to_owned(), None),
            (Ok(0), None) => {
                return self.refuse(&place, "a listener with port 0 needs the path of a socket");
            }
            (Ok(port), address) => (port.to_string(), address),
            (Err(_), _) => {
                let text = format!("listener: {port:?} is not allowed; allowed: a port");
                return self.refuse(&place, text);
            }
        };
        let position = self.add_listener(name, address.map(str::to_owned));
        self.conf.listeners[position].place = Some(place);
        context.listener = Some(position);
    }

    /// The port of the default listener, wherever the line stands.
    fn port(&mut self, context: &mut Context, rest: &str, place: Place) {
        let word = rest.split(' ').find(|word| !word.is_empty()).unwrap_or_default();
        match word.parse::<u16>() {
            Ok(port) if port > 0 => {
                let position = self.default_listener();
                let listener = &mut self.conf.listeners[position];
                (listener.name, listener.place) = (port.to_string(), Some(place));
                context.listener.get_or_insert(position);
            }
            _ => self.refuse(&place, format!("port: {word:?} is not allowed; allowed: a port")),
        }
    }

    fn add_listener(&mut self, name: String, address: Option<String>) -> usize {
        self.conf.listeners.push(Listener { name, address, ..Listener::default() });
        self.conf.listeners.len() - 1
    }

    /// The listener that a line belongs to: before the first one, the default one.
    fn in_force(&mut self, context: &mut Context) -> &mut Listener {
        let position = self.position(context);
        &mut self.conf.listeners[position]
    }

    fn position(&mut self, context: &mut Context) -> usize {
        let position = context.listener.unwrap_or_else(|| self.default_listener());
        context.listener = Some(position);
        position
    }

    fn default_listener(&mut self) -> usize {
        let position =
            self.default.unwrap_or_else(|| self.add_listener(DEFAULT_LISTENER.to_owned(), None));
        *self.default.insert(position)
    }

    /// Notes that a line stands before the first listener of its file, where 2.1 wants one.
    fn of_a_listener(&mut self, context: &Context, name: &str, place: &Place) {
        if self.conf.per_listener && context.listener.is_none() {
            let text = format!(
                "{name} stands before the first listener, and with per_listener_settings Mosquitto \
                 2.1 does not start then"
            );
            self.warn(place, text);
        }
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
                self.of_a_listener(context, keyword, &place);
                Some(BTreeSet::from([self.position(context)]))
            }
            _ => self.conf.per_listener.then(|| context.listener.into_iter().collect()),
        };
        let path = path.trim().to_owned();
        self.conf.plugins.push(Plugin { place, path, name, options: Vec::new(), listeners });
        context.plugin = Named::Here(self.conf.plugins.len() - 1);
    }

    fn plugin_use(&mut self, context: &mut Context, name: &str, place: &Place) {
        let Some(listener) = context.listener else {
            return self.refuse(place, "plugin_use: it belongs under a listener");
        };
        let named = |plugin: &Plugin| plugin.name.as_deref() == Some(name);
        match self.conf.plugins.iter().position(named) {
            Some(position) => {
                context.plugin = Named::Here(position);
                let listeners = self.conf.plugins[position].listeners.get_or_insert_default();
                if !listeners.insert(listener) {
                    self.refuse(place, format!("plugin_use {name} stands twice under a listener"));
                }
            }
            None if !self.conf.unread.is_empty() => context.plugin = Named::Unread,
            None => self.refuse(place, format!("plugin_use {name}: no plugin_load {name} before")),
        }
    }

    fn option(&mut self, context: &Context, name: &str, rest: &str, place: Place) {
        let plugin = match context.plugin {
            Named::Here(plugin) => plugin,
            Named::Unread => return,
            Named::Nowhere => {
                let text = format!(
                    "option {name} stands before any plugin line of its file, and then no broker starts"
                );
                return self.refuse(&place, text);
            }
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
const DEFAULT_LISTENER: &str = "1883";

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
