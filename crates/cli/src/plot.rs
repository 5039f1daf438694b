//! `ibex plot`: a model's layers as a drawing.

use crate::Failure;
use ibex::Model;
use lexopt::prelude::*;
use std::path::PathBuf;

pub const USAGE: &str = "plot FILE --output OUT
    draws the layers of a model, and what each of them takes and gives
      --output OUT  .svg or .png";

pub fn run(mut args: lexopt::Parser) -> Result<bool, Failure> {
    let (mut file, mut output) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            Long("output") => output = Some(PathBuf::from(args.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    let (Some(file), Some(output)) = (file, output) else {
        return Err(Failure::Usage("plot takes a model's file and --output".into()));
    };
    // Nothing is computed: no GPU is opened for it.
    ibex::set_default_device(&ibex::device("cpu")?);
    Model::load(file)?.plot(output)?;
    Ok(true)
}
