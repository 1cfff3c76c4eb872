//! Files that the broker, or the plugin in it, needs at its start.

#![forbid(unsafe_code)]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use mosquitto_http_auth::config::Config;

use super::{Lints, scopes};
use crate::block;
use crate::conf::{Conf, Place, Plugin, Remark};
use crate::library;
use crate::reader::{self, Finding, Reader};

/// Whether the library that a line loads can be loaded. A path with a folder but without a leading /
/// counts from where the broker is started, which is not known here.
pub(crate) fn library(block: &Plugin, reader: Option<&Reader>) -> Lints {
    let mut lints = Lints::default();
    let path = Path::new(&block.path);
    if path.is_relative() && !block.path.contains('/') {
        let text = format!("{}: without a folder it is looked for where libraries are", block.path);
        lints.hints.push(Remark::new(&block.place, text));
    // Whoever comes from another plugin does not load its file any more.
    } else if !block::is_predecessor(block) {
        if let Some(problem) = library::problem(path) {
            let text = format!("{}: {problem}", block.path);
            lints.of_a_path(path).push(Remark::new(&block.place, text));
        } else {
            lints.add_unreadable(reader, ("plugin", &block.path, &block.place));
        }
    }
    lints
}

/// Files that are missing, or that the broker's user cannot read, as far as this machine knows it.
pub(crate) fn needed(
    conf: &Conf,
    reader: Option<&Reader>,
    block: &Plugin,
    config: Option<&Config>,
) -> Lints {
    let mut lints = Lints::default();
    for security in scopes(conf, block) {
        let named = [("password_file", &security.password_file), ("acl_file", &security.acl_file)];
        for (name, file) in named {
            let Some((path, place)) = file else { continue };
            let problem = match fs::metadata(path) {
                Ok(found) if !found.is_file() => {
                    "it is no file, and only Mosquitto 2.0.11 starts with it"
                }
                Err(error) if error.kind() == ErrorKind::NotFound => "there is no such file",
                _ => {
                    lints.add_unreadable(reader, (name, path, place));
                    continue;
                }
            };
            let text = format!("{name} {path}: {problem}");
            lints.of_a_path(Path::new(path)).push(Remark::new(place, text));
        }
    }
    for option in &block.options {
        if let (Some(path), Some(_)) = (block::relative_path(&option.name, &option.value), config) {
            let text = format!("option {}: {}", option.name, block::counts_from(path));
            lints.hints.push(Remark::new(&option.place, text));
        }
    }
    for (what, path, place) in config.map(|config| of_options(block, config)).unwrap_or_default() {
        lints.add_unreadable(reader, (&what, &path, &place));
    }
    lints
}

/// The files that options name.
fn of_options(block: &Plugin, config: &Config) -> Vec<(String, String, Place)> {
    let place = |option: &str| block.place_of(Some(option)).clone();
    let sources = &config.sources;
    // Nobody reads it where nothing is verified.
    let ca_file = sources.ca_file.clone().filter(|_| sources.verifies);
    let named = [
        ("tls_ca_file", &ca_file),
        ("tls_cert_file", &sources.cert_file),
        ("tls_key_file", &sources.key_file),
        ("jwt_key_file", &sources.jwt_key_file),
        ("jwt_secret_file", &sources.jwt_secret_file),
    ];
    let mut files: Vec<_> = named
        .into_iter()
        .filter_map(|(name, file)| Some((format!("option {name}"), file.clone()?, place(name))))
        .collect();
    for (name, value) in &sources.headers {
        let value = String::from_utf8_lossy(value.expose()).into_owned();
        if let Some(path) = value.strip_prefix('@') {
            let option = format!("http_header_{name}");
            let place = place(&option);
            files.push((format!("option {option}"), path.to_owned(), place));
        }
    }
    for (name, path) in sources.files_of_fleet() {
        files.push((format!("option {name}"), path, place(name)));
    }
    if let Some(local) = &config.local_users {
        let path = local.file.to_string_lossy().into_owned();
        files.push(("option local_users_file".to_owned(), path, place("local_users_file")));
    }
    let of_backend = config.files.as_ref();
    let paths = [
        ("files_password_path", of_backend.and_then(|files| files.passwords.as_ref())),
        ("files_acl_path", of_backend.and_then(|files| files.acl.as_ref())),
    ];
    for (name, path) in paths {
        let Some(path) = path else { continue };
        files.push((format!("option {name}"), path.to_string_lossy().into_owned(), place(name)));
    }
    files
}

impl Lints {
    /// Where to say what is wrong with a path: it stops the broker if it is the broker's path too.
    fn of_a_path(&mut self, path: &Path) -> &mut Vec<Remark> {
        if path.is_absolute() { &mut self.mistakes } else { &mut self.hints }
    }

    /// Says so if the broker's user cannot read a file, or if that cannot be told here.
    fn add_unreadable(&mut self, reader: Option<&Reader>, file: (&str, &str, &Place)) {
        let (what, path, place) = file;
        let path = Path::new(path);
        let remark = |text| Remark::new(place, format!("{what} {}: {text}", path.display()));
        match reader::look(reader, path) {
            Some(Finding::Refused(text)) => self.of_a_path(path).push(remark(text)),
            Some(Finding::Unread(text)) => self.unread.push(remark(text)),
            Some(Finding::Doubt(text)) => self.hints.push(remark(text)),
            None => {}
        }
    }
}
