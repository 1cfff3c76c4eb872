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

/// One block of the plugin, and what came of it.
struct Block<'a> {
    plugin: &'a Plugin,
    scope: String,
    config: Option<Config>,
    mistakes: Vec<Remark>,
    /// What the plugin warns of at every start.
    warnings: Vec<String>,
    hints: Vec<Remark>,
}

/// What there is to say about the file, and its blocks.
struct Checked<'a> {
    conf: &'a Conf,
    /// Those of the file itself.
    mistakes: Vec<Remark>,
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
}

/// Checks, and returns the exit status.
pub(crate) fn run(args: &args::Check, out: &mut dyn Write) -> Result<u8, Problem> {
    let conf = Conf::read(&args.conf.file)?;
    let mut found = block::find(&conf, args.conf.plugin.as_deref());
    if args.conf.listener.is_some() {
        found = vec![block::choose(&conf, &args.conf)?];
    }
    let missing = found.is_empty().then(|| block::none_found(&conf, args.conf.plugin.as_deref()));
    let lints = lints::about_conf(&conf, &found);
    let mistakes = conf.mistakes.iter().cloned().chain(lints.mistakes).collect();
    let blocks: Vec<_> = found.into_iter().map(|plugin| look_at(&conf, plugin)).collect();
    let checked = Checked { conf: &conf, mistakes, hints: lints.hints, missing, blocks };
    if args.json {
        writeln!(out, "{:#}", as_json(&checked))?;
    } else {
        print(out, &checked, args.all)?;
    }
    Ok(if checked.mistakes() == 0 { exit::YES } else { exit::NO })
}

fn look_at<'a>(conf: &Conf, plugin: &'a Plugin) -> Block<'a> {
    let scope = block::scope(conf, plugin);
    let (config, mistakes, warnings) =
        match block::start(plugin, Start { talkative: true, ..Start::default() }) {
            Ok(started) => {
                let warnings = started.lines.into_iter().filter(|(level, _)| *level == Level::Warn);
                (Some(started.config), Vec::new(), warnings.map(|(_, line)| line).collect())
            }
            Err(mistakes) => (None, mistakes, Vec::new()),
        };
    let lints = lints::about_block(conf, plugin, config.as_ref());
    let mistakes = mistakes.into_iter().chain(lints.mistakes).collect();
    Block { plugin, scope, config, mistakes, warnings, hints: lints.hints }
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
    let Checked { conf, mistakes, hints, missing, blocks } = checked;
    let mut line = |style, what: &str, text: String| writeln!(out, "{} {text}", what.paint(style));
    for remark in mistakes {
        line(WRONG, "mistake:", remark.to_string())?;
    }
    if let Some(missing) = missing {
        line(WRONG, "mistake:", missing.to_owned())?;
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
    let Checked { conf, mistakes, hints, missing, blocks } = checked;
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
            "warnings": block.warnings,
            "hints": remarks(&block.hints),
            "settings": settings,
        })
    };
    let mut mistakes = remarks(mistakes);
    mistakes.extend(missing.iter().map(|text| json!({ "text": text })));
    json!({
        "valid": checked.mistakes() == 0,
        "files": conf.files,
        "mistakes": mistakes,
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
