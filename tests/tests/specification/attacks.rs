//! The table of attacks: each row names tests that exist.

use crate::sources::{Source, Sources};

/// Where tests without a folder are.
const HOME: &str = "crates/protocol/tests/";

/// The rows of the tables after a heading, without their headers; the whole page's for "".
pub(crate) fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let from = page.find(heading).unwrap_or(page.len());
    let section = &page[from + heading.len()..];
    let until = section.find("\n## ").unwrap_or(section.len());
    let section = if heading.is_empty() {
        page
    } else {
        &section[..until]
    };
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in section.lines() {
        if !line.starts_with('|') {
            in_table = false;
        } else if line.starts_with("|---") {
            in_table = true;
        } else if in_table {
            let line = line.replace("\\|", "∣");
            let cells = line.trim_matches('|').split('|');
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    rows
}

/// Everything that is wrong with the table.
pub(crate) fn check(page: &str, sources: &Sources) -> Vec<String> {
    let rows = rows(page, "");
    assert!(rows.len() > 15, "{} rows", rows.len());
    let mut problems = Vec::new();
    for row in rows {
        let [attack, _, tests] = row.as_slice() else {
            problems.push(format!("attacks.md: not three cells: {row:?}"));
            continue;
        };
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            problems.push(format!("attacks.md: no test for \"{attack}\""));
        }
        let faults = named.iter().filter_map(|test| fault(test, sources));
        problems.extend(faults.map(|fault| format!("attacks.md: \"{attack}\": {fault}")));
    }
    problems
}

/// What is wrong with `file` or `file: function`.
fn fault(test: &str, sources: &Sources) -> Option<String> {
    let (file, function) = match test.split_once(": ") {
        Some((file, function)) => (file, Some(function)),
        None => (test, None),
    };
    let has = |source: &Source| match function {
        Some(function) => source.tests.iter().any(|test| test.name == function),
        None => !source.tests.is_empty(),
    };
    match sources
        .file(&format!("{HOME}{file}"))
        .or(sources.file(file))
    {
        None => Some(format!("there is no file {file}")),
        Some(source) if has(source) => None,
        Some(source) => Some(format!(
            "{} has no test {}",
            source.path,
            function.unwrap_or("at all")
        )),
    }
}
