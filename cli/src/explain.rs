//! The subcommand `explain`.

#![forbid(unsafe_code)]

use std::io::Write;

use mosquitto_http_auth::config::{Described, described, edit_distance};

use crate::args;
use crate::exit;
use crate::paint::{HEADING, Paint as _};
use crate::problem::Problem;

pub(crate) fn run(args: &args::Explain, out: &mut dyn Write) -> Result<u8, Problem> {
    let name = args.option.trim_start_matches("plugin_opt_").trim_start_matches("auth_opt_");
    let all = described();
    let option = find(&all, name).ok_or_else(|| unknown(&all, name))?;
    writeln!(out, "{}", option.name.paint(HEADING))?;
    writeln!(out, "  {}", plain(option.meaning))?;
    if !option.allowed.is_empty() {
        writeln!(out, "  allowed: {}", plain(&option.allowed))?;
    }
    writeln!(out, "  default: {}", plain(&option.default))?;
    Ok(exit::YES)
}

/// An option, or the one for all options whose names begin like this.
fn find<'a>(all: &'a [Described], name: &str) -> Option<&'a Described> {
    let is_family = |option: &&Described| {
        let family = option.name.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        family.is_some_and(|end| name.starts_with(&option.name[..end]))
    };
    all.iter().find(|option| option.name == name).or_else(|| all.iter().find(is_family))
}

fn unknown(all: &[Described], name: &str) -> String {
    let distance = |option: &Described| edit_distance(name, option.name);
    let nearest = all.iter().min_by_key(|option| distance(option)).map_or("", |o| o.name);
    format!("there is no option {name:?}; the nearest known name is {nearest}")
}

/// Without the marks of Markdown.
fn plain(text: &str) -> String {
    text.replace(['`', '*'], "")
}
