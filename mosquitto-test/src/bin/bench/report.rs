//! What came of it: on the terminal, and as Markdown with charts beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::args::{Args, Scenario};
use crate::machine;

/// One scenario's part of the report.
pub struct Section {
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
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// The head's cells are written as in Markdown: with bars between them.
    pub fn new(head: &'static str) -> Table {
        Table { head: head.split(" | ").collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let row: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(row.len(), self.head.len(), "a row has as many cells as the head");
        self.rows.push(row);
    }

    fn markdown(&self) -> String {
        let rule = self.head.iter().map(|_| "---");
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.head.clone()) + &line(rule.collect());
        for row in &self.rows {
            text += &line(row.iter().map(String::as_str).collect());
        }
        text
    }

    fn plain(&self) -> String {
        let head = self.head.iter().map(|cell| (*cell).to_owned()).collect();
        let rows: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
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
        Section { title, command: args.command(scenario), parts: Vec::new(), load }
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

    /// The Markdown; charts go into the folder.
    fn write(&self, folder: &Path) -> String {
        let mut text = format!("\n## {}\n", self.title);
        for part in &self.parts {
            let _ = match part {
                Part::Text(paragraph) => write!(text, "\n{paragraph}\n"),
                Part::Table(table) => {
                    write!(text, "\n{}\n`{}`\n", table.markdown(), self.command)
                }
                Part::Chart { file, title, svg } => {
                    fs::write(folder.join(file), svg).expect("the chart is written");
                    write!(text, "\n![{title}]({file})\n")
                }
            };
        }
        let _ = write!(text, "\nLoad average when this began: {}.\n", self.load);
        text
    }
}

/// The whole report.
pub struct Report {
    folder: PathBuf,
    text: String,
}

impl Report {
    pub fn new(folder: &Path, machine: String) -> Report {
        fs::create_dir_all(folder).expect("the folder for the report can be made");
        let text = format!(
            "# Performance\n\n{machine}\n\nAll modes of a table were measured in one run; what \
             counts is how they relate. A goal that was missed says so.\n"
        );
        Report { folder: folder.to_owned(), text }
    }

    /// Adds a section and writes the file anew.
    pub fn add(&mut self, section: Section) {
        self.text += &section.write(&self.folder);
        fs::write(self.path(), &self.text).expect("the report is written");
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("performance.md")
    }
}

/// A goal's cell.
pub fn goal(met: bool, what: &str) -> String {
    if met { format!("{what}: met") } else { format!("{what}: **missed**") }
}
