//! Plots as SVG: in the operators' page and the demo's report, and as files of their own.
//!
//! plotters writes fixed colours. Each colour here is a marker that is replaced by a CSS variable
//! in the finished SVG, so that one drawing serves light and dark mode. Where it is put into a
//! page ([`draw`]), the page's style sheet has the variables; a file of its own ([`alone`]) brings
//! them.

mod chart;
mod rounds;

pub use chart::{Axis, Chart, Line};
pub use rounds::{OverRounds, Series};

use plotters::coord::Shift;
use plotters::prelude::*;

/// Markers, and the variables of the page's style sheet that they become.
const COLOURS: [(Colour, &str); 8] = [
    (Colour::Ink, "var(--ink)"),
    (Colour::Muted, "var(--muted)"),
    (Colour::Line, "var(--line)"),
    (Colour::First, "var(--first)"),
    (Colour::Second, "var(--second)"),
    (Colour::Third, "var(--third)"),
    (Colour::Fourth, "var(--fourth)"),
    (Colour::Fifth, "var(--fifth)"),
];

/// A colour of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Text.
    Ink,
    /// Axis labels, and what stands back.
    Muted,
    /// Grid lines.
    Line,
    /// What the plot is about.
    First,
    /// What it is compared with.
    Second,
    /// One more line; in files of their own only, pages have no such variable.
    Third,
    /// As [`Colour::Third`].
    Fourth,
    /// As [`Colour::Third`].
    Fifth,
}

impl Colour {
    /// The colours of lines, in the order in which they are to be given out.
    pub const LINES: [Self; 5] = [
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fourth,
        Self::Fifth,
    ];

    /// What is drawn, to be replaced.
    pub const fn marker(self) -> RGBColor {
        let blue = match self {
            Self::Ink => 0xe1,
            Self::Muted => 0xe2,
            Self::Line => 0xe3,
            Self::First => 0xe4,
            Self::Second => 0xe5,
            Self::Third => 0xe6,
            Self::Fourth => 0xe7,
            Self::Fifth => 0xe8,
        };
        RGBColor(0xfe, 0xdc, blue)
    }

    /// The marker as plotters writes it.
    fn written(self) -> String {
        let RGBColor(r, g, b) = self.marker();
        format!("\"#{r:02X}{g:02X}{b:02X}\"")
    }
}

/// What is drawn on.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What became of a drawing.
pub type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A plot that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the plot \"{title}\": {reason}")]
pub struct PlotError {
    /// Its title.
    pub title: String,
    /// What plotters said.
    pub reason: String,
}

/// Runs `paint` on an empty SVG and gives it a title, a description and the page's colours.
///
/// # Errors
/// plotters refused.
pub fn draw(
    title: &str,
    description: &str,
    (width, height): (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String, PlotError> {
    let body = paint_body(title, (width, height), paint)?;
    let (words, label) = words(title, description);
    Ok(format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{words}{body}"
    ))
}

/// As [`draw`], but a file of its own: with a size, a name space, a background, and the colours
/// for light and dark mode.
///
/// # Errors
/// plotters refused.
pub fn alone(
    title: &str,
    description: &str,
    (width, height): (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String, PlotError> {
    let body = paint_body(title, (width, height), paint)?;
    let (words, label) = words(title, description);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{words}\
         <style>{STYLE}</style>\
         <rect width=\"{width}\" height=\"{height}\" fill=\"var(--paper)\"/>{body}"
    ))
}

/// The variables of [`alone`], as in the pages' style sheets.
const STYLE: &str = "\
:root { --paper: #ffffff; --ink: #1f2428; --muted: #656d76; --line: #e3e0d8; --first: #2a6f97; \
--second: #b7701c; --third: #2f7d4f; --fourth: #8a4f9e; --fifth: #b3392f; } \
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e6e8ea; --muted: #9ba5ae; \
--line: #323a41; --first: #7db8dd; --second: #e3ab62; --third: #7cc79a; --fourth: #cf9fe0; \
--fifth: #ec8a80; } }";

/// What stands inside the `svg` element, with the page's colours, and its end.
fn paint_body(
    title: &str,
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String, PlotError> {
    let failed = |reason: String| PlotError {
        title: title.to_owned(),
        reason,
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        paint(&area).map_err(|error| failed(error.to_string()))?;
        area.present().map_err(|error| failed(error.to_string()))?;
    }
    for (colour, variable) in COLOURS {
        svg = svg.replace(&colour.written(), &format!("\"{variable}\""));
    }
    // plotters opens with a fixed size and no words; the page needs neither and both.
    let (_, body) = svg
        .split_once('>')
        .ok_or_else(|| failed("the drawing has no svg element".to_owned()))?;
    Ok(body.to_owned())
}

/// Title and description as elements, and as one label; escaped.
fn words(title: &str, description: &str) -> (String, String) {
    (
        maud::html! { title { (title) } desc { (description) } }.into_string(),
        maud::html! { (title) ". " (description) }.into_string(),
    )
}
