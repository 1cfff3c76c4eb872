//! What the documents show is true: their configurations are valid, and their commands, run on real
//! brokers and the APIs in them, print what is printed there.

use std::fs;
use std::path::PathBuf;

use mosquitto_test::prelude::*;
use mosquitto_test::program::repository;

mod configurations;
mod demo;
mod faq;
mod operating;
mod recipes;
mod stage;

/// A fenced block of a page.
struct Block {
    language: String,
    /// The file that it is, if the page names one behind the language.
    file: Option<String>,
    text: String,
}

/// The blocks of a page, in order.
fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository(page)).unwrap();
    let mut blocks = Vec::new();
    let mut current: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), current.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(info), None) => {
                let mut words = info.split(' ');
                let language = words.next().unwrap().to_owned();
                let file = words.next().map(str::to_owned);
                current = Some(Block { language, file, text: String::new() });
            }
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                current = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(current.is_none(), "{page}: a block is not closed");
    blocks
}

/// Every page below `docs`, by its path in the repository.
fn pages() -> Vec<String> {
    let mut folders = vec![PathBuf::from("docs")];
    let mut pages = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(repository(folder.to_str().unwrap())).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if repository(path.to_str().unwrap()).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    pages.sort();
    pages
}

/// Pages whose commands are run by other tests.
const RUN_ELSEWHERE: [&str; 2] = ["docs/apis.md", "docs/command.md"];

/// The pages whose commands are run here.
const RUN_HERE: [&str; 8] = [
    "docs/coming-from-emqx.md",
    "docs/operating.md",
    "docs/quick-start.md",
    "docs/recipes/brokers.md",
    "docs/recipes/certificates.md",
    "docs/recipes/jwt.md",
    "docs/recipes/tenants.md",
    "docs/writing-an-api.md",
];

#[test]
fn every_page_with_a_session_is_run() {
    let with_session: Vec<_> = pages()
        .into_iter()
        .filter(|page| blocks(page).iter().any(|block| block.language == "console"))
        .filter(|page| !RUN_ELSEWHERE.contains(&page.as_str()))
        .collect();
    assert_eq!(with_session, RUN_HERE);
}

/// Runs a page on this broker.
fn run(version: Version, page: &str) -> stage::Stage {
    assert!(RUN_HERE.contains(&page), "{page} is missing in the list");
    let mut stage = stage::Stage::new(version);
    stage.play(page);
    stage
}
