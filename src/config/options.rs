//! The table of every option: its name, its default, what it means, how its value is read and how it
//! is shown. The tables in `docs/configuration.md` are generated from here.

#![forbid(unsafe_code)]

use super::Config;
use super::raw_config::RawConfig;

mod api;
mod cache;
mod clients;
mod fleet;
mod format;
mod observability;
pub(super) mod plain_values;
mod show;
mod tokens;
mod undecided;
pub(crate) use show::source;

/// One option, as users know it.
pub(crate) struct Opt {
    pub name: &'static str,
    pub default: Preset,
    pub meaning: &'static str,
    /// Checks the value and puts it into the raw configuration; what is allowed where it does not fit.
    pub(super) set: fn(&mut RawConfig, &str) -> Result<(), String>,
    /// The value in force, as one would give it; none: it has none.
    pub(super) show: fn(&Config) -> Option<String>,
}

/// What holds where an option is not given.
#[derive(Clone, Copy)]
pub(crate) enum Preset {
    /// This value.
    Value(&'static str),
    /// What these words say.
    Words(&'static str),
}

/// The options that begin like this name a header field each.
pub(crate) const HEADER_PREFIX: &str = "http_header_";

macro_rules! opt {
    ($name:literal, $default:expr, $meaning:literal, |$raw:ident, $text:ident| $set:expr,
     |$config:ident| $show:expr) => {
        Opt {
            name: $name,
            default: $default,
            meaning: $meaning,
            set: |$raw, $text| {
                $set;
                Ok(())
            },
            show: |$config| $show,
        }
    };
}
use opt;

/// Every option that takes part, in the order of the documentation.
pub(crate) fn options() -> impl Iterator<Item = &'static Opt> {
    [
        api::OPTIONS,
        format::OPTIONS,
        cache::OPTIONS,
        undecided::OPTIONS,
        clients::OPTIONS,
        tokens::OPTIONS,
        observability::OPTIONS,
        fleet::OPTIONS,
    ]
    .into_iter()
    .flatten()
}

/// The option of this very name.
pub(crate) fn find(name: &str) -> Option<&'static Opt> {
    options().find(|option| option.name == name)
}
