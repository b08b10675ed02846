//! Measured quantities over a setting, as a file of its own: lines with error bars and a legend.

use std::ops::Range;

use plotters::element::{DashedPathElement, ErrorBar};
use plotters::prelude::*;

use crate::{Area, Colour, Drawn, PlotError, alone};

/// One axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows, with the unit.
    pub name: String,
    /// Least and largest value shown.
    pub range: Range<f64>,
    /// The words of a tick.
    pub label: fn(f64) -> String,
}

/// One line: measured at some points, each with a least, a middle and a largest value.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its colour.
    pub colour: Colour,
    /// Dashed and without dots, for a level to compare with.
    pub dashed: bool,
    /// `(x, [least, middle, largest])` in order of x; points that are not finite are left out.
    pub points: Vec<(f64, [f64; 3])>,
}

/// A plot of quantities over a setting.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The title, shown above the plot.
    pub title: String,
    /// One sentence that says what can be seen, for screen readers.
    pub description: String,
    /// The setting.
    pub x: Axis,
    /// The quantity.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Width and height in pixels, and what of the height is the legend's: it stands below the plot, where
/// no line can run through it.
const SIZE: (u32, u32) = (720, 450);
const LEGEND: u32 = 36;
/// From the edge to the first name of the legend, and between two names.
const INDENT: i32 = 76;
const GAP: i32 = 28;
/// The stroke before a name.
const STROKE: i32 = 18;

impl Chart {
    /// Draws it.
    ///
    /// # Errors
    /// plotters refused, for instance an empty range.
    pub fn svg(&self) -> Result<String, PlotError> {
        alone(&self.title, &self.description, SIZE, |area| self.draw(area))
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (plot, legend) = area.split_vertically(SIZE.1 - LEGEND);
        self.draw_legend(&legend)?;
        let mut chart = ChartBuilder::on(&plot)
            .caption(&self.title, text(20, Colour::Ink))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(self.x.range.clone(), self.y.range.clone())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(Colour::Line.marker())
            .axis_style(Colour::Line.marker())
            .label_style(text(15, Colour::Muted))
            .x_labels(8)
            .y_labels(7)
            .x_desc(&self.x.name)
            .y_desc(&self.y.name)
            .x_label_formatter(&|x| (self.x.label)(*x))
            .y_label_formatter(&|y| (self.y.label)(*y))
            .draw()?;
        for line in &self.lines {
            let colour = line.colour.marker();
            let style = colour.stroke_width(2);
            let middle = || line.finite().map(|(x, [_, y, _])| (x, y));
            if line.dashed {
                chart.draw_series(DashedLineSeries::new(middle(), 6, 5, style))?;
            } else {
                chart.draw_series(LineSeries::new(middle(), style))?;
                let bars = line.finite().map(|(x, [least, y, most])| {
                    ErrorBar::new_vertical(x, least, y, most, colour.filled(), 8)
                });
                chart.draw_series(bars)?;
            }
        }
        Ok(())
    }

    /// The lines' strokes and names in one row.
    fn draw_legend(&self, area: &Area<'_>) -> Drawn {
        let style = text(15, Colour::Ink);
        let mut x = INDENT;
        for line in &self.lines {
            let stroke = line.colour.marker().stroke_width(2);
            let ends = [(x, 10), (x + STROKE, 10)];
            if line.dashed {
                area.draw(&DashedPathElement::new(ends, 6, 4, stroke))?;
            } else {
                area.draw(&PathElement::new(ends, stroke))?;
            }
            x += STROKE + 8;
            area.draw_text(&line.name, &style, (x, 3))?;
            let (width, _) = area.estimate_text_size(&line.name, &style)?;
            x += i32::try_from(width)? + GAP;
        }
        Ok(())
    }
}

fn text(size: u32, colour: Colour) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour.marker())
}

impl Line {
    fn finite(&self) -> impl Iterator<Item = (f64, [f64; 3])> + Clone {
        let points = self.points.iter().copied();
        points.filter(|(x, ys)| x.is_finite() && ys.iter().all(|y| y.is_finite()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_words_colours_and_every_finite_point() {
        let line = |name: &str, colour, dashed| Line {
            name: name.into(),
            colour,
            dashed,
            points: vec![
                (1.0, [0.4, 0.5, 0.6]),
                (2.0, [f64::NAN; 3]),
                (3.0, [0.6, 0.7, 0.8]),
            ],
        };
        let axis = |name: &str, range| Axis {
            name: name.into(),
            range,
            label: |value| format!("{value:.1}"),
        };
        let chart = Chart {
            title: "Accuracy & loss".into(),
            description: "It rises.".into(),
            x: axis("epsilon", 0.0..4.0),
            y: axis("accuracy", 0.0..1.0),
            lines: vec![
                line("<FedAvg>", Colour::Fourth, false),
                line("floor", Colour::Second, true),
            ],
        };
        let svg = chart.svg().unwrap();
        for part in [
            "Accuracy &amp; loss",
            "&lt;FedAvg&gt;",
            "var(--fourth)",
            "xmlns",
            "--fourth: #",
        ] {
            assert!(svg.contains(part), "{part} is missing in {svg}");
        }
        // The middle of an error bar is a circle; one of three points is not finite.
        assert_eq!(svg.matches("<circle").count(), 2);
        let again = Chart {
            lines: Vec::new(),
            ..chart
        };
        assert_eq!(again.svg().unwrap().matches("<circle").count(), 0);
    }
}
