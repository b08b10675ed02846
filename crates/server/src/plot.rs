//! Plots as SVG, to be put into a page: the operators' page, and the demo's report.
//!
//! plotters writes fixed colours. Each colour here is a marker that is replaced by a CSS variable
//! in the finished SVG, so that one drawing serves light and dark mode.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

/// Markers, and the variables of the page's style sheet that they become.
const COLOURS: [(Colour, &str); 5] = [
    (Colour::Ink, "var(--ink)"),
    (Colour::Muted, "var(--muted)"),
    (Colour::Line, "var(--line)"),
    (Colour::First, "var(--first)"),
    (Colour::Second, "var(--second)"),
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
}

impl Colour {
    /// What is drawn, to be replaced.
    pub const fn marker(self) -> RGBColor {
        let blue = match self {
            Self::Ink => 0xe1,
            Self::Muted => 0xe2,
            Self::Line => 0xe3,
            Self::First => 0xe4,
            Self::Second => 0xe5,
        };
        RGBColor(0xfe, 0xdc, blue)
    }

    /// The marker as plotters writes it.
    fn written(self) -> String {
        let RGBColor(r, g, b) = self.marker();
        format!("\"#{r:02X}{g:02X}{b:02X}\"")
    }
}

/// One line of a plot.
#[derive(Debug)]
pub struct Series {
    /// What it shows, for the legend under the plot.
    pub name: String,
    /// Its colour.
    pub colour: Colour,
    /// Dashed, for a level to compare with; solid with dots otherwise.
    pub dashed: bool,
    /// (x, y) in order; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// A plot of quantities over rounds.
#[derive(Debug)]
pub struct OverRounds<'a> {
    /// The plot's title, for screen readers; the page prints its own heading.
    pub title: &'a str,
    /// One sentence that says what can be seen.
    pub description: &'a str,
    /// Least and largest y.
    pub range: Range<f64>,
    /// Label of a y tick.
    pub label: fn(f64) -> String,
    /// The lines.
    pub series: &'a [Series],
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

impl OverRounds<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// plotters refused.
    pub fn svg(&self) -> Result<String, PlotError> {
        draw(self.title, self.description, (440, 270), |area| {
            self.draw(area)
        })
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let last = self
            .series
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.0)
            .fold(2.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .margin_top(10)
            .margin_right(14)
            .x_label_area_size(46)
            .y_label_area_size(56)
            .build_cartesian_2d(0.7..last + 0.3, self.range.clone())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(Colour::Line.marker())
            .axis_style(Colour::Line.marker())
            .label_style(
                ("sans-serif", 18)
                    .into_font()
                    .color(&Colour::Muted.marker()),
            )
            .x_labels(12)
            .y_labels(6)
            .x_desc("round")
            .x_label_formatter(&|x| {
                if x.fract() == 0.0 {
                    format!("{x}")
                } else {
                    String::new()
                }
            })
            .y_label_formatter(&|y| (self.label)(*y))
            .draw()?;
        for line in self.series {
            let finite = || line.points.iter().copied().filter(|(_, y)| y.is_finite());
            let style = line.colour.marker().stroke_width(2);
            if line.dashed {
                chart.draw_series(DashedLineSeries::new(finite(), 6, 5, style))?;
            } else {
                chart.draw_series(LineSeries::new(finite(), style))?;
                let dots = finite().map(|at| Circle::new(at, 4, line.colour.marker().filled()));
                chart.draw_series(dots)?;
            }
        }
        Ok(())
    }
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
    let failed = |reason: String| PlotError {
        title: title.to_owned(),
        reason,
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
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
    let words = maud::html! { title { (title) } desc { (description) } }.into_string();
    Ok(format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{words}{body}",
        label = maud::html! { (title) ". " (description) }.into_string(),
    ))
}
