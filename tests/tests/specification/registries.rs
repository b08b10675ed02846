//! The registries against the code: labels, suites, phases, problems, kinds of secret.

use std::collections::BTreeSet;

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::codec::Label;
use undertone_protocol::message::SecretKind;
use undertone_protocol::params::{SUITE, VERSION};
use undertone_server::problem::ProblemKind;

use crate::attacks::rows;

/// Every difference.
pub(crate) fn check(page: &str) -> Vec<String> {
    let names = |heading: &str, column: usize| -> Vec<String> {
        let rows = rows(page, heading);
        rows.iter()
            .map(|row| row[column].replace('`', ""))
            .collect()
    };
    let mut problems = Vec::new();

    let labels = names("## 17.1 ", 0);
    let of_code = Label::ALL.iter().map(|label| {
        let name = label.text().strip_prefix("undertone/v1 ");
        name.unwrap_or_else(|| panic!("{}", label.text()))
            .to_owned()
    });
    compare(
        &mut problems,
        "label",
        &labels,
        &of_code.collect::<Vec<_>>(),
    );

    let suites: Vec<String> = rows(page, "## 17.2 ")
        .iter()
        .map(|row| format!("{}/{}", row[0], row[1]))
        .collect();
    let of_code = [format!("{VERSION}/{SUITE}")];
    compare(&mut problems, "version and suite", &suites, &of_code);

    let phases = names("## 17.3 ", 1);
    let of_code = PhaseName::ALL.map(|phase| phase.text().to_owned());
    compare(&mut problems, "phase", &phases, &of_code);
    if phases != of_code {
        problems.push(format!("registries.md: the order of phases is {of_code:?}"));
    }

    let kinds: Vec<String> = rows(page, "## 17.4 ")
        .iter()
        .map(|row| format!("{} {}", row[0].replace('`', ""), row[1]))
        .collect();
    let of_code = ProblemKind::ALL.iter().map(|kind| {
        let name = kind.urn().strip_prefix("urn:undertone:problem:");
        format!("{} {}", name.unwrap_or(kind.urn()), kind.status().as_u16())
    });
    compare(
        &mut problems,
        "problem",
        &kinds,
        &of_code.collect::<Vec<_>>(),
    );

    let secrets = names("## 17.5 ", 0);
    let of_code = [SecretKind::SelfMask, SecretKind::MaskKey].map(|kind| kind.code().to_string());
    compare(&mut problems, "kind of secret", &secrets, &of_code);
    problems
}

fn compare(problems: &mut Vec<String>, what: &str, page: &[String], code: &[String]) {
    let [of_page, of_code] = [page, code].map(|names| names.iter().collect::<BTreeSet<_>>());
    if of_page.len() != page.len() {
        problems.push(format!("registries.md: a {what} stands there twice"));
    }
    for name in of_page.difference(&of_code) {
        problems.push(format!("registries.md: {what} `{name}` is not in the code"));
    }
    for name in of_code.difference(&of_page) {
        problems.push(format!(
            "registries.md: {what} `{name}` of the code is missing"
        ));
    }
}
