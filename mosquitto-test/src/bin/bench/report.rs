//! What came of it: on the terminal, and as Markdown with charts beside it.
//!
//! The report is made section by section: what was not measured again stays as it is, and so does
//! what somebody has written between the sections.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::args::{Args, Scenario};
use crate::machine;

/// One scenario's part of the report.
pub struct Section {
    scenario: Scenario,
    title: &'static str,
    command: String,
    parts: Vec<Part>,
    load: String,
}

enum Part {
    Text(String),
    Table(Table),
    Chart { file: String, title: String, svg: String },
}

/// Rows of text under a head.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// The head's cells are written as in Markdown: with bars between them.
    pub fn new(head: &'static str) -> Table {
        Table::with_head(head.split(" | "))
    }

    pub fn with_head(cells: impl IntoIterator<Item = impl Into<String>>) -> Table {
        Table { head: cells.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let row: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(row.len(), self.head.len(), "a row has as many cells as the head");
        self.rows.push(row);
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = vec!["---".to_owned(); self.head.len()];
        let mut text = line(&self.head) + &line(&rule);
        for row in &self.rows {
            text += &line(row);
        }
        text
    }

    fn plain(&self) -> String {
        let rows: Vec<&Vec<String>> = std::iter::once(&self.head).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> =
            (0..self.head.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in rows {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "  {cell:width$}");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

impl Section {
    pub fn new(title: &'static str, scenario: Scenario, args: &Args) -> Section {
        let load = machine::load();
        let command = args.command(scenario);
        Section { scenario, title, command, parts: Vec::new(), load }
    }

    pub fn text(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    pub fn table(&mut self, table: Table) {
        self.parts.push(Part::Table(table));
    }

    pub fn chart(&mut self, file: impl Into<String>, title: impl Into<String>, svg: String) {
        self.parts.push(Part::Chart { file: file.into(), title: title.into(), svg });
    }

    pub fn print(&self) {
        println!();
        for part in &self.parts {
            match part {
                Part::Text(text) => println!("{text}"),
                Part::Table(table) => println!("{}", table.plain()),
                Part::Chart { .. } => {}
            }
        }
    }

    /// The Markdown; charts go into the folder of that name.
    fn write(&self, folder: &Path) -> String {
        let mut text = format!("## {}\n", self.title);
        for part in &self.parts {
            let _ = match part {
                Part::Text(paragraph) => write!(text, "\n{paragraph}\n"),
                Part::Table(table) => {
                    write!(text, "\n{}\n`{}`\n", table.markdown(), self.command)
                }
                Part::Chart { file, title, svg } => {
                    fs::write(folder.join(CHARTS).join(file), svg).expect("the chart is written");
                    write!(text, "\n![{title}]({CHARTS}/{file})\n")
                }
            };
        }
        let machine = machine::describe();
        let _ = write!(text, "\n{machine}. Load average when this began: {}.\n", self.load);
        text
    }
}

/// The folder with the charts, beside the report.
const CHARTS: &str = "performance";

/// How a report begins. Whatever stands in it outside of the sections' marks stays as it is.
const HEAD: &str = "# Performance\n";

/// The whole report: the file, in which each section stands between two marks.
pub struct Report {
    folder: PathBuf,
    text: String,
}

impl Report {
    /// The one that lies in this folder already, or a new one.
    pub fn open(folder: &Path) -> Report {
        fs::create_dir_all(folder.join(CHARTS)).expect("the folder for the report can be made");
        let mut report = Report { folder: folder.to_owned(), text: String::new() };
        report.text = fs::read_to_string(report.path()).unwrap_or_else(|_| HEAD.to_owned());
        report
    }

    /// Puts a section in its place and writes the file anew.
    pub fn put(&mut self, section: &Section) {
        let written = section.write(&self.folder);
        self.text = with_section(&self.text, section.scenario, &written);
        fs::write(self.path(), &self.text).expect("the report is written");
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("performance.md")
    }
}

/// The report with this section, instead of the one of the same scenario, or before those that
/// come later.
fn with_section(report: &str, scenario: Scenario, section: &str) -> String {
    let marks = |scenario: Scenario| {
        let name = scenario.name();
        (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"))
    };
    let (begin, end) = marks(scenario);
    let marked = format!("{begin}{section}{end}");
    let position_of = |mark: &str| report.find(mark);
    if let (Some(from), Some(to)) = (position_of(&begin), position_of(&end)) {
        return format!("{}{marked}{}", &report[..from], &report[to + end.len()..]);
    }
    let later = Scenario::ALL.into_iter().skip_while(|other| *other != scenario).skip(1);
    match later.filter_map(|other| position_of(&marks(other).0)).min() {
        Some(at) => format!("{}{marked}\n{}", &report[..at], &report[at..]),
        None => format!("{report}\n{marked}"),
    }
}

/// A goal's cell.
pub fn goal(met: bool, what: &str) -> String {
    if met { format!("{what}: met") } else { format!("{what}: **missed**") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_before_and_leaves_the_rest() {
        let once = with_section("head\n", Scenario::Storm, "one\n") + "a note\n";
        let twice = with_section(&once, Scenario::Storm, "two\n");
        assert_eq!(twice, "head\n\n<!-- storm -->\ntwo\n<!-- end of storm -->\na note\n");
    }

    #[test]
    fn sections_stand_in_one_order_whichever_came_first() {
        let scenarios = [Scenario::Rules, Scenario::Stall, Scenario::Idle];
        let report = scenarios.into_iter().fold("head\n".to_owned(), |report, scenario| {
            with_section(&report, scenario, "text\n")
        });
        let positions = Scenario::ALL.map(|one| report.find(&format!("<!-- {} -->", one.name())));
        let found: Vec<usize> = positions.into_iter().flatten().collect();
        assert_eq!(found.len(), 3);
        assert!(found.is_sorted(), "{report}");
    }
}
