//! The links in the documents lead somewhere, and from the front page to all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every document of the repository.
fn documents() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_foreign =
                name.starts_with('.') || ["target", "node_modules", "dist"].contains(&name);
            if path.is_dir() && !path.is_symlink() && !is_foreign {
                walk(&path, files);
            } else if name.ends_with(".md") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&repository(""), &mut files);
    assert!(files.len() > 10, "{files:?}");
    files
}

/// The text outside of blocks of code, and of code within a line.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let outside = line.split('`').step_by(2).collect::<Vec<_>>();
            prose.push_str(&outside.join("`"));
            prose.push('\n');
        }
    }
    assert!(!in_block, "a block of code is not closed");
    prose
}

/// The anchors that a document's headings have where it is shown: lower case, without punctuation.
fn anchors(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut in_block = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        in_block ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        if in_block || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        anchors.insert(kept.collect::<String>().replace(' ', "-"));
    }
    anchors
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let text = prose(&fs::read_to_string(&document).unwrap());
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http://") || target.starts_with("https://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let is_there = path.exists() && (anchor.is_empty() || anchors(&path).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_document_can_be_reached_from_the_front_page() {
    let docs = repository("docs");
    let mut reached = BTreeMap::from([(docs.join("README.md"), false)]);
    while let Some(path) = reached.iter().find(|(_, read)| !**read).map(|(path, _)| path.clone()) {
        reached.insert(path.clone(), true);
        let text = prose(&fs::read_to_string(&path).unwrap());
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            let Ok(file) = path.parent().unwrap().join(file).canonicalize() else { continue };
            if file.starts_with(&docs) && file.extension().is_some_and(|end| end == "md") {
                reached.entry(file).or_insert(false);
            }
        }
    }
    let missing: Vec<_> = documents()
        .into_iter()
        .filter(|path| path.starts_with(&docs) && !reached.contains_key(path))
        .collect();
    assert!(missing.is_empty(), "docs/README.md does not lead to {missing:?}");
}
