//! The whole text of what a user reads after a mistake in a model: the layer, the shapes, the line.

use ibex::prelude::*;
use ibex::{Error, Result};

/// The text of an error that was made `above` lines before the line of the call.
#[track_caller]
fn reads(result: Result<impl Sized>, above: u32, text: &str) {
    let error: Error = result.map(drop).expect_err("an error");
    let here = std::panic::Location::caller();
    let place = format!(" (at {}:{}:", here.file(), here.line() - above);
    let shown = error.to_string();
    let (message, rest) = shown.split_once(&place).unwrap_or_else(|| panic!("at line {}: {shown}", here.line() - above));
    assert_eq!(message, text);
    assert!(rest.ends_with(')') && rest[..rest.len() - 1].parse::<u32>().is_ok(), "{shown}");
}

#[test]
fn wrong_inputs_of_layers() {
    let model = Sequential::new([4]).add(Conv2D::new(8, 3));
    reads(model.check(), 1, "x");
}
