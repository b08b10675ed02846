//! Tables that fold into cards on a phone. There, cells are laid out as blocks, and browsers then
//! forget that they are cells: the roles say it again.

use maud::{Markup, html};

/// A table. Its name is for those who do not see what is around it.
pub(super) fn table(name: &str, columns: &[&str], rows: &[Markup]) -> Markup {
    html! {
        table.folds role="table" aria-label=(name) {
            thead role="rowgroup" {
                tr role="row" {
                    @for column in columns { th role="columnheader" scope="col" { (column) } }
                }
            }
            tbody role="rowgroup" {
                @for row in rows { tr role="row" { (row) } }
            }
        }
    }
}

/// The cell that names its row.
pub(super) fn head(content: &Markup) -> Markup {
    html! { th role="rowheader" scope="row" { (content) } }
}

/// The same where the content alone, without the name of its column, says too little.
pub(super) fn named(column: &str, content: &Markup) -> Markup {
    html! { th role="rowheader" scope="row" data-label=(column) { (content) } }
}

/// A cell, with the name of its column for where there is no head of the table.
pub(super) fn cell(column: &str, content: &Markup) -> Markup {
    html! { td role="cell" data-label=(column) { div { (content) } } }
}

/// A cell of plain text.
pub(super) fn text(column: &str, content: &str) -> Markup {
    cell(column, &html! { (content) })
}
