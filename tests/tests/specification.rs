//! The specification against the code: every requirement has an identifier and a test that names
//! it, and what the specification says of tests, labels, problems and phases is so.
//!
//! A test names the requirements that it checks in its doc comment, by a sentence of the form
//! `Spec: R-<chapter>.<number>, ...`, closed by a full stop. It counts only there: directly above
//! a test function that runs by default.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is test code"
)]

#[path = "specification/attacks.rs"]
mod attacks;
#[path = "specification/book.rs"]
mod book;
#[path = "specification/registries.rs"]
mod registries;
#[path = "specification/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use book::{Book, Id};
use sources::Sources;

/// Fails with one line for each problem.
fn none(problems: &[String]) {
    assert!(
        problems.is_empty(),
        "{} problems:\n  {}\n",
        problems.len(),
        problems.join("\n  ")
    );
}

#[test]
fn requirements_are_identified_and_numbered() {
    let book = Book::load();
    // A parser that finds nothing finds no fault either.
    assert!(book.requirements.len() > 100, "{}", book.requirements.len());
    none(&book.problems);
}

#[test]
fn every_requirement_is_named_by_a_test() {
    let (book, sources) = (Book::load(), Sources::load());
    let named: BTreeSet<Id> = sources.tests().flat_map(|test| test.ids.clone()).collect();
    let missing = book
        .requirements
        .iter()
        .filter(|(id, _)| !named.contains(id));
    let missing: Vec<String> = missing
        .map(|(id, text)| format!("no test names {id}: {text}"))
        .collect();
    println!(
        "{} of {} requirements are named by {} tests",
        book.requirements.len() - missing.len(),
        book.requirements.len(),
        sources.tests().filter(|test| !test.ids.is_empty()).count()
    );
    none(&missing);
}

#[test]
fn markers_stand_at_tests_and_name_what_exists() {
    let (book, sources) = (Book::load(), Sources::load());
    assert!(sources.tests().count() > 100);
    let mut problems = sources.problems();
    for (place, id) in sources.mentions() {
        if !book.requirements.contains_key(id) {
            problems.push(format!("{place}: {id} does not exist"));
        }
    }
    none(&problems);
}

/// Modules of the protocol name the chapter that they implement; these implement none, or several.
#[test]
fn modules_name_chapters_that_exist() {
    const WITHOUT: [&str; 9] = [
        "aggregator/memory.rs",
        "aggregator/mod.rs",
        "client/mod.rs",
        "error.rs",
        "id.rs",
        "lib.rs",
        "message.rs",
        "threshold/infeasible.rs",
        "threshold/reference.rs",
    ];
    const PROTOCOL: &str = "crates/protocol/src/";
    let (book, sources) = (Book::load(), Sources::load());
    let headings = book.headings();
    let mut problems = Vec::new();
    for source in sources.under("crates/") {
        let Some((chapter, sections)) = &source.chapter else {
            let name = source.path.strip_prefix(PROTOCOL);
            if name.is_some_and(|name| !WITHOUT.contains(&name)) {
                problems.push(format!("{} names no chapter", source.path));
            }
            continue;
        };
        if !headings.contains(chapter.as_str()) {
            problems.push(format!("{}: there is no chapter {chapter}", source.path));
        }
        for section in sections {
            let title = format!("{section} ");
            if !headings.iter().any(|heading| heading.starts_with(&title)) {
                problems.push(format!("{}: there is no section {section}", source.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_attack_has_a_test_that_exists() {
    let (book, sources) = (Book::load(), Sources::load());
    none(&attacks::check(book.page("attacks.md"), &sources));
}

#[test]
fn the_registries_are_those_of_the_code() {
    none(&registries::check(Book::load().page("registries.md")));
}

/// Each check finds what it is for.
#[test]
fn the_checks_bite() {
    let pages = [
        (
            "a.md",
            "# 1. A\n\n- **[R-1.1]** X MUST y,\n  z.\n- **[R-1.3]** X SHOULD y.\n",
        ),
        (
            "b.md",
            "# 2. B\n\n- **[R-2.1]** X MUST y.\nLazy.\n- **[R-2.1]** X is.\n",
        ),
        (
            "c.md",
            "# 3. C\n\nX MUST y. See [R-1.2] and [R-1.1].\n\n- **[R-4.1]** X MUST.\n",
        ),
    ];
    let book = Book::parse(&BTreeMap::from(
        pages.map(|(n, t)| (n.to_owned(), t.to_owned())),
    ));
    let expected = [
        "a.md: R-1.2 is missing before R-1.3",
        "b.md:4: text runs on from R-2.1; leave an empty line",
        "b.md:5: R-2.1 is defined twice",
        "b.md:5: R-2.1 has no MUST and no SHOULD",
        "c.md:3: MUST outside a requirement",
        "c.md:3: R-1.2 does not exist",
        "c.md:5: R-4.1 stands in chapter 3",
    ];
    let found: BTreeSet<&str> = book.problems.iter().map(String::as_str).collect();
    for problem in expected {
        assert!(found.contains(problem), "not found: {problem}\n{found:?}");
    }
    assert_eq!(book.requirements[&Id::new(1, 1)], "X MUST y, z.");

    let marker = "/// Why.\n/// Spec: R-1.1, R-1.3.";
    let cases = [
        (format!("{marker}\n#[test]\nfn a() {{}}"), 2, 0),
        (
            format!("{marker} More.\n#[tokio::test]\nasync fn a() {{}}"),
            2,
            0,
        ),
        (
            format!("proptest! {{\n{marker}\n#[test]\nfn a(x in 0..1) {{}}"),
            2,
            0,
        ),
        (
            format!("{marker}\n#[allow(\n  x,\n)]\n#[test]\nfn a() {{}}"),
            2,
            0,
        ),
        (
            "/// Spec: R-1.1,\n/// R-1.3.\n#[test]\nfn a() {}".to_owned(),
            2,
            0,
        ),
        (format!("{marker}\nfn a() {{}}"), 0, 1),
        (format!("{marker}\n\n#[test]\nfn a() {{}}"), 0, 1),
        (
            format!("{marker}\n#[test]\n#[ignore = \"slow\"]\nfn a() {{}}"),
            0,
            1,
        ),
        (
            "/// Spec: R-1.1 and R-1.3.\n#[test]\nfn a() {}".to_owned(),
            0,
            1,
        ),
        ("//! Spec: R-1.1.\n#[test]\nfn a() {}".to_owned(), 0, 1),
    ];
    for (text, ids, problems) in cases {
        let source = sources::Source::parse("x.rs", &text);
        let found: usize = source.tests.iter().map(|test| test.ids.len()).sum();
        assert_eq!((found, source.problems.len()), (ids, problems), "{text}");
    }
}
