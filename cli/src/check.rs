//! The subcommand `check`.

#![forbid(unsafe_code)]

use std::io::{self, Write};

use anstyle::Style;
use log::Level;
use mosquitto_http_auth::config::{self, Config, Origin, Setting};
use serde_json::{Value, json};

use crate::args;
use crate::block::{self, Start};
use crate::conf::{Conf, Plugin, Remark};
use crate::exit;
use crate::lints;
use crate::paint::{FAINT, GOOD, HEADING, Paint as _, WARNING, WRONG};
use crate::problem::Problem;
use crate::reader::Reader;

/// One block of the plugin, and what came of it.
struct Block<'a> {
    plugin: &'a Plugin,
    scope: String,
    config: Option<Config>,
    mistakes: Vec<Remark>,
    unread: Vec<Remark>,
    /// What the plugin warns of at every start.
    warnings: Vec<String>,
    hints: Vec<Remark>,
}

/// What there is to say about the file, and its blocks.
struct Checked<'a> {
    conf: &'a Conf,
    /// Those of the file itself.
    mistakes: Vec<Remark>,
    unread: Vec<Remark>,
    hints: Vec<Remark>,
    /// What to say if no block is there.
    missing: Option<String>,
    blocks: Vec<Block<'a>>,
}

impl Checked<'_> {
    fn mistakes(&self) -> usize {
        let of_blocks: usize = self.blocks.iter().map(|block| block.mistakes.len()).sum();
        of_blocks + self.mistakes.len() + usize::from(self.missing.is_some())
    }

    fn unread(&self) -> usize {
        self.unread.len() + self.blocks.iter().map(|block| block.unread.len()).sum::<usize>()
    }

    /// Whether the options are valid; none: nobody knows, since not everything could be read.
    fn is_valid(&self) -> Option<bool> {
        match (self.mistakes(), self.unread()) {
            (0, 0) => Some(true),
            (0, _) => None,
            _ => Some(false),
        }
    }
}

/// Checks, and returns the exit status.
pub(crate) fn run(args: &args::Check, out: &mut dyn Write) -> Result<u8, Problem> {
    let conf = Conf::read(&args.conf.file)?;
    let mut found = block::find(&conf, args.conf.plugin.as_deref());
    if args.conf.listener.is_some() {
        found = vec![block::choose(&conf, &args.conf)?];
    }
    let is_missing = found.is_empty() && conf.unread.is_empty();
    let missing = is_missing.then(|| block::none_found(&conf, args.conf.plugin.as_deref()));
    let reader = conf.reader();
    let lints = lints::about_conf(&conf, reader.as_ref(), &found);
    let mistakes = conf.mistakes.iter().cloned().chain(lints.mistakes).collect();
    let unread = conf.unread.iter().cloned().chain(lints.unread).collect();
    let blocks = found.into_iter().map(|plugin| look_at(&conf, reader.as_ref(), plugin)).collect();
    let checked = Checked { conf: &conf, mistakes, unread, hints: lints.hints, missing, blocks };
    if args.json {
        writeln!(out, "{:#}", as_json(&checked))?;
    } else {
        print(out, &checked, args.all)?;
    }
    Ok(match checked.is_valid() {
        Some(true) => exit::YES,
        Some(false) => exit::NO,
        None => exit::USAGE,
    })
}

fn look_at<'a>(conf: &Conf, reader: Option<&Reader>, plugin: &'a Plugin) -> Block<'a> {
    let scope = block::scope(conf, plugin);
    let start = Start { talkative: true, ..Start::default() };
    // A plugin_use that cannot be read may have more options for it.
    let is_whole = conf.unread.is_empty() || !plugin.has_uses();
    let started = is_whole.then(|| block::start(plugin, reader, start)).transpose();
    let (started, failed) =
        started.map_or_else(|failed| (None, failed), |started| (started, block::Failed::default()));
    let (config, lines) = started.map(|started| (started.config, started.lines)).unzip();
    let warnings = lines.into_iter().flatten().filter(|(level, _)| *level == Level::Warn);
    let lints = lints::about_block(conf, reader, plugin, config.as_ref());
    Block {
        plugin,
        scope,
        config,
        mistakes: failed.mistakes.into_iter().chain(lints.mistakes).collect(),
        unread: failed.unread.into_iter().chain(lints.unread).collect(),
        warnings: warnings.map(|(_, line)| line).collect(),
        hints: lints.hints,
    }
}

impl Block<'_> {
    fn settings(&self) -> Vec<Setting> {
        let given = self.plugin.given();
        self.config.as_ref().map(|config| config::settings(config, &given)).unwrap_or_default()
    }

    /// Where a setting comes from, in words.
    fn origin(&self, setting: &Setting) -> String {
        match setting.origin {
            Origin::Given => {
                let place = self.plugin.place_of(Some(&setting.name));
                if place.file == self.plugin.place.file {
                    format!("line {}", place.line)
                } else {
                    place.to_string()
                }
            }
            Origin::Default => "default".to_owned(),
            Origin::Predecessor => "by compat".to_owned(),
        }
    }
}

