//! The plots, as SVG to be put into the page.
//!
//! plotters writes fixed colours. Each colour here is a marker that is replaced by a CSS variable
//! in the finished SVG, so that one drawing serves light and dark mode.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::ReportError;

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
pub(super) enum Colour {
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
    const fn marker(self) -> RGBColor {
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
pub(super) struct Series {
    /// What it shows, for the legend under the plot.
    pub(super) name: String,
    /// Its colour.
    pub(super) colour: Colour,
    /// Dashed, for a level to compare with; solid with dots otherwise.
    pub(super) dashed: bool,
    /// (x, y) in order; points that are not finite are left out.
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot of quantities over rounds.
#[derive(Debug)]
pub(super) struct OverRounds<'a> {
    /// The plot's title, for screen readers; the page prints its own heading.
    pub(super) title: &'a str,
    /// One sentence that says what can be seen.
    pub(super) description: &'a str,
    /// Least and largest y.
    pub(super) range: Range<f64>,
    /// Label of a y tick.
    pub(super) label: fn(f64) -> String,
    /// The lines.
    pub(super) series: &'a [Series],
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl OverRounds<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// plotters refused.
    pub(super) fn svg(&self) -> Result<String, ReportError> {
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

/// Coordinates of one vector: a dot for each, and under them how the values are distributed.
#[derive(Debug)]
pub(super) struct Coordinates<'a> {
    /// The plot's title, for screen readers.
    pub(super) title: &'a str,
    /// One sentence that says what can be seen.
    pub(super) description: &'a str,
    /// The values, in order of their coordinates.
    pub(super) values: &'a [f64],
    /// Least and largest value shown.
    pub(super) range: Range<f64>,
    /// Decimals of the labels.
    pub(super) decimals: usize,
    /// Colour of dots and bars.
    pub(super) colour: Colour,
}

/// Bars in the distribution.
const BINS: usize = 25;

impl Coordinates<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// plotters refused.
    pub(super) fn svg(&self) -> Result<String, ReportError> {
        draw(self.title, self.description, (340, 300), |area| {
            let (dots, bars) = area.split_vertically(165);
            self.draw_dots(&dots)?;
            self.draw_bars(&bars)
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "some two hundred coordinates")]
    fn draw_dots(&self, area: &Area<'_>) -> Drawn {
        let mut chart = ChartBuilder::on(area)
            .margin_top(8)
            .margin_right(22)
            .y_label_area_size(58)
            .build_cartesian_2d(-1.0..self.values.len() as f64, self.range.clone())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(Colour::Line.marker())
            .axis_style(Colour::Line.marker())
            .label_style(
                ("sans-serif", 16)
                    .into_font()
                    .color(&Colour::Muted.marker()),
            )
            .y_labels(5)
            .y_label_formatter(&|y| format!("{y:.*}", self.decimals))
            .draw()?;
        let dots = self
            .values
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite());
        let style = self.colour.marker().filled();
        chart.draw_series(dots.map(|(i, &value)| Circle::new((i as f64, value), 2, style)))?;
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a few bars of some two hundred values"
    )]
    fn draw_bars(&self, area: &Area<'_>) -> Drawn {
        let counts = self.counts();
        let tallest = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_top(12)
            .margin_right(22)
            .margin_left(58)
            .x_label_area_size(28)
            .build_cartesian_2d(self.range.clone(), 0.0..tallest * 1.05)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .disable_y_axis()
            .axis_style(Colour::Line.marker())
            .label_style(
                ("sans-serif", 16)
                    .into_font()
                    .color(&Colour::Muted.marker()),
            )
            .x_labels(4)
            .x_label_formatter(&|x| format!("{x:.*}", self.decimals))
            .draw()?;
        let width = (self.range.end - self.range.start) / BINS as f64;
        chart.draw_series(counts.iter().enumerate().map(|(i, &count)| {
            let left = self.range.start + width * i as f64;
            let corners = [
                (left + 0.08 * width, 0.0),
                (left + 0.92 * width, count as f64),
            ];
            Rectangle::new(corners, self.colour.marker().filled())
        }))?;
        Ok(())
    }

    /// How many values lie in each bin of the range.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the position is between 0 and the number of bins"
    )]
    fn counts(&self) -> [usize; BINS] {
        let mut counts = [0; BINS];
        for value in self.values {
            let position =
                (value - self.range.start) / (self.range.end - self.range.start) * BINS as f64;
            if (0.0..=BINS as f64).contains(&position)
                && let Some(count) = counts.get_mut((position as usize).min(BINS - 1))
            {
                *count += 1;
            }
        }
        counts
    }
}

/// Runs `paint` on an empty SVG and gives it a title, a description and the page's colours.
fn draw(
    title: &str,
    description: &str,
    (width, height): (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String, ReportError> {
    let failed = |reason: String| ReportError::Plot {
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
