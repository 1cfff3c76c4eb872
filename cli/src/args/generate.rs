//! The command line of `generate`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Subcommand;

/// Write the manual pages or the shells' completions into a folder
///
/// For packages: the files have the names that man and the shells look for.
#[derive(Subcommand)]
#[command(
    hide = true,
    after_long_help = "Examples:\n  mosquitto-http-auth generate man target/man\n  \
                       mosquitto-http-auth generate completions target/completions"
)]
pub(crate) enum Generate {
    /// Manual pages of section 1: mosquitto-http-auth.1, and one for each subcommand
    Man {
        /// The folder; the command creates it if it is missing
        folder: PathBuf,
    },
    /// Completions: mosquitto-http-auth.bash, _mosquitto-http-auth (zsh), mosquitto-http-auth.fish
    Completions {
        /// The folder; the command creates it if it is missing
        folder: PathBuf,
    },
}