fn print(out: &mut dyn Write, checked: &Checked<'_>, all: bool) -> io::Result<()> {
    let Checked { conf, mistakes, unread, hints, missing, blocks } = checked;
    let mut line = |style, what: &str, text: String| writeln!(out, "{} {text}", what.paint(style));
    for remark in mistakes {
        line(WRONG, "mistake:", remark.to_string())?;
    }
    if let Some(missing) = missing {
        line(WRONG, "mistake:", missing.to_owned())?;
    }
    for remark in unread {
        line(WARNING, "unread:", remark.to_string())?;
    }
    for remark in &conf.warnings {
        line(WARNING, "warning:", remark.to_string())?;
    }
    for remark in hints {
        line(WARNING, "hint:", remark.to_string())?;
    }
    for block in blocks {
        print_block(out, block, all)?;
    }
    let (text, style) = match (checked.mistakes(), missing) {
        (0, _) if checked.unread() > 0 => {
            ("No mistake was found, but not everything could be read.", WARNING)
        }
        (0, _) => ("The options are valid.", GOOD),
        (1, Some(_)) => ("The broker would start without the plugin.", WRONG),
        (1, None) => ("1 mistake: the broker would not start.", WRONG),
        (many, _) => (&*format!("{many} mistakes: the broker would not start."), WRONG),
    };
    writeln!(out, "{}", text.paint(style))
}

fn print_block(out: &mut dyn Write, block: &Block<'_>, all: bool) -> io::Result<()> {
    let Block { plugin, scope, .. } = block;
    let title = format!("{}: {} for {scope}", plugin.place, plugin.path);
    writeln!(out, "{}", title.paint(HEADING))?;
    let mut line =
        |style, what: &str, text: String| writeln!(out, "  {} {text}", what.paint(style));
    for remark in &block.mistakes {
        line(WRONG, "mistake:", remark.to_string())?;
    }
    for remark in &block.unread {
        line(WARNING, "unread:", remark.to_string())?;
    }
    for text in &block.warnings {
        line(WARNING, "warning:", text.clone())?;
    }
    for remark in &block.hints {
        line(WARNING, "hint:", remark.to_string())?;
    }
    let mut left_out = 0;
    for setting in block.settings() {
        let style = match setting.origin {
            Origin::Default if !all => {
                left_out += 1;
                continue;
            }
            Origin::Default => FAINT,
            Origin::Given | Origin::Predecessor => Style::new(),
        };
        let origin = block.origin(&setting);
        let text = format!("  {:<24} {:<32} {origin}", setting.name, setting.value);
        writeln!(out, "{}", text.paint(style))?;
    }
    if left_out > 0 {
        let text = format!("  {left_out} more options have their defaults; --all shows them");
        writeln!(out, "{}", text.paint(FAINT))?;
    }
    Ok(())
}

fn as_json(checked: &Checked<'_>) -> Value {
    let Checked { conf, mistakes, unread, hints, missing, blocks } = checked;
    let setting = |block: &Block<'_>, setting: &Setting| {
        let place = block.plugin.place_of(Some(&setting.name));
        let origin = match setting.origin {
            Origin::Given => "given",
            Origin::Default => "default",
            Origin::Predecessor => "compat",
        };
        let mut value = json!({ "name": setting.name, "value": setting.value, "origin": origin });
        if setting.origin == Origin::Given {
            value["file"] = json!(place.file.to_string_lossy());
            value["line"] = json!(place.line);
        }
        value
    };
    let block = |block: &Block<'_>| {
        let settings: Vec<_> = block.settings().iter().map(|s| setting(block, s)).collect();
        json!({
            "file": block.plugin.place.file.to_string_lossy(),
            "line": block.plugin.place.line,
            "path": block.plugin.path,
            "scope": block.scope,
            "mistakes": remarks(&block.mistakes),
            "unread": remarks(&block.unread),
            "warnings": block.warnings,
            "hints": remarks(&block.hints),
            "settings": settings,
        })
    };
    let mut mistakes = remarks(mistakes);
    mistakes.extend(missing.iter().map(|text| json!({ "text": text })));
    json!({
        "valid": checked.is_valid(),
        "files": conf.files,
        "mistakes": mistakes,
        "unread": remarks(unread),
        "warnings": remarks(&conf.warnings),
        "hints": remarks(hints),
        "plugins": blocks.iter().map(block).collect::<Vec<_>>(),
    })
}

fn remarks(remarks: &[Remark]) -> Vec<Value> {
    let remark = |Remark { place, text }: &Remark| {
        json!({
            "file": place.file.to_string_lossy(), "line": place.line, "text": text
        })
    };
    remarks.iter().map(remark).collect()
}
