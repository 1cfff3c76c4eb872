//! Manual pages and completions, made from the command line's own description.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::{Arguments, Generate};

/// Writes the files, and returns what to say if that fails.
pub(crate) fn run(what: &Generate) -> Result<(), String> {
    let (Generate::Man { folder } | Generate::Completions { folder }) = what;
    let made = fs::create_dir_all(folder).and_then(|()| match what {
        Generate::Man { folder } => man(folder),
        Generate::Completions { folder } => completions(folder),
    });
    made.map_err(|error| format!("cannot write into {}: {error}", folder.display()))
}

fn man(folder: &Path) -> io::Result<()> {
    let mut command = Arguments::command();
    command.build();
    let all = [&command].into_iter().chain(command.get_subcommands());
    for command in all.filter(|command| !command.is_hide_set()) {
        let page = Man::new(command.clone());
        fs::write(folder.join(page.get_filename()), text(&page)?)?;
    }
    Ok(())
}

/// The page, with what the help says below the options in sections of their own, line by line.
fn text(page: &Man) -> io::Result<String> {
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let Some((above, below)) = text.split_once(".SH EXTRA\n") else { return Ok(text) };
    let mut below = below.replace(".SH VERSION", ".fi\n.SH VERSION");
    for (heading, section) in [
        ("Exit status:", "\"EXIT STATUS\""),
        ("Examples:", "EXAMPLES"),
        ("Environment:", "ENVIRONMENT"),
    ] {
        below = below.replace(&format!("{heading}\n"), &format!(".fi\n.SH {section}\n.nf\n"));
    }
    Ok(above.to_owned() + &below)
}

fn completions(folder: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut command = Arguments::command();
        let name = command.get_name().to_owned();
        clap_complete::generate_to(shell, &mut command, name, folder)?;
    }
    Ok(())
}
