//! Instructions of every instruction set against `f64`.

mod math;
mod ops;
