//! The specification's pages, and the requirements in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::sources::root;

/// Words that make a requirement.
const WORDS: [&str; 3] = ["MUST", "SHOULD", "SHALL"];

/// Where it says which requirements are withdrawn.
const CHANGELOG: &str = "changelog.md";

/// Where the words themselves are explained.
const DEFINITION: (&str, &str) = ("conventions.md", "## 2.1 ");

/// A requirement's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    chapter: u32,
    number: u32,
}

impl Id {
    pub(crate) fn new(chapter: u32, number: u32) -> Self {
        Self { chapter, number }
    }

    /// All identifiers in a text, in order.
    pub(crate) fn all(text: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut before = None;
        for part in text.split_inclusive("R-") {
            if before.is_some() {
                found.extend(Self::at_start(part));
            }
            let head = part.strip_suffix("R-");
            before = head.filter(|head| !head.ends_with(|c: char| c.is_alphanumeric()));
        }
        found
    }

    fn at_start(text: &str) -> Option<Self> {
        let (chapter, rest) = number(text)?;
        let (number, _) = number(rest.strip_prefix('.')?)?;
        Some(Self { chapter, number })
    }
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    Some((digits.parse().ok()?, rest))
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R-{}.{}", self.chapter, self.number)
    }
}

/// The whole specification.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: BTreeMap<String, String>,
    /// The text of each requirement.
    pub(crate) requirements: BTreeMap<Id, String>,
    /// What is wrong with them.
    pub(crate) problems: Vec<String>,
}

impl Book {
    pub(crate) fn load() -> Self {
        let folder = root().join("protocol-spec/src");
        let pages = std::fs::read_dir(folder).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            assert_eq!(path.extension().unwrap(), "md");
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        });
        Self::parse(&pages.collect())
    }

    pub(crate) fn parse(pages: &BTreeMap<String, String>) -> Self {
        let mut book = Self {
            pages: pages.clone(),
            ..Self::default()
        };
        for (name, text) in pages {
            book.read(name, text);
        }
        // The changelog may speak of what is withdrawn.
        for (name, text) in pages.iter().filter(|(name, _)| *name != CHANGELOG) {
            for (at, line) in (1..).zip(text.lines()) {
                for id in Id::all(line) {
                    if !book.requirements.contains_key(&id) {
                        book.problems
                            .push(format!("{name}:{at}: {id} does not exist"));
                    }
                }
            }
        }
        book
    }

    pub(crate) fn page(&self, name: &str) -> &str {
        &self.pages[name]
    }

    /// The headings, without their marks: chapters as `4. Roster`, sections as `4.2 The roster`.
    pub(crate) fn headings(&self) -> BTreeSet<&str> {
        let lines = self.pages.values().flat_map(|page| page.lines());
        lines
            .filter(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches('#').trim())
            .collect()
    }

    /// Reads one page. A requirement is a list item that begins with its identifier in bold; its
    /// further lines are indented.
    fn read(&mut self, name: &str, text: &str) {
        let chapter = text
            .lines()
            .find_map(|line| number(line.strip_prefix("# ")?))
            .map_or(0, |(chapter, _)| chapter);
        let mut numbers = BTreeSet::new();
        let mut open: Option<(usize, Id, String)> = None;
        let mut section = "";
        for (at, line) in (1..).zip(text.lines()) {
            if line.starts_with("## ") {
                section = line;
            }
            let begins = line
                .strip_prefix("- **[")
                .and_then(|rest| rest.split_once("]** "));
            if let Some((id, words)) = begins
                && let Some(id) = Id::all(id).first().copied()
            {
                self.close(name, open.replace((at, id, words.to_owned())));
                if id.chapter == chapter {
                    numbers.insert(id);
                } else {
                    let problem = format!("{name}:{at}: {id} stands in chapter {chapter}");
                    self.problems.push(problem);
                }
            } else if let (Some((_, _, words)), true) = (&mut open, line.starts_with("  ")) {
                words.push(' ');
                words.push_str(line.trim());
            } else {
                if let Some((_, id, _)) = &open
                    && !line.is_empty()
                {
                    let fault = format!("text runs on from {id}; leave an empty line");
                    self.problems.push(format!("{name}:{at}: {fault}"));
                }
                self.close(name, open.take());
                let defines = name == DEFINITION.0 && section.starts_with(DEFINITION.1);
                for word in words_in(line).filter(|_| !defines) {
                    let problem = format!("{name}:{at}: {word} outside a requirement");
                    self.problems.push(problem);
                }
            }
        }
        self.close(name, open);
        self.check_numbers(name, &numbers);
    }

    fn close(&mut self, name: &str, requirement: Option<(usize, Id, String)>) {
        let Some((at, id, words)) = requirement else {
            return;
        };
        if words_in(&words).next().is_none() {
            let problem = format!("{name}:{at}: {id} has no MUST and no SHOULD");
            self.problems.push(problem);
        }
        if self.requirements.insert(id, words).is_some() {
            self.problems
                .push(format!("{name}:{at}: {id} is defined twice"));
        }
    }

    /// Numbers go from 1 without a gap, in any order: a requirement that is added later keeps the
    /// others' numbers as they are. The changelog has to say which are withdrawn.
    fn check_numbers(&mut self, name: &str, numbers: &BTreeSet<Id>) {
        let log = self.pages.get(CHANGELOG).map_or("", String::as_str);
        let withdrawn: BTreeSet<Id> = log
            .lines()
            .filter(|line| line.contains("withdrawn"))
            .flat_map(Id::all)
            .collect();
        let Some(last) = numbers.last() else { return };
        for number in 1..last.number {
            let id = Id::new(last.chapter, number);
            if !numbers.contains(&id) && !withdrawn.contains(&id) {
                let problem = format!("{name}: {id} is missing before {last}");
                self.problems.push(problem);
            }
        }
    }
}

fn words_in(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric())
        .filter(|word| WORDS.contains(word))
}
