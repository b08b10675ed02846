//! `undertone openapi`: the `OpenAPI` document of the service.

use std::io::Write;

use crate::error::CliError;

pub(crate) fn run(out: &mut impl Write) -> Result<(), CliError> {
    let document = undertone_server::document();
    serde_json::to_writer_pretty(&mut *out, &document).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}
