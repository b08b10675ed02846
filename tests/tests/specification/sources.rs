//! The tests of the workspace, and which requirements they name.

use std::path::{Path, PathBuf};

use crate::book::Id;

/// Where tests and comments are looked for.
const FOLDERS: [&str; 3] = ["crates", "tests", "fuzz"];

/// This test speaks of requirements that do not exist.
const SELF: &str = "tests/tests/specification";

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A test function.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) name: String,
    /// The requirements that it names.
    pub(crate) ids: Vec<Id>,
}

/// One source file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// From the repository's root.
    pub(crate) path: String,
    pub(crate) tests: Vec<Test>,
    mentions: Vec<(String, Id)>,
    /// The chapter that the module names, as `4. Roster`, and its sections.
    pub(crate) chapter: Option<(String, Vec<String>)>,
    pub(crate) problems: Vec<String>,
}

/// All source files.
#[derive(Debug)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    pub(crate) fn load() -> Self {
        let mut paths = Vec::new();
        for folder in FOLDERS {
            walk(&root().join(folder), &mut paths);
        }
        paths.sort();
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap();
            (path.to_str().unwrap().replace('\\', "/"), text)
        };
        let sources = paths.into_iter().map(read);
        let sources = sources.filter(|(path, _)| !path.starts_with(SELF));
        Self(
            sources
                .map(|(path, text)| Source::parse(&path, &text))
                .collect(),
        )
    }

    pub(crate) fn tests(&self) -> impl Iterator<Item = &Test> {
        self.0.iter().flat_map(|source| &source.tests)
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        self.0
            .iter()
            .flat_map(|source| source.problems.clone())
            .collect()
    }

    /// Every identifier in a comment or a text, and where it stands.
    pub(crate) fn mentions(&self) -> impl Iterator<Item = &(String, Id)> {
        self.0.iter().flat_map(|source| &source.mentions)
    }

    /// The files under a folder.
    pub(crate) fn under(&self, folder: &str) -> impl Iterator<Item = &Source> {
        self.0
            .iter()
            .filter(move |source| source.path.starts_with(folder))
    }

    pub(crate) fn file(&self, path: &str) -> Option<&Source> {
        self.0.iter().find(|source| source.path == path)
    }
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                walk(&path, paths);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// What stands directly above an item.
#[derive(Debug, Default)]
struct Above {
    doc: String,
    attributes: String,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            chapter: chapter(text),
            ..Self::default()
        };
        let mut above = Above::default();
        let mut unclosed = 0;
        for (at, line) in (1..).zip(text.lines()) {
            let place = format!("{path}:{at}");
            source
                .mentions
                .extend(Id::all(line).into_iter().map(|id| (place.clone(), id)));
            let line = line.trim();
            if unclosed > 0 || line.starts_with("#[") {
                unclosed += depth(line);
                above.attributes.push_str(line);
            } else if let Some(doc) = line.strip_prefix("///") {
                above.doc.push_str(doc);
            } else {
                source.item(&place, line, &std::mem::take(&mut above));
            }
        }
        source
    }

    /// Takes a line that is neither doc comment nor attribute.
    fn item(&mut self, place: &str, line: &str, above: &Above) {
        let function = ["pub ", "pub(crate) ", "async "]
            .iter()
            .fold(line, |line, word| line.strip_prefix(word).unwrap_or(line))
            .strip_prefix("fn ")
            .and_then(|rest| rest.split(['(', '<']).next());
        let is_test = ["#[test]", "#[tokio::test"]
            .iter()
            .any(|attribute| above.attributes.contains(attribute));
        let mut problem = |what: &str| self.problems.push(format!("{place}: {what}"));
        let is_marked = |text: &str| text.contains("Spec: R");
        if line.starts_with("//") && is_marked(line) {
            problem("a marker that is not in the doc comment of a test");
        }
        let mut ids = Vec::new();
        if is_marked(&above.doc) {
            match marker(&above.doc) {
                None => problem("a marker that is not `Spec: R-x.y, R-z.w.`"),
                Some(_) if function.is_none() || !is_test => {
                    problem("a marker above something that is no test");
                }
                Some(_) if above.attributes.contains("#[ignore") => {
                    problem("a marker above a test that is ignored");
                }
                Some(named) => ids = named,
            }
        }
        if let (Some(name), true) = (function, is_test) {
            let name = name.to_owned();
            self.tests.push(Test { name, ids });
        }
    }
}

/// How many brackets a line of an attribute leaves open.
fn depth(line: &str) -> i32 {
    line.chars().fold(0, |depth, c| match c {
        '[' => depth + 1,
        ']' => depth - 1,
        _ => depth,
    })
}

/// The identifiers after `Spec:`, up to a full stop that no digit follows.
fn marker(doc: &str) -> Option<Vec<Id>> {
    let (_, list) = doc.split_once("Spec: ")?;
    let mut ids = Vec::new();
    let mut rest = list;
    loop {
        let id = *Id::all(rest.get(..rest.find([',', ' ']).unwrap_or(rest.len()))?).first()?;
        ids.push(id);
        rest = rest.strip_prefix(&id.to_string())?;
        match rest.strip_prefix(", ") {
            Some(more) => rest = more,
            None => return rest.starts_with('.').then_some(ids),
        }
    }
}

/// What a module's doc says after `Specification: chapter`: `4, "Roster", section 4.2.`
fn chapter(text: &str) -> Option<(String, Vec<String>)> {
    let doc = text.lines().map_while(|line| line.strip_prefix("//!"));
    let doc: String = doc.collect();
    let (_, rest) = doc.split_once("Specification: chapter ")?;
    let (number, rest) = rest.split_once(", \"")?;
    let (title, rest) = rest.split_once('"')?;
    let is_section = |word: &&str| {
        let section = word
            .strip_prefix(number)
            .and_then(|rest| rest.strip_prefix('.'));
        section.is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    let words = rest
        .split([' ', ';', ','])
        .map(|word| word.trim_end_matches('.'));
    let sections = words.filter(is_section).map(str::to_owned).collect();
    Some((format!("{number}. {title}"), sections))
}
