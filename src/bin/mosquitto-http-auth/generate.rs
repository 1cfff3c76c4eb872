//! Manual pages and completions, made from the command line's own description.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::{Arguments, Generate};

/// Writes the files, and returns what to say if that fails.
pub fn run(what: &Generate) -> Result<(), String> {
    let (Generate::Man { folder } | Generate::Completions { folder }) = what;
    let made = fs::create_dir_all(folder).and_then(|()| match what {
        Generate::Man { folder } => man(folder),
        Generate::Completions { folder } => completions(folder),
    });
    made.map_err(|error| format!("cannot write into {}: {error}", folder.display()))
}

fn man(folder: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(Arguments::command(), folder)
}

fn completions(folder: &Path) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut command = Arguments::command();
        let name = command.get_name().to_owned();
        clap_complete::generate_to(shell, &mut command, name, folder)?;
    }
    Ok(())
}
