//! Quantities over the rounds of a task.

use std::ops::Range;

use plotters::prelude::*;

use crate::{Area, Colour, Drawn, PlotError, draw};

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
