//! The plot of single coordinates, as SVG to be put into the page; plots over rounds are
//! `undertone-plot`'s.

use std::ops::Range;

use plotters::prelude::*;
use undertone_plot::{Area, Colour, Drawn, PlotError, draw};

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
    pub(super) fn svg(&self) -> Result<String, PlotError> {
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
